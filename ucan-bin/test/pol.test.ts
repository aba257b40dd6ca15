import { describe, expect, test } from "vitest";

import type { Json } from "../src/token/canonical.ts";
import {
  commandsLeft,
  firstFalse,
  isVacuous,
  parsePolicy,
  type Policy,
} from "../src/verify/pol.ts";
import { Reading } from "../src/verify/selector.ts";

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

describe("the commands that plain statements leave", () => {
  const is = (cmd: Json, selector = ".cmd"): Json => ["==", selector, cmd];
  test.each<[string[] | undefined, Json[]]>([
    [undefined, []],
    [["/a"], [is("/a")]],
    [["/a"], [is("/a", '.["cmd"]')]],
    [["/a", "/b"], [["or", [is("/a"), is("/b")]]]],
    [
      ["/b"],
      [
        ["or", [is("/a"), is("/b")]],
        ["or", [is("/b"), is("/c")]],
      ],
    ],
    [["/b"], [["and", [["or", [is("/a"), is("/b")]], is("/b")]]]],
    [[], [is("/a"), is("/b")]],
    [[], [is(null)]],
    [["/a"], [is(1, ".args.n"), is("/a")]],
    [undefined, [is("/a", ".cmd.x")]],
    [undefined, [is("/a", ".")]],
    [undefined, [["or", [is("/a"), is(1, ".args.n")]]]],
    [undefined, [["or", [is("/a"), ["and", [is("/b")]]]]]],
    [undefined, [["or", []]]],
    [undefined, [["and", []]]],
  ])("%j: %j", (commands, pol) => {
    const left = commandsLeft(parsed(pol));
    expect(left && [...left]).toEqual(commands);
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

test("a long argument is walked once, however many statements index it", () => {
  const statements = 450;
  const body = "\u{1f600}".repeat(16 * 1024 - 1) + "x";
  const policy = parsed(
    Array.from({ length: statements }, () => [
      "or",
      [
        ["==", ".args.body?[-1]?", null],
        ["==", ".args.body[-1]", "x"],
      ],
    ]),
  );
  const subject = { args: { body } };
  const reading = new Reading();
  expect(firstFalse(policy, subject, reading)).toBe(-1);
  const segments = statements * 2 * 3;
  expect(reading.steps).toBe(segments + 16 * 1024);
  expect(firstFalse(policy, subject, reading)).toBe(-1);
  expect(reading.steps).toBe(2 * segments + 16 * 1024);
});

test("a large argument is listed once, however many statements compare it", () => {
  const statements = 450;
  const large = Object.fromEntries(Array.from({ length: 4096 }, (_, index) => [`m${index}`, 1]));
  const policy = parsed([
    ["or", Array.from({ length: statements }, () => ["==", ".args", { large: { m: 1 } }])],
  ]);
  const reading = new Reading();
  expect(firstFalse(policy, { args: { large } }, reading)).toBe(0);
  // One segment and two members for each statement; `args` and what is in it, once.
  expect(reading.steps).toBe(statements * 3 + 1 + 4096);
});
