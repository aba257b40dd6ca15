/**
 * Statements: tokens in which somebody says that something is so. They hand on no authority and
 * use none.
 *
 * A statement is checked as a delegation is: text, then keys, then signature, then trust. It has
 * no end: what was so stays true. How old one may be is for its reader to say.
 */

import { badSignature, malformed, Refusal, untrustedIssuer } from "../refusal.ts";
import type { Check } from "../schema.ts";
import { keyOf } from "./did_key.ts";
import { verify } from "./ed25519.ts";
import { read, type Kind, type Token } from "./jwt.ts";

/** Read a statement of one kind that one of `issuers` signed. */
export function verifyStatement<T extends { readonly iss: string }>(
  kind: Kind,
  isClaims: Check<T>,
  token: string,
  issuers: readonly string[],
): Token<T> | Refusal {
  const found = read(kind, isClaims, token);
  if (found instanceof Refusal) return found;
  const { claims, signed, signature } = found;
  const key = keyOf(claims.iss);
  if (key === undefined) return malformed("iss names no usable Ed25519 key");
  if (!verify(signed, signature, key)) return badSignature();
  if (!issuers.includes(claims.iss))
    return untrustedIssuer(`the ${kind}'s issuer is not one that is trusted for it`);
  return found;
}
