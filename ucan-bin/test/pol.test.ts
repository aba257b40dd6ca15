import { describe, expect, test } from "vitest";

import type { Json } from "../src/token/canonical.ts";
import { firstFalse, isVacuous, parsePolicy, type Policy } from "../src/verify/pol.ts";

function parsed(pol: Json[]): Policy {
  const policy = parsePolicy(pol);
  if (typeof policy === "string") throw new Error(policy);
  return policy;
}

const SUBJECT: Json = { cmd: "/a", args: { n: 1, list: [1, { a: null }] } };

describe("every statement must hold", () => {
  test.each<[number, Json[]]>([
    [-1, []],
    [-1, [["==", ".cmd", "/a"]]],
    [-1, [["==", ".args.n", 1.0]]],
    [-1, [["==", ".args.list", [1, { a: null }]]]],
    [-1, [["==", ".args.list[1].a", null]]],
    [-1, [["==", ".args.none?", null]]],
    [-1, [["and", []]]],
    [-1, [["or", []]]],
    [
      -1,
      [
        [
          "or",
          [
            ["==", ".cmd", "/b"],
            ["==", ".cmd", "/a"],
          ],
        ],
      ],
    ],
    [0, [["==", ".cmd", "/b"]]],
    [0, [["==", ".args.none", null]]],
    [0, [["==", ".args.n", "1"]]],
    [0, [["or", [["==", ".cmd", "/b"]]]]],
    [
      1,
      [
        ["==", ".cmd", "/a"],
        [
          "and",
          [
            ["==", ".cmd", "/a"],
            ["==", ".args.n", 2],
          ],
        ],
      ],
    ],
  ])("%i: %j", (index, pol) => {
    expect(firstFalse(parsed(pol), SUBJECT)).toBe(index);
  });
});

describe("a statement that is not understood refuses the policy, saying where", () => {
  test.each<[Json, string]>([
    ["x", "pol[0] is not a statement"],
    [["like", ".a", "*"], 'pol[0]: the operator "like" is not supported (only ==, and, or)'],
    [["a".repeat(99)], `pol[0]: the operator "${"a".repeat(16)}" is not supported`],
    [[], "pol[0]: a statement begins with an operator"],
    [[["=="], ".a", 1], "pol[0]: a statement begins with an operator"],
    [["==", ".a"], 'pol[0] is not ["==", selector, value]'],
    [["==", ".a", 1, 2], 'pol[0] is not ["==", selector, value]'],
    [["==", 1, 1], 'pol[0] is not ["==", selector, value]'],
    [["==", "a", 1], "pol[0]: a selector starts with a dot"],
    [["and", {}], 'pol[0] is not ["and", [statements]]'],
    [["or", [], []], 'pol[0] is not ["or", [statements]]'],
    [
      [
        "or",
        [
          ["==", ".", 1],
          ["and", [["!=", ".a", 1]]],
        ],
      ],
      'pol[0][1][1][1][0]: the operator "!="',
    ],
  ])("%j", (statement, why) => {
    expect(parsePolicy([statement])).toContain(why);
  });
});

test("an `or` of nothing is vacuous wherever it stands", () => {
  expect(isVacuous(parsed([["or", []]]))).toBe(true);
  expect(
    isVacuous(
      parsed([
        ["==", ".a", 1],
        ["and", [["or", [["or", []]]]]],
      ]),
    ),
  ).toBe(true);
  expect(
    isVacuous(
      parsed([
        ["and", []],
        ["or", [["==", ".a", []]]],
      ]),
    ),
  ).toBe(false);
});
