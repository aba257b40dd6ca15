/**
 * Policies of UCAN 1.0: statements about the arguments of a call, all of which must hold.
 *
 * A policy is parsed once, when its token is read or signed, and evaluated from then on. An
 * operator that is not in the table below refuses the token: skipping a statement that is not
 * understood would widen what the token allows.
 */

import { equal } from "../token/canonical.ts";
import type { Json } from "../token/canonical.ts";
import { parseSelector, Reading, select, type Selector } from "./selector.ts";

export type Statement =
  | { readonly op: "=="; readonly selector: Selector; readonly value: Json }
  | { readonly op: "and" | "or"; readonly of: Policy };

export type Policy = readonly Statement[];

/** Parse a policy, or say what is wrong with it. `at` names the list in messages. */
export function parsePolicy(pol: Json[], at = "pol"): Policy | string {
  const policy: Statement[] = [];
  for (const [index, item] of pol.entries()) {
    const statement = parseStatement(item, `${at}[${index}]`);
    if (typeof statement === "string") return statement;
    policy.push(statement);
  }
  return policy;
}

/**
 * The index of the first statement that does not hold for `subject`; -1 if all hold. Policies that
 * are evaluated for the same subject share one `reading`, so that it is walked once for all.
 */
export function firstFalse(
  policy: Policy,
  subject: Json,
  reading: Reading = new Reading(),
): number {
  return policy.findIndex((statement) => !holds(statement, subject, reading));
}

export const VACUOUS = "an `or` of nothing in pol holds for every call; allow_vacuous signs it";

/** Whether some statement holds whatever the call is: an `or` of nothing. */
export function isVacuous(policy: Policy): boolean {
  return policy.some(
    (statement) =>
      statement.op !== "==" &&
      ((statement.op === "or" && statement.of.length === 0) || isVacuous(statement.of)),
  );
}

/**
 * The commands that the policy leaves, as far as its plain statements about the command say: an
 * equality, or an `or` of equalities. Undefined if it has none; other statements may leave fewer.
 */
export function commandsLeft(policy: Policy): ReadonlySet<string> | undefined {
  return policy
    .map(commandsIn)
    .reduce((left, named) => (left && named ? common(left, named) : (left ?? named)), undefined);
}

function commandsIn(statement: Statement): ReadonlySet<string> | undefined {
  if (statement.op === "and") return commandsLeft(statement.of);
  const equalities = statement.op === "or" ? statement.of : [statement];
  // An `or` of nothing holds for every command.
  if (equalities.length === 0) return undefined;
  const commands = new Set<string>();
  for (const equality of equalities) {
    if (equality.op !== "==" || !isCommand(equality.selector)) return undefined;
    // A command is a text; what else it is compared with, it never equals.
    if (typeof equality.value === "string") commands.add(equality.value);
  }
  return commands;
}

function isCommand(selector: Selector): boolean {
  return selector.length === 1 && selector[0]?.key === "cmd";
}

function common(a: ReadonlySet<string>, b: ReadonlySet<string>): ReadonlySet<string> {
  return new Set([...a].filter((command) => b.has(command)));
}

function holds(statement: Statement, subject: Json, reading: Reading): boolean {
  switch (statement.op) {
    case "==":
      // What does not resolve is undefined, which equals no value.
      return equal(select(statement.selector, subject, reading), statement.value, (value) =>
        reading.namesOf(value),
      );
    case "and":
      return statement.of.every((inner) => holds(inner, subject, reading));
    case "or":
      // UCAN 1.0 lets an `or` of nothing hold.
      return (
        statement.of.length === 0 || statement.of.some((inner) => holds(inner, subject, reading))
      );
  }
}

type Parser = (operands: Json[], at: string) => Statement | string;

const OPERATORS: ReadonlyMap<string, Parser> = new Map<string, Parser>([
  ["==", comparison],
  ["and", connective("and")],
  ["or", connective("or")],
]);

function parseStatement(item: Json, at: string): Statement | string {
  if (!Array.isArray(item)) return `${at} is not a statement`;
  const [op, ...operands] = item;
  if (typeof op !== "string") return `${at}: a statement begins with an operator`;
  const parser = OPERATORS.get(op);
  if (parser !== undefined) return parser(operands, at);
  const known = [...OPERATORS.keys()].join(", ");
  return `${at}: the operator ${JSON.stringify(op.slice(0, 16))} is not supported (only ${known})`;
}

function comparison(operands: Json[], at: string): Statement | string {
  const [path, value] = operands;
  if (operands.length !== 2 || typeof path !== "string" || value === undefined) {
    return `${at} is not ["==", selector, value]`;
  }
  const selector = parseSelector(path);
  return typeof selector === "string" ? `${at}: ${selector}` : { op: "==", selector, value };
}

function connective(op: "and" | "or"): Parser {
  return (operands, at) => {
    const [list] = operands;
    if (operands.length !== 1 || !Array.isArray(list))
      return `${at} is not ["${op}", [statements]]`;
    const of = parsePolicy(list, `${at}[1]`);
    return typeof of === "string" ? of : { op, of };
  };
}
