/** What one link of a chain may say, given the link before it (step 5 of `order.ts`). */

import { chainInvalid, wider, type Refusal } from "../refusal.ts";
import type { JsonObject } from "../token/canonical.ts";
import type { DelegationToken } from "../token/delegation.ts";
import { covers } from "./resource.ts";

/** Whether `command` is `ancestor` or lies beneath it, at a segment boundary. */
export function isWithin(command: string, ancestor: string): boolean {
  return command === ancestor || command.startsWith(`${ancestor}/`);
}

/** The constraint that holds after `child`: its own, or the one it inherits. */
export function narrowed(
  held: JsonObject | undefined,
  child: DelegationToken,
): JsonObject | undefined {
  return child.constraint ?? held;
}

/**
 * Why `child` cannot follow `parent`, if it cannot.
 *
 * `held` is the constraint over the chain up to `parent`, `root` the first issuer. Broken links
 * come before widened ones: what is not linked has nothing to widen.
 */
export function wrongLink(
  child: DelegationToken,
  parent: DelegationToken,
  held: JsonObject | undefined,
  root: string,
  acceptUnlinked: boolean,
): Refusal | undefined {
  const { iss, cmd, exp, nbf } = child.claims;
  if (iss !== parent.claims.aud)
    return chainInvalid("the issuer is not the audience of the link before");
  if (!isLinked(child, parent, acceptUnlinked))
    return chainInvalid("prf does not name the link before");
  if (wrongSubject(child, root)) return chainInvalid("sub is not the issuer of the root");
  if (parent.approved)
    return chainInvalid("a delegation that came from an approval cannot be handed on");
  if (!isWithin(cmd, parent.claims.cmd)) return wider("cmd is not within that of the link before");
  if (exp > parent.claims.exp) return wider("exp is later than that of the link before");
  if (nbf < parent.claims.nbf) return wider("nbf is earlier than that of the link before");
  const { constraint } = child;
  if (held !== undefined && constraint !== undefined && !covers(held, constraint)) {
    return wider("meta.resource_constraint is not within that of the links before");
  }
  return undefined;
}

/** `sub` may be left out; given, it is the root's issuer at every hop. */
export function wrongSubject(link: DelegationToken, root: string): boolean {
  return link.claims.sub !== undefined && link.claims.sub !== root;
}

/** Tokens of the hosted service have no `prf`; whoever accepts those says so. */
function isLinked(
  child: DelegationToken,
  parent: DelegationToken,
  acceptUnlinked: boolean,
): boolean {
  const { prf } = child.claims;
  if (prf === undefined) return acceptUnlinked;
  return prf.length === 1 && prf[0] === parent.cid;
}
