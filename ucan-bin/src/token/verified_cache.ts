/**
 * Delegations whose text, keys and signature were checked, so that it is not done again.
 *
 * A delegation comes with every call made on it. None of what is remembered can change: it is
 * found by its cid, the hash of its whole text. Time, revocation and everything that depends on
 * the other tokens of a chain or on the caller is checked every time.
 */

import type { DelegationToken } from "./delegation.ts";
import { cidOf } from "./jwt.ts";
import { LruCache } from "./lru.ts";

/** Delegations kept. */
const KEPT = 256;

/**
 * Characters of the longest token that is kept. What is read from a token takes many times its
 * text, so all of them together are some tens of megabytes at the worst.
 */
const LONGEST = 4 * 1024;

const links = new LruCache<DelegationToken>(KEPT);
const verifiedLinks = new WeakSet<object>();

export function getVerified(token: string): DelegationToken | undefined {
  return token.length <= LONGEST ? links.get(cidOf(token)) : undefined;
}

/** To be called when the chain was verified down from a trusted root, and not before. */
export function putVerified(link: DelegationToken): void {
  if (link.signed.length > LONGEST || verifiedLinks.has(link)) return;
  links.set(link.cid, link);
  verifiedLinks.add(link);
}

export function isVerified(token: object): boolean {
  return verifiedLinks.has(token);
}
