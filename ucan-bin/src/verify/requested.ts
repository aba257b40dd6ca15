/**
 * Checks of a requested capability against the requester's chain (V8.6 of `verify.ts`).
 *
 * 1. A chain that came from an approval is for one call only: `chain_invalid`.
 * 2. The command is within the leaf's; otherwise `chain_attenuation_violation`.
 * 3. The resource is within the effective constraint; otherwise `resource_out_of_scope`.
 *
 * Policies are about calls, and there is none yet. The new delegation carries them.
 */

import type { RequestedCapability } from "../protocol.gen.ts";
import { chainInvalid, outOfScope, attenuationViolation, type Refusal } from "../refusal.ts";
import { shown, type JsonObject } from "../token/canonical.ts";
import { isWithin } from "./links.ts";
import type { Chain } from "./verify.ts";
import { covers } from "./resource.ts";

/** Why the chain does not cover it, with the index of the leaf, or of the approved link. */
export function checkRequested(
  { cmd, resource }: RequestedCapability,
  { links, leaf }: Chain,
  constraint: JsonObject | undefined,
): Refusal | undefined {
  const approved = links.findIndex((link) => link.approved);
  if (approved !== -1) {
    return chainInvalid("a delegation that came from an approval is for one call only", {
      field: "meta.approval",
    }).at(approved);
  }
  const last = links.length - 1;
  if (!isWithin(cmd, leaf.claims.cmd))
    return attenuationViolation("the requested command is not within that of the chain", {
      field: "cmd",
      wanted: `${shown(leaf.claims.cmd)} or under it`,
      found: shown(cmd),
    }).at(last);
  return constraint === undefined || covers(constraint, resource)
    ? undefined
    : outOfScope("the requested resource is not within the chain's constraint", {
        field: "meta.resource_constraint",
        wanted: `within ${shown(constraint)}`,
        found: shown(resource),
      }).at(last);
}
