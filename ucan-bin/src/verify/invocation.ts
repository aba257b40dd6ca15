/**
 * What an invocation may say, given its chain (step 8 of `order.ts`).
 *
 * 1. It comes from the last audience and names the root in `sub`; otherwise `chain_invalid`.
 * 2. It is for this service; otherwise `audience_mismatch`.
 * 3. Its command and expiry lie within the leaf's; otherwise `chain_attenuation_violation`.
 * 4. Its resource has every field of the constraint, and every policy of every link holds for
 *    what it says; otherwise `resource_out_of_scope`.
 * 5. If the service has a call at hand: command and resource are those of the call, every signed
 *    argument is in it, and every policy holds for the call too; otherwise `resource_mismatch`.
 *
 * The last step is what ties arguments that a policy names, but the agent did not sign, to the
 * request that was really made.
 */

import type { Call } from "../protocol.gen.ts";
import {
  audienceMismatch,
  chainInvalid,
  outOfScope,
  resourceMismatch,
  wider,
  type Refusal,
} from "../refusal.ts";
import { equal, type JsonObject } from "../token/canonical.ts";
import type { InvocationToken } from "../token/invocation.ts";
import { isWithin } from "./links.ts";
import type { Chain } from "./order.ts";
import { firstFalse } from "./pol.ts";
import { covers } from "./resource.ts";
import { Reading } from "./selector.ts";

/** Steps 1 to 3: why it is not from this chain's holder, for this service, within its time. */
export function wrongClaims(
  invocation: InvocationToken,
  chain: Chain,
  audience: string | undefined,
): Refusal | undefined {
  return foreign(invocation, chain, audience)?.at(chain.links.length);
}

/** Steps 4 and 5: why it may not do that, pointing at the token whose word it breaks. */
export function wrongInvocation(
  invocation: InvocationToken,
  chain: Chain,
  constraint: JsonObject | undefined,
  call: Call | undefined,
): Refusal | undefined {
  const last = chain.links.length;
  return (
    outside(invocation, constraint)?.at(last) ??
    brokenPolicy(chain, asCall(invocation), outOfScope) ??
    (call && (differs(invocation, call)?.at(last) ?? brokenPolicy(chain, call, resourceMismatch)))
  );
}

function foreign(
  { claims }: InvocationToken,
  { root, leaf }: Chain,
  audience: string | undefined,
): Refusal | undefined {
  if (claims.iss !== leaf.claims.aud)
    return chainInvalid("the invocation is not by the chain's last audience");
  if (claims.sub !== root.claims.iss) return chainInvalid("sub is not the issuer of the root");
  if (claims.aud !== audience) return audienceMismatch("the invocation is for another service");
  if (!isWithin(claims.cmd, leaf.claims.cmd)) return wider("cmd is not within that of the chain");
  return claims.exp > leaf.claims.exp ? wider("exp is later than that of the chain") : undefined;
}

function outside(
  { resource }: InvocationToken,
  constraint: JsonObject | undefined,
): Refusal | undefined {
  return constraint === undefined || covers(constraint, resource)
    ? undefined
    : outOfScope("the resource is not within the chain's constraint");
}

/** The first policy that does not hold, pointing at the link that makes it a condition. */
function brokenPolicy(
  { links }: Chain,
  { cmd, resource, args }: Call,
  refuse: (message: string) => Refusal,
): Refusal | undefined {
  const subject = { cmd, resource, args };
  const reading = new Reading();
  for (const [hop, { policy }] of links.entries()) {
    const index = firstFalse(policy, subject, reading);
    if (index >= 0) return refuse(`pol[${index}] of this link does not hold`).at(hop);
  }
  return undefined;
}

function asCall({ claims: { cmd }, resource, args }: InvocationToken): Call {
  return { cmd, resource, args };
}

function differs({ claims, resource, args }: InvocationToken, call: Call): Refusal | undefined {
  if (claims.cmd !== call.cmd) return resourceMismatch("the call's command is not the signed one");
  if (!equal(resource, call.resource))
    return resourceMismatch("the call's resource is not the signed one");
  const changed = Object.entries(args).find(([name, value]) => !has(call.args, name, value));
  return (
    changed &&
    resourceMismatch(
      `the call's argument ${JSON.stringify(changed[0].slice(0, 64))} is not the signed one`,
    )
  );
}

function has(args: JsonObject, name: string, wanted: JsonObject[string]): boolean {
  return Object.hasOwn(args, name) && equal(args[name], wanted);
}
