/**
 * Statements: signed tokens that neither delegate nor use authority.
 *
 * A checkpoint is about the end of a log, a receipt about a verifier's decision on an invocation.
 * A receipt contains hashes and names, never a token. An allow names everything that it is based
 * on; a refusal names what could be read, which may be nothing.
 *
 * A statement is checked like a delegation: text, then keys, then signature, then trust. It does
 * not expire; its reader decides how old it may be.
 */

import { isCheckpoint, isReceipt, type Checkpoint, type Receipt } from "../protocol.gen.ts";
import { badSignature, malformed, Refusal, untrustedIssuer } from "../refusal.ts";
import type { Check } from "../schema.ts";
import { keyOf } from "./did_key.ts";
import { verify } from "./ed25519.ts";
import { read, type Kind, type Token } from "./jwt.ts";

/** Read a checkpoint that one of `issuers` signed. */
export function verifyCheckpoint(
  token: string,
  issuers: readonly string[],
): Token<Checkpoint> | Refusal {
  return verifyStatement("checkpoint", isCheckpoint, token, issuers);
}

/** Read a receipt that one of `issuers` signed. */
export function verifyReceipt(token: string, issuers: readonly string[]): Token<Receipt> | Refusal {
  const found = verifyStatement("receipt", isReceipt, token, issuers);
  return found instanceof Refusal ? found : (checkReceipt(found.claims) ?? found);
}

function verifyStatement<T extends { readonly iss: string }>(
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

/** The members that an allow must have. */
const NAMED = ["resource_hash", "agent", "root", "chain", "invocation"] as const;

/** Why a receipt contradicts itself, the same when signing as when verifying. */
export function checkReceipt(claims: Receipt): Refusal | undefined {
  if (claims.outcome !== "allow") return undefined;
  if (claims.hop !== undefined)
    return malformed("an allow has no token at fault", { field: "hop" });
  const missing = NAMED.find((name) => claims[name] === undefined);
  return missing && malformed(`an allow names its ${missing}`, { field: missing });
}
