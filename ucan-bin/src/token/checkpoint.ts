/** Checkpoints: statements about the end of a log. */

import { isCheckpoint, type Checkpoint } from "../protocol.gen.ts";
import type { Refusal } from "../refusal.ts";
import type { KeyObject } from "./ed25519.ts";
import { seal, type Signed, type Token } from "./jwt.ts";
import { verifyStatement } from "./statement.ts";

export function signCheckpoint(claims: Checkpoint, secret: KeyObject): Signed | Refusal {
  return seal("checkpoint", claims, secret);
}

/** Read a checkpoint that one of `issuers` signed. */
export function verifyCheckpoint(
  token: string,
  issuers: readonly string[],
): Token<Checkpoint> | Refusal {
  return verifyStatement("checkpoint", isCheckpoint, token, issuers);
}
