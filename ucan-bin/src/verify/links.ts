/** Checks of one link of a chain against the link before it (V5 of `verify.ts`). */

import { chainInvalid, attenuationViolation, type Refusal } from "../refusal.ts";
import { shown, type JsonObject } from "../token/canonical.ts";
import type { DelegationToken } from "../token/delegation.ts";
import { covers } from "./resource.ts";

/** Whether `command` is `ancestor` or under it, at a segment boundary. */
export function isWithin(command: string, ancestor: string): boolean {
  return command === ancestor || command.startsWith(`${ancestor}/`);
}

/** The effective constraint after `child`: its own, or the one that it inherits. */
export function effectiveConstraint(
  held: JsonObject | undefined,
  child: DelegationToken,
): JsonObject | undefined {
  return child.constraint ?? held;
}

/**
 * Why `child` cannot follow `parent`, if it cannot.
 *
 * `held` is the effective constraint of the chain up to `parent`, `root` the first issuer. Linkage
 * is checked before attenuation.
 */
export function checkLink(
  child: DelegationToken,
  parent: DelegationToken,
  held: JsonObject | undefined,
  root: string,
  allowMissingPrf: boolean,
): Refusal | undefined {
  return (
    checkLinkage(child, parent, root, allowMissingPrf) ??
    checkAttenuation(child, parent) ??
    checkConstraint(child.constraint, held)
  );
}

function checkLinkage(
  child: DelegationToken,
  parent: DelegationToken,
  root: string,
  allowMissingPrf: boolean,
): Refusal | undefined {
  const { iss, sub, prf } = child.claims;
  const audience = parent.claims.aud;
  // V5.1
  if (iss !== audience)
    return chainInvalid("the issuer is not the audience of the link before", {
      field: "iss",
      wanted: shown(audience),
      found: shown(iss),
    });
  // V5.2
  if (!isLinked(child, parent, allowMissingPrf))
    return chainInvalid("prf does not name the link before", {
      field: "prf",
      wanted: shown([parent.cid]),
      found: prf && shown(prf),
    });
  if (hasOtherSubject(child, root)) return subjectError(sub, root); // V5.3
  return checkForkable(parent);
}

/** V5.4: why nothing may follow `parent`. */
function checkForkable({ approved, forkable }: DelegationToken): Refusal | undefined {
  if (approved)
    return chainInvalid("a delegation that came from an approval cannot be delegated further", {
      field: "meta.approval",
    });
  return forkable
    ? undefined
    : chainInvalid("the delegation before this link does not permit further delegation", {
        field: "meta.forkable",
      });
}

function checkAttenuation({ claims }: DelegationToken, parent: DelegationToken): Refusal | undefined {
  const { cmd, exp, nbf } = parent.claims;
  // V5.5
  if (!isWithin(claims.cmd, cmd))
    return attenuationViolation("cmd is not within that of the link before", {
      field: "cmd",
      wanted: `${shown(cmd)} or under it`,
      found: shown(claims.cmd),
    });
  // V5.6
  if (claims.exp > exp)
    return attenuationViolation("exp is later than that of the link before", {
      field: "exp",
      wanted: `at most ${exp}`,
      found: shown(claims.exp),
    });
  return claims.nbf < nbf
    ? attenuationViolation("nbf is earlier than that of the link before", {
        field: "nbf",
        wanted: `at least ${nbf}`,
        found: shown(claims.nbf),
      })
    : undefined;
}

/** V5.7 */
function checkConstraint(
  constraint: JsonObject | undefined,
  held: JsonObject | undefined,
): Refusal | undefined {
  return held === undefined || constraint === undefined || covers(held, constraint)
    ? undefined
    : attenuationViolation("meta.resource_constraint is not within that of the links before", {
        field: "meta.resource_constraint",
        wanted: `within ${shown(held)}`,
        found: shown(constraint),
      });
}

/** The refusal for a `sub` that is wrong, or that is missing where it is required. */
export function subjectError(sub: string | undefined, root: string): Refusal {
  return chainInvalid("sub is not the issuer of the root", {
    field: "sub",
    wanted: shown(root),
    found: sub && shown(sub),
  });
}

/** `sub` may be left out; if given, it must be the root's issuer at every hop. */
export function hasOtherSubject(link: DelegationToken, root: string): boolean {
  return link.claims.sub !== undefined && link.claims.sub !== root;
}

/** Tokens of the hosted service have no `prf`; a verifier has to accept those explicitly. */
function isLinked(
  child: DelegationToken,
  parent: DelegationToken,
  allowMissingPrf: boolean,
): boolean {
  const { prf } = child.claims;
  if (prf === undefined) return allowMissingPrf;
  return prf.length === 1 && prf[0] === parent.cid;
}
