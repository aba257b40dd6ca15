import { describe, expect, test } from "vitest";

import type { Json, JsonObject } from "../src/token/canonical.ts";
import { commandsLeft } from "../src/verify/commands.ts";
import { failedStatement } from "../src/verify/evaluate.ts";
import { parsePolicy, type Policy } from "../src/verify/pol.ts";
import { MAX_STEPS, EvaluationBudget, BudgetExceeded } from "../src/verify/budget.ts";

function parsed(pol: Json[]): Policy {
  const policy = parsePolicy(pol);
  if (typeof policy === "string") throw new Error(policy);
  return policy;
}

const SUBJECT: Json = JSON.parse(
  '{"cmd":"/a","args":{"n":1,"x":0.5,"text":"Alice*, Bob","list":[1,{"a":null}],' +
    '"to":["a@x.org","b@x.org"],"none":[],"nothing":{},"map":{"p":3,"q":4}}}',
);

function first(pol: Json[], reading = new EvaluationBudget()): number {
  return failedStatement(parsed(pol), SUBJECT, reading)?.index ?? -1;
}

const NEVER: Json = ["<", ".args.n", 0];
const ALWAYS: Json = [">", ".args.n", 0];

describe("statements that hold", () => {
  test.each<{ statement: Json }>(
    [
      ["==", ".cmd", "/a"],
      ["==", ".args.n", 1.0],
      ["==", ".args.list", [1, { a: null }]],
      ["==", ".args.list[1].a", null],
      ["==", ".args.gone?", null],
      ["!=", ".args.n", 2],
      ["!=", ".args.n", "1"],
      ["!=", ".args.list", [1]],
      ["!=", ".args.gone", 1],
      ["<", ".args.x", 0.50001],
      ["<=", ".args.n", 1],
      [">", ".args.x", 0],
      [">=", ".args.n", 1],
      ["like", ".args.text", "Alice\\*, B*b"],
      ["like", ".args.to[-1]", "*@x.org"],
      ["and", []],
      ["and", [ALWAYS, ALWAYS]],
      ["or", []],
      ["or", [NEVER, ALWAYS]],
      ["not", NEVER],
      ["not", ["not", ALWAYS]],
      ["all", ".args.to", ["like", ".", "*@x.org"]],
      ["all", ".args.none", NEVER],
      ["all", ".args.map", [">", ".", 2]],
      ["any", ".args.to", ["==", ".", "b@x.org"]],
      ["any", ".args.none", NEVER],
      ["any", ".args.nothing", NEVER],
      ["any", ".args.map", ["==", ".", 4]],
      ["any", ".args.list", ["==", ".a", null]],
    ].map((statement) => ({ statement: statement as Json })),
  )("$statement", ({ statement }) => {
    expect(first([statement])).toBe(-1);
  });
});

describe("statements that do not hold", () => {
  test.each<{ statement: Json }>(
    [
      ["==", ".cmd", "/b"],
      ["==", ".args.gone", null],
      ["==", ".args.n", "1"],
      ["!=", ".args.n", 1],
      ["!=", ".args.list", [1, { a: null }]],
      ["<", ".args.n", 1],
      ["<=", ".args.n", 0.999],
      [">", ".args.n", 1],
      [">=", ".args.n", 1.001],
      [">=", ".args.gone", 0],
      ["<", ".args.text", 5],
      [">", ".args.list", 0],
      ["like", ".args.n", "*"],
      ["like", ".args.gone", "*"],
      ["like", ".args.gone?", "*"],
      ["like", ".args.text", "Alice*, Bob."],
      ["and", [ALWAYS, NEVER]],
      ["or", [NEVER]],
      ["not", ALWAYS],
      ["not", ["or", []]],
      ["all", ".args.to", ["==", ".", "b@x.org"]],
      ["all", ".args.list", ["==", ".a", null]],
      ["all", ".args.n", ALWAYS],
      ["all", ".args.gone", ["and", []]],
      ["any", ".args.to", ["==", ".", "c@x.org"]],
      ["any", ".args.text", ["and", []]],
      ["any", ".args.gone?", ["and", []]],
      ["any", ".", ["and", [NEVER]]],
    ].map((statement) => ({ statement: statement as Json })),
  )("$statement", ({ statement }) => {
    expect(first([ALWAYS, statement, NEVER])).toBe(1);
  });
});

