/**
 * A cache of delegations whose text, keys and signature were verified.
 *
 * A delegation is sent with every call that uses it. The cached facts cannot change: they are found
 * by the cid, the hash of the whole text. Time, revocation, and everything that depends on other
 * tokens of a chain or on the caller, is checked every time.
 */

import type { DelegationToken } from "./delegation.ts";
import { cidOf } from "./jwt.ts";
import { LruCache } from "./lru.ts";

/** Delegations kept. */
const KEPT = 256;

/**
 * Characters of the longest token that is cached. A parsed token takes many times the memory of its
 * text: the cache takes some tens of megabytes at most.
 */
const LONGEST = 4 * 1024;

const links = new LruCache<DelegationToken>(KEPT);
const verifiedLinks = new WeakSet<object>();

export function getVerified(token: string): DelegationToken | undefined {
  return token.length <= LONGEST ? links.get(cidOf(token)) : undefined;
}

/** To be called only after the whole chain was verified from a trusted root. */
export function putVerified(link: DelegationToken): void {
  if (link.signed.length > LONGEST || verifiedLinks.has(link)) return;
  links.set(link.cid, link);
  verifiedLinks.add(link);
}

export function isVerified(token: object): boolean {
  return verifiedLinks.has(token);
}
