/**
 * Checkpoints: tokens that say where a log ends. They hand on no authority and use none.
 *
 * A checkpoint is checked as a delegation is: text, then keys, then signature, then trust. It has
 * no end: what was the head of a log stays true. How old one may be is for its reader to say.
 */

import { isCheckpoint, type Checkpoint } from "../protocol.gen.ts";
import { badSignature, malformed, Refusal, untrustedIssuer } from "../refusal.ts";
import { Wrong } from "../schema.ts";
import { keyOf } from "./did_key.ts";
import { verify, type KeyObject } from "./ed25519.ts";
import { open, seal, type Envelope, type Signed } from "./jwt.ts";

export interface CheckpointToken extends Envelope {
  readonly claims: Checkpoint;
}

export function signCheckpoint(claims: Checkpoint, secret: KeyObject): Signed | Refusal {
  return seal("checkpoint", claims, secret);
}

/** Read a checkpoint that one of `issuers` signed. */
export function verifyCheckpoint(
  token: string,
  issuers: readonly string[],
): CheckpointToken | Refusal {
  const read = readCheckpoint(token);
  if (read instanceof Refusal) return read;
  const { claims, signed, signature } = read;
  const key = keyOf(claims.iss);
  if (key === undefined) return malformed("iss names no usable Ed25519 key");
  if (!verify(signed, signature, key)) return badSignature();
  if (!issuers.includes(claims.iss))
    return untrustedIssuer("the checkpoint's issuer is not one that is trusted for it");
  return read;
}

function readCheckpoint(token: string): CheckpointToken | Refusal {
  const envelope = open("checkpoint", token);
  if (envelope instanceof Refusal) return envelope;
  const claims = envelope.payload;
  const wrong = new Wrong();
  return isCheckpoint(claims, "", wrong) ? { ...envelope, claims } : malformed(wrong.sentence);
}
