/**
 * Receipts: statements about a verifier's decision on an invocation.
 *
 * They contain hashes and names, never a token. An allow names everything that it is based on; a
 * refusal names what could be read, which may be nothing.
 */

import { isReceipt, type Receipt } from "../protocol.gen.ts";
import { malformed, Refusal } from "../refusal.ts";
import type { KeyObject } from "./ed25519.ts";
import { seal, type Signed, type Token } from "./jwt.ts";
import { verifyStatement } from "./statement.ts";

const ALLOW = "allow";

/** The members that an allow must have. */
const NAMED = ["resource_hash", "agent", "root", "chain", "invocation"] as const;

export function signReceipt(claims: Receipt, secret: KeyObject): Signed | Refusal {
  return contradiction(claims) ?? seal("receipt", claims, secret);
}

/** Read a receipt that one of `issuers` signed. */
export function verifyReceipt(token: string, issuers: readonly string[]): Token<Receipt> | Refusal {
  const found = verifyStatement("receipt", isReceipt, token, issuers);
  return found instanceof Refusal ? found : (contradiction(found.claims) ?? found);
}

function contradiction(claims: Receipt): Refusal | undefined {
  if (claims.outcome !== ALLOW) return undefined;
  if (claims.hop !== undefined)
    return malformed("an allow has no token at fault", { field: "hop" });
  const missing = NAMED.find((name) => claims[name] === undefined);
  return missing && malformed(`an allow names its ${missing}`, { field: missing });
}
