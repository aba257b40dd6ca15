/**
 * The service that a chain is valid at (V8.2 of `verify.ts`).
 *
 * 1. The root names this service in `meta.audience`, and so does every later link that names one:
 *    below the root, meta can only narrow. Only tokens of the hosted service name none.
 * 2. A verifier that is not a PDP does not decide by policy. It needs a root with
 *    `meta.closed: true`: its issuer has evaluated every call that the grant covers.
 *
 * Otherwise `audience_mismatch`. A chain that is used to request a capability is not used at a
 * service, so this does not apply to it.
 */

import type { Question } from "../protocol.gen.ts";
import { audienceMismatch, first, type Refusal } from "../refusal.ts";
import { shown, type Json } from "../token/canonical.ts";
import type { DelegationToken } from "../token/delegation.ts";
import type { Chain } from "./verify.ts";

/** Why the chain is not for the verifying service, with the index of the link. */
export function checkService(
  { links, root }: Chain,
  { audience, allow_missing_prf, pdp }: Question<"verify">,
): Refusal | undefined {
  const hosted = allow_missing_prf && !namesService(root);
  const other = first(links, (link, hop) =>
    namesService(link) || (hop === 0 && !hosted)
      ? serviceError(link.claims.meta?.["audience"], audience)
      : undefined,
  );
  return other ?? (hosted || pdp === true ? undefined : checkClosed(root)?.at(0));
}

function namesService({ claims: { meta = {} } }: DelegationToken): boolean {
  return Object.hasOwn(meta, "audience");
}

function checkClosed({ claims: { meta } }: DelegationToken): Refusal | undefined {
  const closed = meta?.["closed"];
  if (closed === true) return undefined;
  return audienceMismatch("the chain is for a PDP, which decides on each call by policy", {
    field: "meta.closed",
    wanted: shown(true),
    found: closed === undefined ? undefined : shown(closed),
  });
}

function serviceError(
  named: Json | undefined,
  audience: string | undefined,
): Refusal | undefined {
  if (named !== undefined && named === audience) return undefined;
  const message =
    named === undefined
      ? "the chain does not name the service that it is for"
      : "the chain is for another service";
  return audienceMismatch(message, {
    field: "meta.audience",
    wanted: audience && shown(audience),
    found: named === undefined ? undefined : shown(named),
  });
}
