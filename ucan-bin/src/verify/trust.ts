/** Trusted issuers and revocations (V6 and V7 of `verify.ts`). */

import type { Question } from "../protocol.gen.ts";
import { first, revocationsStale, revoked, untrustedIssuer, type Refusal } from "../refusal.ts";
import { isObject, shown, type Json } from "../token/canonical.ts";
import type { DelegationToken } from "../token/delegation.ts";
import type { Chain, Token } from "./verify.ts";

/** Why the root's issuer is not trusted. It is not checked without `trusted_issuers`. */
export function checkRoot({ root }: Chain, request: Question<"verify">): Refusal | undefined {
  const { iss } = root.claims;
  // V6.1
  if (request.trusted_issuers?.includes(iss) === false) {
    return untrustedIssuer("the root's issuer is not one that this service trusts", {
      field: "iss",
      wanted: `one of ${shown(request.trusted_issuers)}`,
      found: shown(iss),
    }).at(0);
  }
  // V6.2
  return request.revoked.includes(iss)
    ? revoked("the root's issuer is revoked", { field: "iss", found: shown(iss) }).at(0)
    : undefined;
}

/**
 * V7.1 and V7.2: what is revoked, or why that is unknown.
 *
 * Every token is looked up by its cid and by its two keys; the root also by the cids of its lineage,
 * and by the agents, apps and approval that its issuer names. A revocation is permanent, so a known
 * one counts in a view of any age; only the absence of one needs a recent view.
 */
export function checkRevocations(
  { root }: Chain,
  tokens: readonly Token[],
  { revoked: known, revocations_age = 0, revocations_max_age }: Question<"verify">,
): Refusal | undefined {
  const ids = new Set<Json | undefined>(known);
  const refusal =
    firstRevoked(grantedIn(root), ids)?.at(0) ??
    first(tokens, ({ cid, claims: { iss } }) => firstRevoked([["cid", cid], ["iss", iss]], ids)) ??
    // Nearly all of these keys have signed the next token, which is the one to report.
    first(tokens, ({ claims: { aud } }) => firstRevoked([["aud", aud]], ids));
  if (refusal !== undefined || revocations_age <= revocations_max_age) return refusal;
  const allowed = `at most ${revocations_max_age} are allowed`;
  return revocationsStale(`the view of revocations is ${revocations_age} seconds old; ${allowed}`, {
    field: "revocations_age",
    wanted: `at most ${revocations_max_age}`,
    found: shown(revocations_age),
  });
}

const REVOKED = {
  prf: "an ancestor of the root is revoked",
  cid: "the token or its issuer is revoked",
  iss: "the token or its issuer is revoked",
  aud: "the token's audience is revoked",
  "meta.app_id": "the app that the root was granted to is revoked",
  "meta.approval.id": "the approval that the root was granted by is revoked",
  "meta.lineage.root": "the agent that the root comes from is revoked",
  "meta.lineage.invokedBy": "an agent that the root came through is revoked",
  "meta.lineage.apps": "an app that the root came through is revoked",
} as const;

/** A claim, and what it names. */
type Naming = readonly [field: keyof typeof REVOKED, id: Json | undefined];

function firstRevoked(
  namings: readonly Naming[],
  ids: ReadonlySet<Json | undefined>,
): Refusal | undefined {
  const found = namings.find(([, id]) => ids.has(id));
  if (found === undefined) return undefined;
  const [field, id] = found;
  return revoked(REVOKED[field], { field, found: shown(id as Json) });
}

/** Authority-bearing meta is the root's alone, which the issuer has signed. */
function grantedIn({ claims: { prf = [], meta = {} } }: DelegationToken): Naming[] {
  const { approval, lineage } = meta;
  const { root, invokedBy, apps } = isObject(lineage) ? lineage : {};
  return [
    ...all("prf", prf),
    ["meta.app_id", meta["app_id"]],
    ["meta.approval.id", isObject(approval) ? approval["id"] : undefined],
    ["meta.lineage.root", root],
    ...all("meta.lineage.invokedBy", invokedBy),
    ...all("meta.lineage.apps", apps),
  ];
}

function all(field: Naming[0], ids: Json | undefined): Naming[] {
  return Array.isArray(ids) ? ids.map((id) => [field, id]) : [];
}
