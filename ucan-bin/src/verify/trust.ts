/** Who is believed, and what was taken back (steps 6 and 7 of `order.ts`). */

import type { Verify } from "../protocol.gen.ts";
import { first, revocationsStale, revoked, untrustedIssuer, type Refusal } from "../refusal.ts";
import { shown } from "../token/canonical.ts";
import type { Chain, Token } from "./order.ts";

/** Why the root's issuer is not believed. Without `trusted_issuers` nobody asked. */
export function wrongRoot({ root }: Chain, request: Verify): Refusal | undefined {
  const { iss } = root.claims;
  if (request.trusted_issuers?.includes(iss) === false) {
    return untrustedIssuer("the root's issuer is not one that this service trusts", {
      field: "iss",
      wanted: `one of ${shown(request.trusted_issuers)}`,
      found: shown(iss),
    }).at(0);
  }
  return request.revoked.includes(iss)
    ? revoked("the root's issuer is revoked", { field: "iss", found: shown(iss) }).at(0)
    : undefined;
}

/**
 * What was revoked, or why that cannot be known.
 *
 * Every token counts by its cid and by its issuer, the lineage by its cids alone. A revocation
 * is never undone, so one that is known holds in a view of any age; only the absence of one
 * needs a young view.
 */
export function revocation(
  { lineage }: Chain,
  tokens: readonly Token[],
  { revoked: known, revocations_age = 0, revocations_max_age }: Verify,
): Refusal | undefined {
  const ids = new Set(known);
  const ancestor = lineage.find((cid) => ids.has(cid));
  if (ancestor !== undefined)
    return revoked("an ancestor of the root is revoked", {
      field: "prf",
      found: shown(ancestor),
    }).at(0);
  const refusal = first(tokens, ({ cid, claims: { iss } }) => {
    const id = [cid, iss].find((known) => ids.has(known));
    if (id === undefined) return undefined;
    const field = id === iss ? "iss" : "cid";
    return revoked("the token or its issuer is revoked", { field, found: shown(id) });
  });
  if (refusal !== undefined || revocations_age <= revocations_max_age) return refusal;
  const allowed = `at most ${revocations_max_age} are allowed`;
  return revocationsStale(`the view of revocations is ${revocations_age} seconds old; ${allowed}`, {
    field: "revocations_age",
    wanted: `at most ${revocations_max_age}`,
    found: shown(revocations_age),
  });
}
