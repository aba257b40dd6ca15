import { describe, expect, test } from "vitest";

import type { Json, JsonObject } from "../src/token/canonical.ts";
import { BudgetExceeded, EvaluationBudget } from "../src/verify/budget.ts";
import { failedStatement } from "../src/verify/evaluate.ts";
import { parsePolicy } from "../src/verify/pol.ts";

function holds(statement: Json, args: JsonObject): boolean {
  const policy = parsePolicy([statement]);
  if (typeof policy === "string") throw new Error(policy);
  return failedStatement(policy, { args }, new EvaluationBudget()) === undefined;
}

describe("a budget", () => {
  test("ends beyond its limit, and not at it", () => {
    const reading = new EvaluationBudget(5);
    reading.charge(5);
    expect(() => reading.charge(1)).toThrow(BudgetExceeded);
  });

  test.each<[Json, Json, boolean]>([
    [[], [], true],
    [[1, 2], [1, 2], true],
    [[1], [1, 2], false],
    [[1, 2], [1], false],
    [[1, 2], [1, 3], false],
    [[1, 2], [3, 2], false],
    [[], {}, false],
    [{}, [], false],
    [[], "", false],
    [{}, {}, true],
    [{ a: 1, b: 2 }, { b: 2, a: 1 }, true],
    [{ a: 1, b: 2 }, { a: 1, b: 3 }, false],
    [{ a: 1, b: 2 }, { a: 3, b: 2 }, false],
    [{ a: 1 }, { a: 1, b: 2 }, false],
    [{ a: 1, b: 2 }, { a: 1 }, false],
    [{ a: 1 }, { b: 1 }, false],
    [{ toString: 1 }, { valueOf: 1 }, false],
    [{ a: 1 }, 1, false],
    [1, { a: 1 }, false],
    [{}, null, false],
    [null, {}, false],
  ])("%j and %j are the same: %j", (a, b, same) => {
    expect(new EvaluationBudget().same(a, b)).toBe(same);
    expect(holds(["==", ".args.a", b], { a })).toBe(same);
    expect(holds(["!=", ".args.a", b], { a })).toBe(!same);
  });

  test("does not take a member that is missing for one that is undefined", () => {
    const odd = { a: undefined } as unknown as JsonObject;
    expect(new EvaluationBudget().same(odd, { b: 1 })).toBe(false);
  });
});
