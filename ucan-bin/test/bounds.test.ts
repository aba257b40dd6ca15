/** Costly tokens of unverified senders are refused after little work, which is counted and not timed. */

import * as crypto from "node:crypto";

import { beforeEach, describe, expect, test, vi } from "vitest";

import { answer } from "../src/operations.ts";
import { Refusal } from "../src/refusal.ts";
import { MAX_TOKEN } from "../src/token/jwt.ts";
import { failedStatement } from "../src/verify/evaluate.ts";
import { verify } from "../src/verify/verify.ts";
import { parsePolicy } from "../src/verify/pol.ts";
import { EvaluationBudget } from "../src/verify/budget.ts";
import {
  delegation,
  invocation,
  ISSUER,
  PLANNER,
  sealed,
  sealedText,
  SERVICE,
  signer,
  verifyRequest,
} from "./tokens.ts";

vi.mock("node:crypto", async (original) => {
  const real = await original<typeof crypto>();
  const { hash, verify: check, createPublicKey } = real;
  return {
    ...real,
    hash: vi.fn(hash),
    verify: vi.fn(check),
    createPublicKey: vi.fn(createPublicKey),
  };
});

const parsed = vi.spyOn(JSON, "parse");

/** How often JSON was parsed, a token hashed, a key made, a signature checked. */
function work(): Record<string, number> {
  return {
    parsed: parsed.mock.calls.length,
    hashed: vi.mocked(crypto.hash).mock.calls.length,
    keys: vi.mocked(crypto.createPublicKey).mock.calls.length,
    checked: vi.mocked(crypto.verify).mock.calls.length,
  };
}

const NONE = { parsed: 0, hashed: 0, keys: 0, checked: 0 };

function use(token: string): unknown {
  const trusted_issuers = [ISSUER.did];
  return verify(verifyRequest({ invocation: token, trusted_issuers, audience: SERVICE.did }));
}

const root = sealed("delegation", delegation({ nonce: "bounds" }));

/** A good token, made this long. */
function long(length: number): string {
  const meta = { room: "x".repeat(Math.floor((length * 3) / 4) - 600) };
  return sealed("delegation", delegation({ meta })).padEnd(length, "A");
}

beforeEach(() => {
  vi.clearAllMocks();
});

test("work is counted: a good invocation is parsed, hashed and checked", () => {
  const token = sealed("invocation", invocation({ prf: [root] }), PLANNER);
  vi.clearAllMocks();
  expect(use(token)).not.toBeInstanceOf(Refusal);
  expect(work()).toEqual({ parsed: 2, hashed: 3, keys: expect.any(Number), checked: 2 });
  expect(work()["keys"]).toBeLessThanOrEqual(4);
});

describe("nothing is parsed, hashed or checked", () => {
  test("of a token one character over 64 KiB", () => {
    const token = long(MAX_TOKEN + 1);
    expect(token).toHaveLength(MAX_TOKEN + 1);
    vi.clearAllMocks();
    for (const chain of [[token], [root, token], [token, root]]) {
      const hop = chain.indexOf(token);
      expect(verify(verifyRequest({ chain }))).toMatchObject({ code: "malformed_ucan", hop });
    }
    expect(use(token)).toMatchObject({ code: "malformed_ucan" });
    const inspected = answer("inspect", { id: 1, protocol: 1, op: "inspect", token }, signer());
    expect(inspected).toMatchObject({ code: "malformed_ucan" });
    expect(work()).toEqual(NONE);
  });

  test.each([
    ["the same good link", root],
    ["one letter", "x"],
    ["a link over 64 KiB", long(MAX_TOKEN + 1)],
  ])("of a chain of 10,000, each %s", (_, link) => {
    vi.clearAllMocks();
    const chain = Array<string>(10_000).fill(link);
    expect(verify(verifyRequest({ chain }))).toMatchObject({ code: "chain_too_deep", hop: 8 });
    expect(verify(verifyRequest({ chain, max_depth: 32 }))).toMatchObject({ hop: 32 });
    expect(work()).toEqual(NONE);
  });

  test.each([
    ["lists", "[".repeat(10_000) + "]".repeat(10_000)],
    ["lists that are never closed", "[".repeat(40_000)],
    ["objects", `{"a":`.repeat(5_000) + "1" + "}".repeat(5_000)],
  ])("of a payload nested thousands deep in %s", (_, text) => {
    const link = sealedText("delegation", text);
    const token = sealedText("invocation", text, PLANNER);
    expect(link.length).toBeLessThan(MAX_TOKEN);
    vi.clearAllMocks();
    expect(verify(verifyRequest({ chain: [link] }))).toMatchObject({
      code: "malformed_ucan",
      hop: 0,
    });
    expect(use(token)).toMatchObject({ code: "malformed_ucan" });
    expect(work()).toEqual(NONE);
  });
});