describe("what is blamed", () => {
  test.each<[Json, object]>([
    [["==", ".args.n", 2], { field: "pol[0]", found: "1" }],
    [["==", ".args.gone", 2], { field: "pol[0]", found: undefined }],
    [
      ["and", [ALWAYS, ["and", [["like", ".args.text", "x*"]]]]],
      { field: "pol[0][1][1]", found: '"Alice*, Bob"' },
    ],
    [["and", [["and", [ALWAYS, ["==", ".args.n", 2]]], ALWAYS]], { field: "pol[0]", found: "1" }],
    [["and", [[">", ".args.n", 0], ["or", []], NEVER]], { field: "pol[0][1][2]", found: "1" }],
    [["not", ["or", [ALWAYS, NEVER]]], { field: "pol[0]", found: "1" }],
    [["not", ["and", []]], { field: "pol[0]", found: undefined }],
    [["or", [NEVER]], { field: "pol[0]", found: "1" }],
    [["or", [NEVER, ["==", ".args.gone", 1]]], { field: "pol[0]", found: undefined }],
    [["or", [["==", ".args.gone?", 1], ["==", ".args.gone", 2]]], { field: "pol[0]", found: undefined }],
    [["and", [["!=", ".args.n?", null], ["!=", ".args.n", 1]]], { field: "pol[0]", found: "1" }],
    [["==", ".args.gone?", 1], { field: "pol[0]", found: "null" }],
    [["all", ".args.to", NEVER], { field: "pol[0]", found: '["a@x.org","b@x.org"]' }],
  ])("%j", (statement, blame) => {
    expect(failedStatement(parsed([statement]), SUBJECT, new EvaluationBudget())).toEqual({ index: 0, ...blame });
  });
});

