/**
 * Requested statements that permit more than a statement of the chain.
 *
 * A chain carries the statements of all of its links, and all of them must hold, so no link widens
 * them. But a holder that requests more would get less than it requested, so the request is refused.
 * Only an example proves it: a value at one path that the request permits and the chain does not.
 * What no example proves is signed.
 */

import type { Json } from "../token/canonical.ts";
import { BudgetExceeded, EvaluationBudget } from "./budget.ts";
import { holds } from "./evaluate.ts";
import type { Policy, Statement } from "./pol.ts";

/** Steps of evaluation for one link; what is not found within them is not refused. */
const MAX_STEPS = 200_000;

/** Any text in the place of a star: none, one that few patterns name, and one with a query. */
const FILLERS = ["", "\u00a4", "\u00a4?\u00a4"];

/** A number beyond those that statements name. */
const FAR = 1e300;

/** Statements as parsed and as JSON. */
export interface Stated {
  readonly policy: Policy;
  readonly pol: readonly Json[];
}

export interface Excess {
  /** The requested statements about the path. */
  readonly requested: Json[];
  /** The statement of the chain that does not permit all of their values. */
  readonly held: Json[];
}

/** A statement that has a meaning by itself. */
interface Unit {
  readonly json: Json[];
  /** The only path that it is about, as text; undefined if there are several. */
  readonly path: string | undefined;
  /** The statement about the value at that path. */
  readonly about: Statement;
  /** Whether it holds where there is no value at that path. */
  readonly needless: boolean;
}

/** The first statement of `held` that the requested statements about its path exceed, if any. */
export function excess(requested: Stated, held: Stated): Excess | undefined {
  const budget = new EvaluationBudget(MAX_STEPS);
  try {
    const asked = units(requested, budget);
    for (const unit of units(held, budget)) {
      const same = asked.filter(({ path }) => path !== undefined && path === unit.path);
      if (exceeds(same, unit, budget))
        return { requested: same.map(({ json }) => json), held: unit.json };
    }
    return undefined;
  } catch (error) {
    if (error instanceof BudgetExceeded) return undefined;
    throw error;
  }
}

/** Statements that all hold without a value are no request for one, and are left alone. */
function exceeds(requested: readonly Unit[], held: Unit, budget: EvaluationBudget): boolean {
  if (requested.every(({ needless }) => needless)) return false;
  const all = requested.map(({ about }) => about);
  return examples(all).some(
    (value) =>
      all.every((about) => holds(about, value, budget)) && !holds(held.about, value, budget),
  );
}

/** Each statement, and each within an `and` that is about several paths. */
function units({ policy, pol }: Stated, budget: EvaluationBudget): Unit[] {
  return policy.flatMap((statement, index) => {
    const json = pol[index] as Json[];
    const path = pathOf(statement, budget);
    if (statement.op === "and" && path === undefined)
      return units({ policy: statement.of, pol: json[1] as Json[] }, budget);
    const about = atRoot(statement);
    return [{ json, path, about, needless: isOptional(statement) && holds(about, null, budget) }];
  });
}

/** A path with `[]` is several: what it selects is no value of the call. */
function pathOf(statement: Statement, budget: EvaluationBudget): string | undefined {
  budget.charge(1);
  switch (statement.op) {
    case "and":
    case "or": {
      const [first, ...more] = statement.of.map((inner) => pathOf(inner, budget));
      return more.every((path) => path === first) ? first : undefined;
    }
    case "not":
      return pathOf(statement.of, budget);
    case "all":
    case "any":
      return undefined;
    default:
      return statement.selector.some(({ kind }) => kind === "each")
        ? undefined
        : JSON.stringify(statement.selector.map((segment) => ({ ...segment, optional: false })));
  }
}

function isOptional(statement: Statement): boolean {
  if ("selector" in statement) return statement.selector.some(({ optional }) => optional);
  return statement.op === "not" ? isOptional(statement.of) : statement.of.some(isOptional);
}

function atRoot(statement: Statement): Statement {
  if ("selector" in statement) return { ...statement, selector: [] };
  return statement.op === "not"
    ? { op: "not", of: atRoot(statement.of) }
    : { op: statement.op, of: statement.of.map(atRoot) };
}

/** Values that the statements may permit: those that they name, and at the limits of the others. */
function examples(policy: Policy): Json[] {
  const named = policy.flatMap(comparisons);
  const numbers = named
    .flatMap((statement) => (isOrder(statement) ? [statement.value] : []))
    .sort((a, b) => a - b);
  return [...named.flatMap(valuesOf), ...numbers, ...numbers.flatMap(between), ...beyond(numbers)];
}

/** The comparisons that hold where a statement does, or may. */
function comparisons(statement: Statement): Statement[] {
  if (statement.op === "not") return [];
  return "selector" in statement ? [statement] : statement.of.flatMap(comparisons);
}

function valuesOf(statement: Statement): Json[] {
  if (statement.op === "==") return [statement.value];
  return statement.op === "like" ? FILLERS.map((filler) => statement.pattern.join(filler)) : [];
}

function isOrder(statement: Statement): statement is Extract<Statement, { value: number }> {
  return ["<", "<=", ">", ">="].includes(statement.op);
}

function between(low: number, index: number, all: readonly number[]): number[] {
  const high = all[index + 1];
  return high === undefined ? [] : [(low + high) / 2];
}

function beyond(numbers: readonly number[]): number[] {
  const [low, high] = [numbers[0], numbers.at(-1)];
  return low === undefined || high === undefined ? [] : [-FAR, low - 1, high + 1, FAR];
}
