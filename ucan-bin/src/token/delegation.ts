/** Delegations: tokens that delegate authority. */

import { isDelegation, type Delegation } from "../protocol.gen.ts";
import { malformed, Refusal } from "../refusal.ts";
import { isConstraint } from "../verify/resource.ts";
import { parsePolicy, type Policy } from "../verify/pol.ts";
import { isObject, type Json, type JsonObject } from "./canonical.ts";
import { CID, read, type Token } from "./jwt.ts";

/** The parsed content of a delegation's payload. */
export interface Terms {
  readonly policy: Policy;
  readonly constraint: JsonObject | undefined;
  /** Valid for one exact call after a person's approval, and so never delegated further. */
  readonly approved: boolean;
  /** Whether another link may follow; a root forbids it if policy depends on the principal. */
  readonly forkable: boolean;
  /** In a root: how many delegations it replaces. */
  readonly before: number;
}

export interface DelegationToken extends Token<Delegation>, Terms {}

export function readDelegation(token: string): DelegationToken | Refusal {
  const found = read("delegation", isDelegation, token);
  if (found instanceof Refusal) return found;
  const terms = termsOf(found.claims);
  return terms instanceof Refusal ? terms : { ...found, ...terms };
}

/** V2.5: check what the schema cannot express, the same when signing as when verifying. */
export function termsOf(claims: Delegation): Terms | Refusal {
  const { nbf, exp, prf = [], meta = {}, pol } = claims;
  if (exp <= nbf) return malformed("exp is not later than nbf");
  if (!prf.every((cid) => CID.test(cid))) return malformed("prf is not a list of cids");
  const constraint = meta["resource_constraint"];
  if (constraint !== undefined && !isConstraint(constraint)) {
    return malformed("meta.resource_constraint is not an object, or its path is not normalised");
  }
  const before = depthBefore(meta["lineage"], prf);
  if (before === undefined) return malformed("meta.lineage.depth is not a whole number");
  const policy = parsePolicy(pol);
  if (typeof policy === "string") return malformed(policy);
  const approved = Object.hasOwn(meta, "approval");
  // Any value but true forbids it.
  const forkable = !Object.hasOwn(meta, "forkable") || meta["forkable"] === true;
  return { policy, constraint, approved, forkable, before };
}

/** The issuer's `meta.lineage.depth`; without it, one delegation for each cid. */
function depthBefore(lineage: Json | undefined, prf: readonly string[]): number | undefined {
  if (lineage === undefined) return prf.length;
  if (!isObject(lineage)) return undefined;
  const { depth = prf.length } = lineage;
  return typeof depth === "number" && Number.isSafeInteger(depth) && depth >= 0 ? depth : undefined;
}