describe("no signature is checked", () => {
  test("of an invocation with as many links as fit into it", () => {
    const prf = Array<string>(9_000).fill("x");
    const token = sealed("invocation", invocation({ prf }), PLANNER);
    vi.clearAllMocks();
    expect(use(token)).toMatchObject({ code: "chain_too_deep", hop: 8 });
    // The invocation is read; none of what it carries is.
    expect(work()).toEqual({ ...NONE, parsed: 1, hashed: 1 });
  });

  test("of a root that names more delegations than a verifier looks up", () => {
    const prf = Array.from({ length: 700 }, (_, n) => n.toString(16).padStart(64, "0"));
    const token = sealed("delegation", delegation({ prf, meta: { lineage: { depth: 0 } } }));
    vi.clearAllMocks();
    expect(verify(verifyRequest({ chain: [token] }))).toMatchObject({ code: "chain_too_deep" });
    expect(work()).toMatchObject({ parsed: 1, keys: 0, checked: 0 });
  });

  test("while a later link cannot be read", () => {
    const chain = [...Array.from({ length: 7 }, (_, n) => fresh(n)), "x"];
    vi.clearAllMocks();
    expect(verify(verifyRequest({ chain }))).toMatchObject({ code: "malformed_ucan", hop: 7 });
    expect(work()).toMatchObject({ parsed: 7, keys: 0, checked: 0 });
  });

  test("after the first that is wrong", () => {
    // Forged here, because a vector does not count the checks.
    const forged = (n: number): string => fresh(100 + n).slice(0, -20) + "A".repeat(20);
    const chain = Array.from({ length: 8 }, (_, n) => forged(n));
    vi.clearAllMocks();
    expect(verify(verifyRequest({ chain }))).toMatchObject({ code: "bad_signature", hop: 0 });
    expect(work()["checked"]).toBeLessThanOrEqual(1);
  });
});

function fresh(number: number): string {
  return sealed("delegation", delegation({ nonce: `bounds-${number}` }));
}

describe("a policy takes steps in proportion to what was sent", () => {
  function steps(pol: unknown[], args: unknown): [boolean, number] {
    const policy = parsePolicy(pol as never);
    if (typeof policy === "string") throw new Error(policy);
    const reading = new EvaluationBudget();
    const holds = failedStatement(policy, { args } as never, reading) === undefined;
    return [holds, reading.steps];
  }

  test("a like with 30 stars, over a text that almost fits", () => {
    const glob = `${"*a".repeat(30)}*b`;
    const text = "a".repeat(20_000);
    const [holds, taken] = steps([["like", ".args.x", glob]], { x: text });
    expect(holds).toBe(false);
    expect(taken).toBeLessThan(text.length + 2 * glob.length + 10);
  });

  test("a hundred of them over the same text", () => {
    const glob = `${"*a".repeat(30)}*b`;
    const text = "a".repeat(2_000);
    const pol = Array<unknown>(100).fill(["not", ["like", ".args.x", glob]]);
    const [holds, taken] = steps(pol, { x: text });
    expect(holds).toBe(true);
    expect(taken).toBeLessThan(100 * (text.length + 2 * glob.length + 10));
  });

  test("in a token: the invocation is refused, having been checked once", () => {
    const pol = [["like", ".args.x", `${"*a".repeat(30)}*b`]];
    const link = sealed("delegation", delegation({ pol, nonce: "stars" }));
    const args = { resource: {}, x: "a".repeat(20_000) };
    const token = sealed("invocation", invocation({ args, prf: [link] }), PLANNER);
    vi.clearAllMocks();
    expect(use(token)).toMatchObject({ code: "resource_out_of_scope", hop: 0 });
    expect(work()).toMatchObject({ parsed: 2, checked: 2 });
  });
});