describe("a statement that is not understood refuses the policy, saying where", () => {
  test.each<[Json, string]>([
    ["x", "pol[0] is not a statement"],
    [["has", ".a"], 'pol[0]: the operator "has" is not one of ==, !=, <, <=, >, >=, like, and,'],
    [["a".repeat(99)], `pol[0]: the operator "${"a".repeat(16)}" is not one of`],
    [[], "pol[0]: a statement begins with an operator"],
    [[["=="], ".a", 1], "pol[0]: a statement begins with an operator"],
    [["==", ".a"], "pol[0] is not [operator, selector, value]"],
    [["!=", ".a"], "pol[0] is not [operator, selector, value]"],
    [["==", ".a", 1, 2], "pol[0] is not [operator, selector, value]"],
    [["==", 1, 1], "pol[0] is not [operator, selector, value]"],
    [["<", ".a", "1"], "pol[0] is not [operator, selector, number]"],
    [["<=", ".a"], "pol[0] is not [operator, selector, number]"],
    [[">", ".a", null], "pol[0] is not [operator, selector, number]"],
    [[">=", ".a", 1, 1], "pol[0] is not [operator, selector, number]"],
    [["like", ".a", 1], "pol[0] is not [operator, selector, pattern]"],
    [["not"], 'pol[0] is not ["not", statement]'],
    [["not", ["==", ".", 1], 1], 'pol[0] is not ["not", statement]'],
    [["not", []], "pol[0][1]: a statement begins with an operator"],
    [["not", [["==", ".", 1]]], "pol[0][1]: a statement begins with an operator"],
    [["all", ".a"], "pol[0] is not [operator, selector, statement]"],
    [["all", "a", ["==", ".", 1]], "pol[0]: a selector starts with a dot"],
    [["any", ".a", [["==", ".", 1]]], "pol[0][2]: a statement begins with an operator"],
    [["==", "a", 1], "pol[0]: a selector starts with a dot"],
    [["and", {}], 'pol[0] is not ["and", [statements]]'],
    [["or", [], []], 'pol[0] is not ["or", [statements]]'],
    [
      [
        "or",
        [
          ["==", ".", 1],
          ["and", [["=", ".a", 1]]],
        ],
      ],
      'pol[0][1][1][1][0]: the operator "="',
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

describe("the steps of an evaluation", () => {
  test("a long argument is walked once, however many statements index it", () => {
    const statements = 450;
    const body = "\u{1f600}".repeat(16 * 1024 - 1) + "x";
    const policy = parsed(
      Array.from({ length: statements }, () => ["==", ".args.body[-1]", "x"]),
    );
    const reading = new EvaluationBudget();
    expect(failedStatement(policy, { args: { body } }, reading)).toBeUndefined();
    const each = 1 + 3 + 1; // the statement, the segments, the comparison
    expect(reading.steps).toBe(statements * each + body.length);
    expect(failedStatement(policy, { args: { body } }, reading)).toBeUndefined();
    expect(reading.steps).toBe(2 * statements * each + body.length);
  });

  test("a large argument is listed once, however many statements compare it", () => {
    const statements = 450;
    const large = Object.fromEntries(Array.from({ length: 4096 }, (_, index) => [`m${index}`, 1]));
    const policy = parsed([
      ["or", Array.from({ length: statements }, () => ["==", ".args.large", { m: 1 }])],
    ]);
    const reading = new EvaluationBudget();
    expect(failedStatement(policy, { args: { large } }, reading)?.index).toBe(0);
    const found = 1 + statements + 2; // whose path it all is about, and what is there
    expect(reading.steps).toBe(1 + statements * (1 + 2 + 1 + 1) + 4096 + found);
  });

  test("a pattern of thirty stars takes the text's length and its own", () => {
    const glob = "a*".repeat(30) + "b";
    const policy = parsed([["like", ".args.text", glob]]);
    const reading = new EvaluationBudget();
    expect(failedStatement(policy, { args: { text: "a".repeat(60_000) } }, reading)?.index).toBe(0);
    expect(reading.steps).toBeLessThan(60_000 + 2 * glob.length);
  });

  test("a product of statements and elements ends with the budget", () => {
    const many = Array.from({ length: 3000 }, () => 1);
    const statement = ["and", Array.from({ length: 3000 }, () => ["==", ".", 1])];
    const reading = new EvaluationBudget();
    const policy = parsed([["all", ".args.many", statement]]);
    expect(() => failedStatement(policy, { args: { many } }, reading)).toThrow(BudgetExceeded);
    expect(reading.steps).toBeLessThan(MAX_STEPS + 3002);
  });

  const members = (count: number): Json =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`m${(n * 7919) % 50021}`, 1]));

  test("a large map is put in order once, however many statements go through it", () => {
    const policy = parsed(Array.from({ length: 70 }, () => ["!=", ".args.m[]", 1]));
    const reading = new EvaluationBudget();
    expect(failedStatement(policy, { args: { m: members(4096) } }, reading)).toBeUndefined();
    expect(reading.steps).toBeLessThan(4096 * (1 + 13 + 70) + 70 * 8);
  });

  test("a member of a large map costs a step, and does not list the others", () => {
    const policy = parsed(Array.from({ length: 500 }, () => ["!=", ".args.none", 1]));
    const reading = new EvaluationBudget();
    expect(failedStatement(policy, { args: members(4096) }, reading)).toBeUndefined();
    expect(reading.steps).toBe(500 * 4);
  });

  test("a map that only looks like bytes is listed once", () => {
    const map = { "/": { bytes: "AAEC" }, ...(members(4096) as JsonObject) };
    const policy = parsed(Array.from({ length: 500 }, () => ["!=", ".args.none", 1]));
    const reading = new EvaluationBudget();
    expect(failedStatement(policy, { args: map }, reading)).toBeUndefined();
    expect(reading.steps).toBe(500 * 4);
    const there = parsed(Array.from({ length: 500 }, () => ["==", ".args.m0", 1]));
    expect(failedStatement(there, { args: map }, reading)).toBeUndefined();
    expect(reading.steps).toBe(500 * 4 * 2 + 4097);
  });

  test("nested iterators count what they go through", () => {
    const policy = parsed([["!=", `.args.x${"[]".repeat(60)}`, 1]]);
    const reading = new EvaluationBudget();
    const x = Array.from({ length: 50_000 }, () => []);
    expect(() => failedStatement(policy, { args: { x } }, reading)).toThrow(BudgetExceeded);
  });
});

function holds(statement: Json, args: JsonObject): boolean {
  return failedStatement(parsed([statement]), { args }, new EvaluationBudget()) === undefined;
}

describe("the commands that policies leave", () => {
  test.each<Json>([".resource", ".args", ".cmd.x", ".cmd[0]"])("%s is no command", (path) => {
    expect(commandsLeft(parsed([["==", path, "/a"]]))).toBeUndefined();
  });
});

describe("what is no number is not compared with one", () => {
  const others: Json[] = ["5", "", null, true, false, [], [5], {}];
  test.each(["<", "<=", ">", ">="])("%s", (op) => {
    for (const a of others) {
      for (const bound of [-1, 0, 5, 10]) {
        expect(holds([op, ".args.a", bound], { a }), JSON.stringify(a)).toBe(false);
      }
    }
  });
});

test("messages name what the operand should be", () => {
  expect(parsePolicy([["any", ".args"]])).toBe("pol[0] is not [operator, selector, statement]");
});
