/** Which requested statements permit more than those of a chain, and which are left alone. */

import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";

import { fork } from "../src/fork.ts";
import { Refusal } from "../src/refusal.ts";
import type { Json } from "../src/token/canonical.ts";
import { readDelegation } from "../src/token/delegation.ts";
import { cidOf } from "../src/token/jwt.ts";
import { excess, type Excess, type Stated } from "../src/verify/excess.ts";
import { parsePolicy } from "../src/verify/pol.ts";
import { delegation, forkRequest, link, PLANNER, RESEARCHER, sealed } from "./tokens.ts";

const N = ".args.n";
const UNDER_SRC: Json = [
  "and",
  [
    ["like", N, "src*"],
    ["or", [["==", N, "src"], ["like", N, "src/*"]]],
    ["not", ["or", [["like", N, "*/..*"], ["like", N, "*//*"]]]],
  ],
];
const PLAIN: Json = ["not", ["or", [["like", N, "*?*"], ["like", N, "*/..*"]]]];
const ASKING: Json = ["and", [["like", N, "*?*"], ["not", ["like", N, "*/..*?*"]]]];

function url(beyond: Json): Json {
  return ["and", [["like", N, "https://a.org*"], ["like", N, "https://a.org/*"], beyond]];
}

function stated(pol: Json[]): Stated {
  const policy = parsePolicy(pol);
  if (typeof policy === "string") throw new Error(policy);
  return { policy, pol };
}

function found(requested: Json[], held: Json[]): Excess | undefined {
  return excess(stated(requested), stated(held));
}

describe("more than the chain has", () => {
  test.each<{ requested: Json; held: Json }>([
    { requested: ["==", N, "closed"], held: ["==", N, "open"] },
    { requested: ["==", N, 1], held: ["==", N, true] },
    { requested: ["or", [["==", N, 1], ["==", N, 4]]], held: ["or", [["==", N, 1], ["==", N, 2]]] },
    { requested: ["==", N, 2], held: ["!=", N, 2] },
    { requested: ["==", N, "5"], held: [">", N, 1] },
    { requested: ["<=", N, 9], held: ["<=", N, 5] },
    { requested: ["<=", N, 5], held: ["<", N, 5] },
    { requested: [">=", N, 5], held: [">", N, 5] },
    { requested: ["<=", N, 5], held: [">=", N, 1] },
    { requested: [">", N, 5], held: ["<", N, 6] },
    { requested: [">", N, 5], held: ["<", N, 1e100] },
    { requested: [">=", N, 1], held: ["<=", N, 1] },
    {
      requested: ["and", [[">", N, 2], ["<", N, 10]]],
      held: ["or", [["<", N, 3], [">", N, 9]]],
    },
    { requested: ["like", N, "a*"], held: ["like", N, "ab*"] },
    { requested: ["like", N, "*@y.org"], held: ["like", N, "*@x.org"] },
    { requested: ["like", N, "a"], held: ["like", N, "b*"] },
    { requested: ["like", N, "src*"], held: UNDER_SRC },
    { requested: UNDER_SRC, held: ["like", N, "*.py"] },
    { requested: url(["or", [PLAIN, ASKING]]), held: url(PLAIN) },
    { requested: ["==", ".cmd", "/a"], held: ["==", ".cmd", "/b"] },
    { requested: ["==", '.args["n"]', 1], held: ["==", N, 2] },
    { requested: ["==", ".args.n?", 1], held: ["==", N, 2] },
  ])("$requested, where $held is held", ({ requested, held }) => {
    expect(found([requested], [held])).toEqual({ requested: [requested], held });
  });

  test("all requested statements about the path count, and no others", () => {
    const within: Json = ["==", ".args.m", 1];
    const about: Json[] = [[">=", N, 1], ["<=", N, 9]];
    expect(found([within, ...about], [["<=", N, 9], ["<=", N, 8]])).toEqual({
      requested: about,
      held: ["<=", N, 8],
    });
    expect(found([...about, ["<=", N, 7]], [["<=", N, 8]])).toBeUndefined();
  });

  test("an `and` about several paths is taken apart, one about a single path is not", () => {
    const apart: Json[] = [["and", [["==", N, 1], ["==", ".args.m", 2]]]];
    expect(found(apart, [["and", [["==", N, 1], ["and", [["==", ".args.m", 3], IS]]]]])).toEqual({
      requested: [["==", ".args.m", 2]],
      held: ["==", ".args.m", 3],
    });
  });
});

const IS: Json = ["==", ".args.k", 3];

