import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";

import type { JsonObject } from "../src/token/canonical.ts";
import { EvaluationBudget } from "../src/verify/budget.ts";
import { bytesOf } from "../src/verify/bytes.ts";

describe("bytes", () => {
  test.each([
    [[], ""],
    [[0], "AA"],
    [[0, 1], "AAE"],
    [[0, 1, 2], "AAEC"],
  ])("%j are %j", (bytes, text) => {
    expect(bytesOf(bytes)).toEqual({ "/": { bytes: text } });
    expect(new EvaluationBudget().bytesIn({ "/": { bytes: text } })).toEqual(Buffer.from(bytes));
  });

  test.each<JsonObject>([
    { "/": { bytes: "AA" }, x: 1 },
    { "/": { bytes: "AA", x: 1 } },
    { "/": { bytes: "AA==" } },
    { "/": { x: "AA" } },
    { "/": 1 },
    { "/": null },
  ])("%j are none", (value) => {
    expect(new EvaluationBudget().bytesIn(value)).toBeUndefined();
  });
});
