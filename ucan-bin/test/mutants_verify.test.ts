/** Small differences in `src/verify` that no vector shows; each was found by changing the code. */

import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";

import { fork } from "../src/fork.ts";
import type { Json, JsonObject } from "../src/token/canonical.ts";
import { cidOf } from "../src/token/jwt.ts";
import { bytesOf } from "../src/verify/bytes.ts";
import { commandsLeft } from "../src/verify/commands.ts";
import { failedStatement } from "../src/verify/evaluate.ts";
import { matches, parsePattern } from "../src/verify/like.ts";
import { verify } from "../src/verify/verify.ts";
import { parsePolicy, type Policy } from "../src/verify/pol.ts";
import { EvaluationBudget, BudgetExceeded } from "../src/verify/budget.ts";
import { covers } from "../src/verify/resource.ts";
import { parseSelector, select } from "../src/verify/selector.ts";
import { checkVacuous, vacuous } from "../src/verify/vacuous.ts";
import {
  codeOf,
  delegation,
  forkRequest,
  invocation,
  ISSUER,
  link,
  PLANNER,
  RESEARCHER,
  sealed,
  SERVICE,
  verifyRequest,
} from "./forge.ts";

function parsed(pol: Json[]): Policy {
  const policy = parsePolicy(pol);
  if (typeof policy === "string") throw new Error(policy);
  return policy;
}

function holds(statement: Json, args: JsonObject): boolean {
  return failedStatement(parsed([statement]), { args }, new EvaluationBudget()) === undefined;
}

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

describe("patterns", () => {
  test("take the text's length, each piece's, and one for each piece", () => {
    const reading = new EvaluationBudget();
    expect(matches(parsePattern("ab*c"), "ab-c", reading)).toBe(true);
    expect(reading.steps).toBe(4 + 3 + 2);
  });

  test("whose pieces repeat themselves fit what their regular expressions do", () => {
    const pieces = Array.from({ length: 128 }, (_, bits) => spelled(bits + 128));
    const texts = Array.from({ length: 128 }, (_, index) => spelled((index * 2_654_435) % 2 ** 16));
    let fitting = 0;
    for (const piece of pieces) {
      const pattern = parsePattern(`*${piece}*`);
      const nearly = [4, 6].map((length) => `${piece.slice(0, length)}${piece}`);
      for (const text of [...texts, ...nearly]) {
        const fits = matches(pattern, text, new EvaluationBudget());
        expect(fits, `${piece} in ${text}`).toBe(text.includes(piece));
        fitting += Number(fits);
      }
    }
    expect(fitting).toBeGreaterThan(256);
  });

  /** The bits below the highest, as letters. */
  function spelled(bits: number): string {
    return bits.toString(2).slice(1).replaceAll("0", "a").replaceAll("1", "b");
  }
});

