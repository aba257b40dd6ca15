/**
 * What a chain gives to its holder, and why something asked for is not within it.
 *
 * A verifier that refuses a link tells a stranger where it is wrong (`links.ts`); here the holder
 * asks before signing one, and is told what was asked and what is held. What passes here passes
 * there. One thing is refused only here: a command of which the chain's policies leave nothing,
 * which every verifier would accept in a chain, and refuse in each call.
 */

import { chainInvalid, chainTooDeep, expired, attenuationViolation, type Refusal } from "../refusal.ts";
import { shown, type JsonObject } from "../token/canonical.ts";
import { commandsLeft } from "./commands.ts";
import { isWithin } from "./links.ts";
import { constraintOf, type Chain } from "./verify.ts";
import { covers } from "./resource.ts";

/** A chain, and what all of its links together leave. */
export interface EffectiveGrant extends Chain {
  readonly constraint: JsonObject | undefined;
  /** The commands that policies name; undefined if none of them does. */
  readonly commands: readonly string[] | undefined;
}

export function effectiveGrant(chain: Chain): EffectiveGrant {
  const commands = commandsLeft(chain.links.flatMap(({ policy }) => policy));
  return { ...chain, constraint: constraintOf(chain), commands: commands && [...commands] };
}

/** Why the chain cannot be handed on, with this command, until then. */
export function checkAttenuation(
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
      "the chain says meta.forkable: false, as policy tells agents apart: it cannot be handed on, " +
        "and each agent asks the control plane for its own",
      { field: "meta.forkable" },
    );
  if (depth >= maxDepth)
    return chainTooDeep(`the chain has ${depth} delegations of at most ${maxDepth} already`);
  if (!isWithin(cmd, claims.cmd))
    return attenuationViolation(`cmd ${cmd} is not within ${claims.cmd}, which the chain gives`);
  if (commands?.some((command) => isWithin(command, cmd)) === false)
    return attenuationViolation(
      `cmd ${cmd} has nothing of ${shown([...commands])}, to which pol narrows the chain`,
    );
  if (exp > claims.exp) return attenuationViolation(`exp ${exp} is later than ${claims.exp}, when the chain ends`);
  return exp <= now ? expired(`exp ${exp} is not later than now, which is ${now}`) : undefined;
}

/** Why it cannot be handed on with this constraint; without one it is inherited. */
export function checkConstraint(
  { constraint: held }: EffectiveGrant,
  asked: JsonObject | undefined,
): Refusal | undefined {
  if (asked === undefined || held === undefined || covers(held, asked)) return undefined;
  return attenuationViolation(
    `the constraint ${shown(asked)} is not within ${shown(held)}, which the chain gives`,
  );
}
