/** Invocations: tokens that use authority at one service, with the chain that proves it. */

import { isInvocation, type Invocation } from "../protocol.gen.ts";
import { malformed, Refusal } from "../refusal.ts";
import { isObject, type JsonObject } from "./canonical.ts";
import { read, type Token } from "./jwt.ts";

/** Seconds an invocation may live: an hour, and the minute that `iat` lies in the past. */
export const MAX_LIFETIME = 3660;

/** The least characters of any nonce; nonces that are signed here have more (`operations.ts`). */
const MIN_NONCE = 8;

export function charactersOf(text: string): number {
  return Array.from(text).length;
}

/** The call of an invocation: its `resource`, and its other `args`. */
export interface Use {
  readonly resource: JsonObject;
  readonly args: JsonObject;
}

export interface InvocationToken extends Token<Invocation>, Use {}

export function readInvocation(token: string): InvocationToken | Refusal {
  const found = read("invocation", isInvocation, token);
  if (found instanceof Refusal) return found;
  const use = useOf(found.claims);
  return use instanceof Refusal ? use : { ...found, ...use };
}

/** Check what the schema cannot express, the same when signing as when verifying. */
export function useOf(claims: Invocation): Use | Refusal {
  const { iat, exp, nonce } = claims;
  if (exp <= iat) return malformed("exp is not later than iat");
  if (exp > iat + MAX_LIFETIME)
    return malformed(`exp is more than ${MAX_LIFETIME} seconds after iat`);
  const { resource, ...args } = claims.args;
  if (!isObject(resource)) return malformed("args.resource is not an object");
  if (charactersOf(nonce) < MIN_NONCE)
    return malformed(`nonce has fewer than ${MIN_NONCE} characters`);
  return { resource, args };
}
