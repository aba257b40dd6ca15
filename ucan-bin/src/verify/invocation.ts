/**
 * Checks of an invocation against its chain (V8 of `verify.ts`).
 *
 * V8.1. Its issuer is the last audience and its `sub` is the root; otherwise `chain_invalid`.
 * V8.2. It and its chain are for this service; otherwise `audience_mismatch`. See `service.ts`.
 * V8.3. Its command and expiry are within the leaf's; otherwise `chain_attenuation_violation`.
 * V8.4. Its resource has every field of the constraint, and every policy of every link holds for
 *    what it signs; otherwise `resource_out_of_scope`.
 * V8.5. If the service passes a call: command and resource are those of the call, every signed
 *    argument is in it, and every policy holds for the call too; otherwise `resource_mismatch`.
 *
 * The last step binds arguments that a policy names, but the agent did not sign, to the actual
 * request.
 */

import type { Call, Question } from "../protocol.gen.ts";
import {
  audienceMismatch,
  chainInvalid,
  outOfScope,
  resourceMismatch,
  attenuationViolation,
  type Refusal,
} from "../refusal.ts";
import { equal, ifShort, shown, type Json, type JsonObject } from "../token/canonical.ts";
import type { InvocationToken } from "../token/invocation.ts";
import { failedStatement, type FailedStatement } from "./evaluate.ts";
import { isWithin, subjectError } from "./links.ts";
import type { Chain } from "./verify.ts";
import type { Policy } from "./pol.ts";
import { MAX_STEPS, EvaluationBudget, BudgetExceeded } from "./budget.ts";
import { covers } from "./resource.ts";
import { checkService } from "./service.ts";

/** V8.1 to V8.3: holder, service, command and expiry. */
export function checkClaims(
  invocation: InvocationToken,
  chain: Chain,
  request: Question<"verify">,
): Refusal | undefined {
  const last = chain.links.length;
  return (
    checkParties(invocation, chain, request.audience)?.at(last) ??
    (request.requested === undefined ? checkService(chain, request) : undefined) ??
    checkCommand(invocation, chain)?.at(last)
  );
}

/** V8.4 and V8.5: why it may not do that, pointing at the token whose word it breaks. */
export function checkInvocation(
  invocation: InvocationToken,
  chain: Chain,
  constraint: JsonObject | undefined,
  call: Call | undefined,
): Refusal | undefined {
  const last = chain.links.length;
  return (
    checkResource(invocation, constraint)?.at(last) ??
    checkPolicies(chain, asCall(invocation), outOfScope) ??
    (call && (checkCall(invocation, call)?.at(last) ?? checkPolicies(chain, call, resourceMismatch)))
  );
}

function checkParties(
  { claims }: InvocationToken,
  { root, leaf }: Chain,
  audience: string | undefined,
): Refusal | undefined {
  const { iss, sub, aud } = claims;
  if (iss !== leaf.claims.aud)
    return chainInvalid("the invocation is not by the chain's last audience", {
      field: "iss",
      wanted: shown(leaf.claims.aud),
      found: shown(iss),
    });
  if (sub !== root.claims.iss) return subjectError(sub, root.claims.iss);
  return aud !== audience
    ? audienceMismatch("the invocation is for another service", {
        field: "aud",
        wanted: audience && shown(audience),
        found: shown(aud),
      })
    : undefined;
}

function checkCommand({ claims: { cmd, exp } }: InvocationToken, { leaf }: Chain): Refusal | undefined {
  if (!isWithin(cmd, leaf.claims.cmd))
    return attenuationViolation("cmd is not within that of the chain", {
      field: "cmd",
      wanted: `${shown(leaf.claims.cmd)} or under it`,
      found: shown(cmd),
    });
  return exp > leaf.claims.exp
    ? attenuationViolation("exp is later than that of the chain", {
        field: "exp",
        wanted: `at most ${leaf.claims.exp}`,
        found: shown(exp),
      })
    : undefined;
}

function checkResource(
  { resource }: InvocationToken,
  constraint: JsonObject | undefined,
): Refusal | undefined {
  return constraint === undefined || covers(constraint, resource)
    ? undefined
    : outOfScope("the resource is not within the chain's constraint", {
        field: "args.resource",
        wanted: `within ${shown(constraint)}`,
        found: shown(resource),
      });
}

/** The first policy that does not hold, with the index of its link. */
function checkPolicies(
  { links }: Chain,
  { cmd, resource, args }: Call,
  refuse: typeof outOfScope,
): Refusal | undefined {
  const subject = { cmd, resource, args };
  const budget = new EvaluationBudget();
  for (const [hop, { policy, claims }] of links.entries()) {
    const broken = failedWithin(policy, subject, budget);
    if (broken === undefined) continue;
    if (broken === "costly") return refuse(COSTLY, { field: "pol" }).at(hop);
    const { index, field, found } = broken;
    const statement = statementAt(claims.pol, field);
    const reason = { field, wanted: shown(statement), found, statement: ifShort(statement) };
    return refuse(`pol[${index}] of this link does not hold`, reason).at(hop);
  }
  return undefined;
}

const COSTLY = `the policies of the chain take more than ${MAX_STEPS} steps for this call`;

function failedWithin(
  policy: Policy,
  subject: Json,
  budget: EvaluationBudget,
): FailedStatement | "costly" | undefined {
  try {
    return failedStatement(policy, subject, budget);
  } catch (error) {
    if (error instanceof BudgetExceeded) return "costly";
    throw error;
  }
}

/** The statement at a place such as `pol[1][1][0]`. */
function statementAt(pol: Json[], field: string): Json[] {
  return Array.from(field.matchAll(/\[(\d+)\]/g)).reduce<Json[]>(
    (item, [, index]) => item[Number(index)] as Json[],
    pol,
  );
}

function asCall({ claims: { cmd }, resource, args }: InvocationToken): Call {
  return { cmd, resource, args };
}

function checkCall({ claims, resource, args }: InvocationToken, call: Call): Refusal | undefined {
  if (claims.cmd !== call.cmd)
    return resourceMismatch("the call's command is not the signed one", {
      field: "cmd",
      wanted: shown(call.cmd),
      found: shown(claims.cmd),
    });
  if (!equal(resource, call.resource))
    return resourceMismatch("the call's resource is not the signed one", {
      field: "args.resource",
      wanted: shown(call.resource),
      found: shown(resource),
    });
  const changed = Object.entries(args).find(([name, value]) => !has(call.args, name, value));
  return changed && argumentError(changed[0], changed[1], call.args);
}

function argumentError(name: string, signed: Json, called: JsonObject): Refusal {
  const start = name.slice(0, 64).toWellFormed();
  // Own members only: an argument may have the name of an inherited member.
  const given = Object.hasOwn(called, name);
  const message = given
    ? `the call's argument ${JSON.stringify(start)} is not the signed one`
    : `the call is without the argument ${JSON.stringify(start)}, which was signed`;
  return resourceMismatch(message, {
    field: `args.${start}`,
    wanted: given ? shown(called[name] as Json) : undefined,
    found: shown(signed),
  });
}

function has(args: JsonObject, name: string, wanted: Json): boolean {
  return Object.hasOwn(args, name) && equal(args[name], wanted);
}
