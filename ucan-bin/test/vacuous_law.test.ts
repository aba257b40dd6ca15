/** What is signed without being asked for never holds over nothing, tried on many small calls. */

import { expect, test } from "vitest";

import type { Json } from "../src/token/canonical.ts";
import { failedStatement } from "../src/verify/evaluate.ts";
import { parsePolicy, type Policy, type Statement } from "../src/verify/pol.ts";
import { EvaluationBudget } from "../src/verify/budget.ts";
import { select } from "../src/verify/selector.ts";
import { vacuous } from "../src/verify/vacuous.ts";

/** A small linear congruential generator: the cases are the same each time. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const random = generator(7);

function one<T>(items: readonly T[]): T {
  return items[random(items.length)] as T;
}

const PATHS = [".cmd", ".args.a", ".args.a?", ".args.a.b", ".args.a?.b?", ".args.a[0]", ".args.a[]", ".args.a[].b?"];
const VALUES: Json[] = [null, 1, [], {}, "x", [1], { b: 1 }, [null]];
const ABSENT = Symbol("absent");

function statement(depth: number): Json {
  const inner = (): Json => statement(depth - 1);
  const path = one(PATHS);
  switch (random(depth > 0 ? 9 : 4)) {
    case 0:
      return ["==", path, one(VALUES)];
    case 1:
    case 2:
      return ["!=", path, one(VALUES)];
    case 3:
      return ["like", path, "*"];
    case 4:
      return ["and", [inner(), inner()]];
    case 5:
      return ["or", [inner(), inner()]];
    case 6:
      return ["not", inner()];
    case 7:
      return ["any", path, ["==", ".", one(VALUES)]];
    default:
      return ["all", path, ["!=", one([".b", ".b?", "."]), one(VALUES)]];
  }
}

function subject(): Json {
  const a = one<Json | typeof ABSENT>([ABSENT, ...VALUES]);
  return { cmd: "/a", resource: {}, args: a === ABSENT ? {} : { a } };
}

/** The statements that hold because all do: those of the policy, and within its `and`s. */
function* together(policy: Policy): Generator<Statement> {
  for (const each of policy) {
    if (each.op === "and") yield* together(each.of);
    else yield each;
  }
}

function isAboutNothing(each: Statement, call: Json): boolean {
  switch (each.op) {
    case "!=":
      return select(each.selector, call, new EvaluationBudget()) === undefined;
    case "not":
      return isAboutNothing({ ...each.of, op: "!=" } as Statement, call);
    case "any":
      return new EvaluationBudget().elementsOf(select(each.selector, call, new EvaluationBudget()))?.length === 0;
    default:
      return false;
  }
}

test("a policy that holds is about something in the call", { timeout: 60_000 }, () => {
  let tried = 0;
  let refused = 0;
  while (tried < 4000) {
    const pol = [statement(1), statement(2), statement(1)];
    const policy = parsePolicy(pol);
    if (typeof policy === "string") throw new Error(policy);
    if (vacuous(policy) !== undefined) {
      refused++;
      continue;
    }
    for (let calls = 0; calls < 8; calls++) {
      const call = subject();
      if (failedStatement(policy, call, new EvaluationBudget()) !== undefined) continue;
      tried++;
      for (const each of together(policy)) {
        if (each.op === "not" && !("selector" in each.of)) continue;
        expect(isAboutNothing(each, call), `${JSON.stringify(pol)} ${JSON.stringify(call)}`).toBe(
          false,
        );
      }
    }
  }
  expect(refused).toBeGreaterThan(1000);
});
