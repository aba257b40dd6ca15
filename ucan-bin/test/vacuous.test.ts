import { describe, expect, test } from "vitest";

import type { Json } from "../src/token/canonical.ts";
import { parsePolicy, type Policy } from "../src/verify/pol.ts";
import { checkVacuous, vacuous } from "../src/verify/vacuous.ts";

function parsed(pol: Json[]): Policy {
  const policy = parsePolicy(pol);
  if (typeof policy === "string") throw new Error(policy);
  return policy;
}

function found(pol: Json[]): string | undefined {
  return vacuous(parsed(pol));
}

const THERE: Json = ["!=", ".args.a?", null];
const IS: Json = ["==", ".", 1];

describe("what may hold over nothing, and where", () => {
  test.each<[string, Json[]]>([
    ["pol[0]: an empty `or`", [["or", []]]],
    ["pol[1][1][0][1][0]: an empty `or`", [THERE, ["and", [["or", [["or", []]]]]]]],
    ["pol[0]: a `!=`", [["!=", ".args.a", 1]]],
    ["pol[0]: a `!=`", [["!=", ".args.a.b?", 1]]],
    ["pol[0]: a `!=`", [["!=", ".other", 1]]],
    ["pol[0]: a `!=`", [["!=", ".resource.path", 1]]],
    ["pol[0]: a `!=`", [["!=", ".args.a", 1], THERE, ["not", ["==", ".args.a", 2]]].slice(0, 1)],
    ["pol[1]: a `!=`", [["==", ".args.a?", null], ["!=", ".args.a", 1]]],
    ["pol[1]: a `!=`", [["or", [THERE]], ["!=", ".args.a", 1]]],
    ["pol[1]: a `!=`", [["not", ["==", ".args.a?", null]], ["!=", ".args.a", 1]]],
    ["pol[1]: a `!=`", [["!=", ".args.a?", 1], ["!=", ".args.a", 2]]],
    ["pol[1]: a `!=`", [THERE, ["!=", ".args.a.b", 2]]],
    ["pol[0]: a `!=`", [["!=", ".args.a?[]?.b?", null]]],
    ["pol[0]: a `!=`", [["!=", ".args.a?[]?.b?", null], ["!=", ".args.a[].b", ["x"]]]],
    ["pol[1]: a `!=`", [["==", ".args.a[].b?", [null]], ["!=", ".args.a[].b", ["x"]]]],
    ["pol[1]: a `!=`", [["==", ".args.a[].b?", [1]], ["!=", ".args.a[].b?", ["x"]]]],
    ["pol[0]: a `not`", [["not", ["==", ".args.a", 1]]]],
    ["pol[0]: a `not`", [["not", ["and", [["==", ".cmd", 1], ["like", ".args.a", "*"]]]]]],
    ["pol[0]: a `not`", [["not", ["not", ["==", ".args.a", 1]]]]],
    ["pol[0]: a `not`", [["not", ["or", [["<", ".args.a", 1]]]]]],
    ["pol[0]: a `not`", [["not", ["all", ".args.a", IS]]]],
    ["pol[0]: a `not`", [["not", ["all", ".args", ["==", ".x", 1]]]]],
    ["pol[0][1]: an empty `or`", [["not", ["or", []]]]],
    ["pol[0]: an `any`", [["any", ".args.a", IS]]],
    ["pol[1]: an `any`", [["!=", ".args.a?", []], ["any", ".args.a", IS]]],
    ["pol[1]: an `any`", [["!=", ".args.a?", {}], ["any", ".args.a", IS]]],
    ["pol[0]: a `!=`", [["!=", ".args.a", []], ["!=", ".args.a", {}]]],
    ["pol[2]: an `any`", [["!=", ".args.a", []], ["!=", ".args.b", {}], ["any", ".args.a", IS]].map(
      (statement, index) => (index < 2 ? ["==", ".cmd", index] : statement),
    )],
    ["pol[0][2]: a `!=`", [["all", ".args.a", ["!=", ".x", 1]]]],
    ["pol[0][2]: a `!=`", [["all", ".args.a", ["!=", ".cmd", 1]]]],
  ])("%s: %j", (where, pol) => {
    expect(found(pol)).toContain(where);
  });
});

