/** Refusals as values: a code for programs, a message for people, the token at fault. */

import type { RefusalCode, Refused } from "./protocol.gen.ts";
import type { Json } from "./token/canonical.ts";

/**
 * What exactly is wrong: the claim, or the statement of `pol`, that failed; the required and the
 * actual value, as the beginning of their JSON text (see `shown` in `canonical.ts`); and the whole
 * statement, if it is not long.
 */
export interface Reason {
  readonly field: string;
  readonly wanted?: string | undefined;
  readonly found?: string | undefined;
  readonly statement?: Json[] | undefined;
  /** The requested statements that permit more than `statement`, if they are not long. */
  readonly requested?: Json[] | undefined;
}

type RefusalDetails = Omit<Refused, "id" | "ok">;

export class Refusal {
  readonly code: RefusalCode;
  readonly message: string;
  readonly hop: number | undefined;
  readonly reason: Reason | undefined;

  constructor(code: RefusalCode, message: string, hop?: number, reason?: Reason) {
    this.code = code;
    this.message = message;
    this.hop = hop;
    this.reason = reason;
  }

  /** The members of the answer, without undefined ones. */
  get details(): RefusalDetails {
    const { code, message, hop, reason = {} } = this;
    const all = { code, message, hop, ...reason };
    const known = Object.entries(all).filter(([, value]) => value !== undefined);
    return Object.fromEntries(known) as unknown as RefusalDetails;
  }

  /** The same refusal, pointing at one token of a chain (root 0). */
  at(hop: number): Refusal {
    return new Refusal(this.code, this.message, hop, this.reason);
  }

  /** The same refusal, with the part of the request that it is about. */
  of(part: string): Refusal {
    return new Refusal(this.code, `${part}: ${this.message}`, this.hop, this.reason);
  }
}

type Refuse = (message: string, reason?: Reason) => Refusal;

const refuse =
  (code: RefusalCode): Refuse =>
  (message, reason) =>
    new Refusal(code, message, undefined, reason);

export const malformed = refuse("malformed_ucan");
export const expired = refuse("expired");
export const notYetValid = refuse("not_yet_valid");
export const chainInvalid = refuse("chain_invalid");
export const chainTooDeep = refuse("chain_too_deep");
export const attenuationViolation = refuse("chain_attenuation_violation");
export const untrustedIssuer = refuse("untrusted_issuer");
export const revoked = refuse("revoked");
export const revocationsStale = refuse("revocations_stale");
export const audienceMismatch = refuse("audience_mismatch");
export const outOfScope = refuse("resource_out_of_scope");
export const resourceMismatch = refuse("resource_mismatch");

export const otherProtocol = refuse("protocol");
export const invalidRequest = refuse("invalid_request");
export const unknownOp = refuse("unknown_op");
export const unknownKey = refuse("unknown_key");
export const invalidKey = refuse("invalid_key");
export const issuerMismatch = refuse("issuer_mismatch");
export const vacuousPolicy = refuse("vacuous_policy");
export const tooLarge = refuse("too_large");

/** One message for all invalid signatures: which check failed would help only an attacker. */
export const badSignature = (): Refusal =>
  new Refusal("bad_signature", "the signature is not the issuer's");

/** One message for all bugs, because the text of an exception may contain a secret. */
export const internal = (): Refusal =>
  new Refusal("internal", "nomos-ucan failed on this request; nothing was signed or accepted");

/** The first refusal among the tokens of a chain, pointing at its token. */
export function first<T>(
  tokens: readonly T[],
  check: (token: T, hop: number) => Refusal | undefined,
): Refusal | undefined {
  for (const [hop, token] of tokens.entries()) {
    const refusal = check(token, hop);
    if (refusal !== undefined) return refusal.at(hop);
  }
  return undefined;
}
