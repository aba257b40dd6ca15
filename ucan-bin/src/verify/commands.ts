/** The commands that a policy permits, by its simple statements about the command. */

import type { Policy, Statement } from "./pol.ts";
import type { Selector } from "./selector.ts";

/**
 * What an equality, or an `or` of equalities, about the command permits. Undefined if there is
 * none; other statements may permit fewer.
 */
export function commandsLeft(policy: Policy): ReadonlySet<string> | undefined {
  return policy
    .map(commandsIn)
    .reduce((left, named) => (left && named ? common(left, named) : (left ?? named)), undefined);
}

function commandsIn(statement: Statement): ReadonlySet<string> | undefined {
  if (statement.op === "and") return commandsLeft(statement.of);
  const equalities = statement.op === "or" ? statement.of : [statement];
  // An empty `or` holds for every command.
  if (equalities.length === 0) return undefined;
  const commands = new Set<string>();
  for (const equality of equalities) {
    if (equality.op !== "==" || !isCommand(equality.selector)) return undefined;
    // A command is a text, so it never equals another type of value.
    if (typeof equality.value === "string") commands.add(equality.value);
  }
  return commands;
}

function isCommand([segment, ...more]: Selector): boolean {
  return segment?.kind === "member" && segment.name === "cmd" && more.length === 0;
}

function common(a: ReadonlySet<string>, b: ReadonlySet<string>): ReadonlySet<string> {
  return new Set([...a].filter((command) => b.has(command)));
}
