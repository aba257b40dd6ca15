/**
 * Evaluation of policies for a call: the first statement that does not hold.
 *
 * A statement whose selector does not resolve does not hold (UCAN delegation, "Validation"). `!=`
 * is the negation of `==`, and the negation of a statement that does not hold holds. An empty `or`
 * holds, and so does an `any` over an empty list. Statements that permit too much for this reason
 * are found by `vacuous.ts` before signing.
 */

import { shown, type Json } from "../token/canonical.ts";
import { matches } from "./like.ts";
import type { Order, Policy, Statement } from "./pol.ts";
import type { EvaluationBudget } from "./budget.ts";
import { select, type Segment, type Selector } from "./selector.ts";

/** A statement that does not hold: its place in the policy, and the value at its path. */
export interface FailedStatement {
  readonly index: number;
  /** Such as `pol[1][1][0]`: the second statement is an `and`, and this is its first. */
  readonly field: string;
  readonly found: string | undefined;
}

/**
 * The first statement that does not hold for `subject`, if any. Policies that are evaluated for
 * the same subject share one `budget`, so that it is read only once.
 *
 * @throws BudgetExceeded beyond the budget.
 */
export function failedStatement(
  policy: Policy,
  subject: Json,
  budget: EvaluationBudget,
): FailedStatement | undefined {
  const index = policy.findIndex((statement) => !holds(statement, subject, budget));
  const statement = policy[index];
  return statement && { index, ...failingPart(statement, `pol[${index}]`, subject, budget) };
}

/**
 * Descend into an `and` that does not hold, to its first statement that does not; but not into one
 * that is about a single path, because its parts have one meaning together.
 */
function failingPart(
  statement: Statement,
  field: string,
  subject: Json,
  budget: EvaluationBudget,
): Omit<FailedStatement, "index"> {
  const path = pathOf(statement, budget);
  if (statement.op === "and" && path === undefined) {
    for (const [index, inner] of statement.of.entries()) {
      if (!holds(inner, subject, budget))
        return failingPart(inner, `${field}[1][${index}]`, subject, budget);
    }
  }
  const selected = path && select(path, subject, budget);
  return { field, found: selected === undefined ? undefined : shown(selected) };
}

/** The only path that a whole statement is about, without optional segments. */
function pathOf(statement: Statement, budget: EvaluationBudget): Selector | undefined {
  budget.charge(1);
  if ("selector" in statement) return statement.selector;
  const [first, ...more] = statement.op === "not" ? [statement.of] : statement.of;
  const path = first && pathOf(first, budget)?.map(bare);
  const text = JSON.stringify(path);
  const same = more.every(
    (inner) => JSON.stringify(pathOf(inner, budget)?.map(bare)) === text,
  );
  return same ? path : undefined;
}

function bare(segment: Segment): Segment {
  return { ...segment, optional: false };
}

/** @throws BudgetExceeded beyond the budget. */
export function holds(statement: Statement, subject: Json, budget: EvaluationBudget): boolean {
  budget.charge(1);
  switch (statement.op) {
    case "and":
      return statement.of.every((inner) => holds(inner, subject, budget));
    case "or":
      return (
        statement.of.length === 0 || statement.of.some((inner) => holds(inner, subject, budget))
      );
    case "not":
      return !holds(statement.of, subject, budget);
  }
  const selected = select(statement.selector, subject, budget);
  switch (statement.op) {
    case "==":
      // A path that does not resolve is undefined, which equals no value.
      return budget.same(selected, statement.value);
    case "!=":
      return !budget.same(selected, statement.value);
    case "like":
      return typeof selected === "string" && matches(statement.pattern, selected, budget);
    case "all":
    case "any":
      return quantified(statement.op, statement.of, budget.elementsOf(selected), budget);
    default:
      return typeof selected === "number" && COMPARE[statement.op](selected, statement.value);
  }
}

const COMPARE: Readonly<Record<Order, (a: number, b: number) => boolean>> = {
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};

function quantified(
  op: "all" | "any",
  inner: Statement,
  elements: readonly Json[] | undefined,
  budget: EvaluationBudget,
): boolean {
  if (elements === undefined) return false;
  budget.charge(elements.length);
  if (op === "all") return elements.every((element) => holds(inner, element, budget));
  return elements.length === 0 || elements.some((element) => holds(inner, element, budget));
}