describe("what may not", () => {
  test.each<{ pol: Json[] }>(
    [
      [],
      [["and", []]],
      [["all", ".args.a", IS]],
      [["or", [IS]]],
      [["==", ".args.a", 1]],
      [["!=", ".", 1]],
      [["!=", ".cmd", "/a"]],
      [["!=", ".args", {}]],
      [["!=", ".args.a?", 1]],
      [["!=", ".args.a?.b?", 1]],
      [THERE, ["!=", ".args.a", 1]],
      [["!=", ".args.a", []], ["!=", ".args.a", {}], ["any", ".args.a", IS]],
      [["!=", ".args.a.b.c", null], ["!=", ".args.a.b.c?", null], ["!=", ".args.a.b?", null], THERE],
      [["!=", ".args.a", 1], ["==", ".args.a", 2]],
      [["like", ".args.a.b", "*"], ["!=", ".args.a", 1], ["not", ["==", '.args["a"]["b"]', "x"]]],
      [["and", [["<", ".args.a", 9]]], ["or", [["!=", ".args.a", 1], ["not", IS]]]],
      [["all", ".args.a", ["and", [[">", ".n", 0], ["!=", ".n", 3]]]]],
      [["==", ".args.a[]", [1]], ["!=", ".args.a[]", [2]]],
      [["==", ".args.a[].b?", [1]], ["!=", ".args.a", 1]],
      [["==", ".args.a[1:]", [1]], ["!=", ".args.a[1:]", [2]]],
      [["==", ".args.a[:1]", [1]], ["!=", ".args.a[0:1]", [2]]],
      [["==", ".args.a[0]", [1]], ["!=", ".args.a[0]", [2]]],
      [["!=", ".args.a?", []], ["!=", ".args.a?", {}], ["any", ".args.a", IS]],
      [["!=", ".args", {}], ["!=", ".args", []], ["any", ".args", IS]],
    ].map((pol) => ({ pol: pol as Json[] })),
  )("$pol", ({ pol }) => {
    expect(found(pol)).toBeUndefined();
  });
});

describe("the whole message about what may hold over nothing", () => {
  const OR = "an empty `or` holds for every call";
  const ANY =
    'an `any` holds for an empty collection; put ["!=", path, []] and ["!=", path, {}] before it';
  const NOT = (op: string): string =>
    `a \`${op}\` holds where its path is missing; put ["!=", "<path>?", null] before it`;
  const FILLED: Json[] = [
    ["!=", ".args.a?", null],
    ["!=", ".args.a", []],
    ["!=", ".args.a", {}],
  ];

  test.each<[string, Json[]]>([
    [`pol[0]: ${OR}`, [["or", []]]],
    [`pol[0]: ${ANY}`, [["any", ".args.a", ["==", ".", 1]]]],
    [`pol[0]: ${NOT("!=")}`, [["!=", ".args.a", 1]]],
    [`pol[0]: ${NOT("!=")}`, [["!=", ".args.a", null]]],
    [`pol[0]: ${NOT("!=")}`, [["!=", ".args.a.b", null]]],
    [`pol[0]: ${NOT("not")}`, [["not", ["==", ".args.a", 1]]]],
    [`pol[0]: ${NOT("not")}`, [["not", ["any", ".args", ["==", ".x", 1]]]]],
    [`pol[0]: ${NOT("not")}`, [["not", ["all", ".args", ["==", ".x", 1]]]]],
    [`pol[3][2]: ${NOT("!=")}`, [...FILLED, ["any", ".args.a", ["!=", ".x", 1]]]],
    [`pol[1]: ${NOT("!=")}`, [["==", ".args.a[0]", 1], ["!=", ".args.a[1]", 2]]],
    [`pol[1]: ${NOT("!=")}`, [["==", ".args.a[0:1]", 1], ["!=", ".args.a[0:2]", 2]]],
    [`pol[1]: ${NOT("!=")}`, [["==", ".args.a[0:2]", 1], ["!=", ".args.a[1:2]", 2]]],
    [`pol[1]: ${NOT("!=")}`, [["==", ".args.a[0:]", 1], ["!=", ".args.a[0]", 2]]],
    [`pol[1]: ${NOT("!=")}`, [["==", ".args.a", 1], ["!=", ".args.a[]", 2]]],
  ])("%s: %j", (found, pol) => {
    expect(vacuous(parsed(pol))).toBe(found);
    expect(checkVacuous(parsed(pol), true)).toBeUndefined();
    expect(checkVacuous(parsed(pol), false)).toMatchObject({
      code: "vacuous_policy",
      message: found,
    });
  });

  test.each<{ pol: Json[] }>(
    [
      [["!=", ".resource", 1]],
      [["==", ".args.a?", 1], ["!=", ".args.a", 2]],
      [["not", ["all", ".args", ["==", ".", 1]]]],
      [...FILLED, ["any", ".args.a", ["==", ".x", 1]]],
    ].map((pol) => ({ pol: pol as Json[] })),
  )("not $pol", ({ pol }) => {
    expect(vacuous(parsed(pol))).toBeUndefined();
  });
});