describe("a reading", () => {
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

test("a path that is not normalised covers nothing", () => {
  expect(covers({ path: "a//b" }, { path: "a//b" })).toBe(false);
  expect(covers({ path: "a//b" }, { path: "a" })).toBe(false);
  expect(covers({ path: "a" }, { path: "a/../b" })).toBe(false);
});

describe("selectors", () => {
  test.each<[string, object]>([
    [".[12]", { kind: "element", index: 12 }],
    [".[-12]", { kind: "element", index: -12 }],
    [".[10:12]", { kind: "slice", start: 10, end: 12 }],
    [".[:-12]", { kind: "slice", start: 0, end: -12 }],
    [".[-12:]", { kind: "slice", start: -12, end: undefined }],
  ])("%s", (text, segment) => {
    expect(parseSelector(text)).toEqual([{ ...segment, optional: false }]);
  });

  test("have 64 segments and not one more", () => {
    expect(parseSelector(".a".repeat(64))).toHaveLength(64);
    expect(parseSelector(".a".repeat(65))).toBe("a selector has at most 64 segments");
  });

  test("putting the members of a map in order is paid for", () => {
    const selector = parseSelector(".[]");
    if (typeof selector === "string") throw new Error(selector);
    const reading = new EvaluationBudget();
    const map = Object.fromEntries([..."hgfedcba"].map((name, index) => [name, index]));
    expect(select(selector, map, reading)).toEqual([7, 6, 5, 4, 3, 2, 1, 0]);
    expect(reading.steps).toBe(1 + 8 + 8 * 4 + 8); // the segment, names, their order, values
  });

  test("walk bytes once for each time they are named", () => {
    const selector = parseSelector(".b[0]");
    if (typeof selector === "string") throw new Error(selector);
    const reading = new EvaluationBudget();
    expect(select(selector, { b: { "/": { bytes: "AAEC" } } }, reading)).toBe(0);
    const first = 2 + 1 + 4 + 3; // segments, the one member's name, base64, bytes
    expect(reading.steps).toBe(first);
    expect(select(selector, { b: { "/": { bytes: "AAEC" } } }, reading)).toBe(0);
    expect(reading.steps).toBe(2 * first);
  });

  test("the same bytes are decoded once", () => {
    const selector = parseSelector(".b[0]");
    if (typeof selector === "string") throw new Error(selector);
    const reading = new EvaluationBudget();
    const value = { b: { "/": { bytes: "AAEC" } } };
    select(selector, value, reading);
    select(selector, value, reading);
    expect(reading.steps).toBe(2 + 1 + 4 + 3 + 2 + 3);
  });

  test("messages name what the operand should be", () => {
    expect(parsePolicy([["any", ".args"]])).toBe(
      "pol[0] is not [operator, selector, statement]",
    );
  });
});

describe("what may hold over nothing", () => {
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

const ROOT = sealed("delegation", delegation());

function childOf(meta: JsonObject): string {
  const claims = { iss: PLANNER.did, aud: RESEARCHER.did, prf: [cidOf(ROOT)], meta };
  return sealed("delegation", delegation(claims), PLANNER);
}

test("a chain whose last link came from an approval is not handed on", () => {
  const chain = [ROOT, childOf({ approval: {} })];
  expect(verify(verifyRequest({ chain }))).toMatchObject({ depth: 2 });
  const request = forkRequest({
    key: RESEARCHER.did,
    chains: [chain],
    children: [{ aud: PLANNER.did, links: [link()] }],
  });
  const answer = fork(request, RESEARCHER.secret, (bytes) => Buffer.alloc(bytes, 7));
  expect(codeOf(answer)).toBe("chain_invalid");
});

test("the form of every signature comes before the arithmetic of any", () => {
  const forged = `${ROOT.slice(0, ROOT.lastIndexOf("."))}.${Buffer.concat([
    Buffer.from(ROOT.slice(ROOT.lastIndexOf(".") + 1), "base64url").subarray(0, 63),
    Buffer.from([0]),
  ]).toString("base64url")}`;
  const high = Buffer.alloc(64, 0xff).toString("base64url");
  const child = childOf({ x: "form" });
  const formless = `${child.slice(0, child.lastIndexOf("."))}.${high}`;
  expect(verify(verifyRequest({ chain: [forged, child] }))).toMatchObject({ hop: 0 });
  expect(verify(verifyRequest({ chain: [forged, formless] }))).toMatchObject({
    code: "bad_signature",
    hop: 1,
  });
});

test("the issuer of an inner link is compared with the link before, not with the root", () => {
  const child = sealed("delegation", delegation({ iss: ISSUER.did, prf: [cidOf(ROOT)] }));
  expect(codeOf(verify(verifyRequest({ chain: [ROOT, child] })))).toBe("chain_invalid");
});

test("the links a root says were before it count towards the depth", () => {
  const rootAt = (depth: number): string =>
    sealed("delegation", delegation({ meta: { lineage: { depth } } }));
  expect(verify(verifyRequest({ chain: [rootAt(7)] }))).toMatchObject({ depth: 8 });
  expect(verify(verifyRequest({ chain: [rootAt(8)] }))).toMatchObject({
    code: "chain_too_deep",
    hop: 0,
  });
});

test("an invocation may last as long as its chain, and no second longer", () => {
  const verifiedUntil = (exp: number): unknown => {
    const token = sealed("invocation", invocation({ prf: [ROOT], exp }), PLANNER);
    const request = { invocation: token, trusted_issuers: [ISSUER.did], audience: SERVICE.did };
    return verify(verifyRequest(request));
  };
  const { exp } = delegation();
  expect(verifiedUntil(exp)).toMatchObject({ expires_at: exp });
  expect(codeOf(verifiedUntil(exp + 1))).toBe("chain_attenuation_violation");
});