describe("nothing that is evidently more", () => {
  test.each<{ requested: Json[]; held: Json[] }>([
    { requested: [], held: [["==", N, 1]] },
    { requested: [["==", N, 1]], held: [] },
    { requested: [["==", N, 1]], held: [["==", N, 1]] },
    { requested: [["==", N, 1]], held: [["==", ".args.m", 1]] },
    { requested: [["==", N, 1]], held: [["or", [["==", N, 2], ["==", ".args.m", 1]]]] },
    { requested: [["==", N, 1], ["==", N, 2]], held: [["==", N, 3]] },
    { requested: [["!=", N, 2]], held: [["==", N, 1]] },
    { requested: [["not", ["==", N, 2]]], held: [["==", N, 1]] },
    { requested: [["<", N, 5]], held: [["<", N, 5]] },
    { requested: [UNDER_SRC], held: [["like", N, "src*"]] },
    { requested: [["==", ".args.n[]", ["x"]]], held: [["==", ".args.n[]", ["y"]]] },
    { requested: [["all", N, ["==", ".", 1]]], held: [["any", N, ["==", ".", 2]]] },
    { requested: [["all", N, ["==", ".", 1]]], held: [["==", N, []]] },
    { requested: [["==", ".args.n?", null]], held: [["==", N, 1]] },
    { requested: [["or", [["==", ".args.n?", null], ["==", N, 2]]]], held: [["==", N, 1]] },
    { requested: [["not", ["==", ".args.n?", 2]]], held: [["==", N, 1]] },
    { requested: [["or", []]], held: [["or", []]] },
    { requested: [["and", []]], held: [["and", []]] },
  ])("$requested, where $held is held", ({ requested, held }) => {
    expect(found(requested, held)).toBeUndefined();
  });

  test("a statement that is held, whatever stands beside it", () => {
    const absent: Json = ["or", [["==", ".args.n?", null], ["<=", N, 5]]];
    expect(found([absent, [">=", N, 0]], [absent])).toBeUndefined();
    expect(found([[">=", N, 0]], [absent])).toBeDefined();
    expect(found([absent, [">=", N, 0]], [["<=", N, 4]])).toEqual({
      requested: [absent, [">=", N, 0]],
      held: ["<=", N, 4],
    });
  });

  test("what takes too long to find", () => {
    const many = (count: number): Json[] =>
      Array.from({ length: count }, (_, index) => ["like", N, `x${index}y*`]);
    expect(found([["or", many(20)]], [["or", many(10)]])).toBeDefined();
    expect(found([["or", many(900)]], [["==", N, 1], ["or", many(900)]])).toBeDefined();
    expect(found([["or", many(900)]], [["or", many(900)], ["==", N, 1]])).toBeUndefined();
  });

  test("an error other than the budget's is not caught", () => {
    const broken = { policy: [{ op: "==" }], pol: [[]] } as unknown as Stated;
    expect(() => excess(broken, stated([]))).toThrow(TypeError);
  });
});

describe("a fork", () => {
  const chains = ["open", "closed"].map((state) => [
    sealed("delegation", delegation({ pol: [["==", ".args.state", state]], nonce: state })),
  ]);

  function forked(state: Json, alternatives?: number[]): unknown {
    const pol = [["==", ".args.state", state]];
    const links = [link({ pol, ...(alternatives && { alternatives }) })];
    const request = forkRequest({ chains, children: [{ aud: RESEARCHER.did, links }] });
    const answer = fork(request, PLANNER.secret, () => Buffer.alloc(32));
    if (answer instanceof Refusal) return answer.details;
    return [...answer][0]!.children[0]!.links[0]!;
  }

  test("is refused with both statements", () => {
    const requested = [["==", ".args.state", "all"]];
    const statement = ["==", ".args.state", "open"];
    const refused = {
      code: "chain_attenuation_violation",
      message:
        'children[0].links[0]: pol requests [["==",".args.state","all"]], which permits more than ' +
        '["==",".args.state","open"], which the chain holds',
      field: "pol",
      statement,
      requested,
    };
    expect(forked("all")).toEqual(refused);
    expect(forked("all", [1])).toEqual(refused);
  });

  test("is refused without statements that are too long to be shown", () => {
    const long = "x".repeat(5000);
    expect(forked(long)).not.toHaveProperty("requested");
    expect(forked(long)).toHaveProperty("statement");
  });

  test("is made from the first chain with room", () => {
    expect(forked("open", [1])).not.toHaveProperty("chain");
    const made = forked("closed", [0, 1]) as { jwt: string; chain: number };
    expect(made.chain).toBe(1);
    expect(readDelegation(made.jwt)).toHaveProperty("claims.prf", [cidOf(chains[1]![0]!)]);
  });

  test("is refused for an alternative that is not there", () => {
    expect(forked("all", [2])).toHaveProperty("code", "chain_attenuation_violation");
  });
});
