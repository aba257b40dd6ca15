/**
 * What a chain covers, and why a requested link is not within it.
 *
 * A verifier that refuses a link reports the link's error to the sender (`links.ts`). Here the
 * holder asks before it signs a link, and the message has the requested and the held values. A link
 * that passes here passes there. Two things are refused only here, because every verifier accepts
 * them in a chain and refuses them in calls: a command of which the chain's policies permit nothing,
 * and statements that permit more than the chain's.
 */

import { chainInvalid, chainTooDeep, expired, attenuationViolation, type Refusal } from "../refusal.ts";
import { ifShort, shown, type JsonObject } from "../token/canonical.ts";
import { commandsLeft } from "./commands.ts";
import { excess, type Stated } from "./excess.ts";
import { isWithin } from "./links.ts";
import { constraintOf, type Chain } from "./verify.ts";
import { covers } from "./resource.ts";

/** A chain, and what all of its links together permit. */
export interface EffectiveGrant extends Chain {
  readonly constraint: JsonObject | undefined;
  /** The commands that policies name; undefined if none of them does. */
  readonly commands: readonly string[] | undefined;
  /** The statements of all links. */
  readonly stated: Stated;
}

export function effectiveGrant(chain: Chain): EffectiveGrant {
  const policy = chain.links.flatMap((link) => link.policy);
  const pol = chain.links.flatMap(({ claims }) => claims.pol);
  const commands = commandsLeft(policy);
  return {
    ...chain,
    constraint: constraintOf(chain),
    commands: commands && [...commands],
    stated: { policy, pol },
  };
}

/** Why the chain cannot be delegated with this command until `exp`. */
export function checkDelegable(
  { links, leaf: { claims }, depth, commands }: EffectiveGrant,
  cmd: string,
  exp: number,
  now: number,
  maxDepth: number,
): Refusal | undefined {
  if (links.some(({ approved }) => approved))
    return chainInvalid("the chain comes from an approval, which is for one call only");
  if (links.some(({ forkable }) => !forkable))
    return chainInvalid(
      "the chain has meta.forkable: false, because policy distinguishes agents: it cannot be " +
        "delegated, and each agent has to ask the control plane for a grant of its own",
      { field: "meta.forkable" },
    );
  if (depth >= maxDepth)
    return chainTooDeep(`the chain has ${depth} delegations of at most ${maxDepth} already`);
  if (!isWithin(cmd, claims.cmd))
    return attenuationViolation(`cmd ${cmd} is not within ${claims.cmd}, which the chain covers`);
  if (commands?.some((command) => isWithin(command, cmd)) === false)
    return attenuationViolation(
      `cmd ${cmd} covers none of ${shown([...commands])}, to which pol restricts the chain`,
    );
  if (exp > claims.exp) return attenuationViolation(`exp ${exp} is later than ${claims.exp}, when the chain ends`);
  return exp <= now ? expired(`exp ${exp} is not later than now, which is ${now}`) : undefined;
}

/** Why the chain cannot be delegated with this constraint; without one it is inherited. */
export function checkConstraint(
  { constraint: held }: EffectiveGrant,
  asked: JsonObject | undefined,
): Refusal | undefined {
  if (asked === undefined || held === undefined || covers(held, asked)) return undefined;
  return attenuationViolation(
    `the constraint ${shown(asked)} is not within ${shown(held)}, which the chain covers`,
  );
}

/** Why the chain cannot be delegated with these statements: they permit more than its own. */
export function checkStatements(
  { stated }: EffectiveGrant,
  requested: Stated,
): Refusal | undefined {
  const found = excess(requested, stated);
  return (
    found &&
    attenuationViolation(
      `pol requests ${shown(found.requested)}, which permits more than ${shown(found.held)}, ` +
        "which the chain holds",
      {
        field: "pol",
        statement: ifShort(found.held),
        requested: ifShort(found.requested),
      },
    )
  );
}
