/**
 * Statements: signed tokens that neither delegate nor use authority, such as checkpoints.
 *
 * A statement is checked like a delegation: text, then keys, then signature, then trust. It does
 * not expire; its reader decides how old it may be.
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
