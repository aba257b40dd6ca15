/**
 * The order of verification. Its cases are the vectors; here are those too large for one.
 *
 * The forged tokens in these tests are about the cache, of which no vector can say anything.
 */

import { describe, expect, test } from "vitest";

import { Refusal } from "../src/refusal.ts";
import { isVerified, getVerified } from "../src/token/verified_cache.ts";
import type { Json } from "../src/token/canonical.ts";
import { readInvocation } from "../src/token/invocation.ts";
import { cidOf, MAX_TOKEN } from "../src/token/jwt.ts";
import { checkClaims, checkInvocation } from "../src/verify/invocation.ts";
import { readChain, verify } from "../src/verify/verify.ts";
import type { Policy } from "../src/verify/pol.ts";
import { MAX_STEPS } from "../src/verify/budget.ts";
import {
  delegation,
  invocation,
  ISSUER,
  NOW,
  PLANNER,
  sealed,
  sealedText,
  SERVICE,
  verifyRequest,
} from "./tokens.ts";

const root = sealed("delegation", delegation());

test("a chain of thirty-two is read where that many are allowed, and none longer", () => {
  const chain = Array<string>(32).fill(root);
  expect(readChain(chain, 32)).toHaveProperty("links.length", 32);
  expect(readChain([...chain, root], 32)).toMatchObject({ code: "chain_too_deep", hop: 32 });
});

test("the sizes of all tokens come before the text of any", () => {
  const request = verifyRequest({ chain: ["x", "y".repeat(MAX_TOKEN + 1)] });
  expect(verify(request)).toMatchObject({ code: "malformed_ucan", hop: 1 });
});

test("a token as large as allowed is verified", () => {
  const room = "x".repeat(48 * 1024 - 512);
  const token = sealed("delegation", delegation({ meta: { room } }));
  expect(MAX_TOKEN - token.length).toBeLessThan(600);
  expect(verify(verifyRequest({ chain: [token] }))).toMatchObject({ depth: 1, meta: { room } });
});

test("an invocation larger than any token is refused before its chain is looked at", () => {
  const args = { resource: {}, room: "x".repeat(MAX_TOKEN) };
  const token = sealedText("invocation", JSON.stringify(invocation({ args })), PLANNER);
  const request = verifyRequest({
    invocation: token,
    audience: SERVICE.did,
    trusted_issuers: [ISSUER.did],
  });
  expect(verify(request)).toMatchObject({ code: "malformed_ucan", hop: undefined });
});

describe("what is remembered of a link", () => {
  const request = verifyRequest({ chain: [root], trusted_issuers: [ISSUER.did] });

  test("time and revocation are checked every time", () => {
    expect(verify(request)).toMatchObject({ depth: 1 });
    expect(isVerified(getVerified(root) ?? {})).toBe(true);
    expect(verify({ ...request, now: NOW + 300 })).toMatchObject({ code: "expired" });
    expect(verify({ ...request, now: NOW - 61 })).toMatchObject({ code: "not_yet_valid" });
    expect(verify({ ...request, revoked: [cidOf(root)] })).toMatchObject({ code: "revoked" });
    expect(verify({ ...request, trusted_issuers: [] })).toMatchObject({ code: "untrusted_issuer" });
    expect(verify(request)).toMatchObject({ depth: 1 });
  });

  test("nothing is remembered of a token that is not the issuer's", () => {
    const forged = `${root.slice(0, root.lastIndexOf("."))}.${"A".repeat(86)}`;
    for (let times = 0; times < 2; times++) {
      expect(verify({ ...request, chain: [forged] })).toMatchObject({ code: "bad_signature" });
      expect(getVerified(forged)).toBeUndefined();
    }
  });

  test("a good link beside a forged one is not remembered either", () => {
    const other = sealed("delegation", delegation({ nonce: "beside a forged one" }));
    const forged = sealed("delegation", delegation({ iss: PLANNER.did, aud: PLANNER.did }));
    expect(verify({ ...request, chain: [other, forged] })).toMatchObject({ hop: 1 });
    expect(getVerified(other)).toBeUndefined();
  });

  test("long tokens are not kept", () => {
    const long = sealed("delegation", delegation({ meta: { room: "x".repeat(4096) } }));
    expect(verify({ ...request, chain: [long] })).toMatchObject({ depth: 1 });
    expect(getVerified(long)).toBeUndefined();
  });

  test("nothing is remembered of a chain that is refused, or whose root was not to be trusted", () => {
    const late = sealed("delegation", delegation({ nonce: "of a refused chain" }));
    const chain = { ...request, chain: [late] };
    expect(verify({ ...chain, now: NOW + 300 })).toMatchObject({ code: "expired" });
    expect(verify({ ...chain, trusted_issuers: [] })).toMatchObject({ code: "untrusted_issuer" });
    const { trusted_issuers: _, ...unasked } = chain;
    expect(verify(unasked)).toMatchObject({ depth: 1 });
    expect(getVerified(late)).toBeUndefined();
    expect(verify(chain)).toMatchObject({ depth: 1 });
    expect(getVerified(late)).toBeDefined();
  });
});

describe("policies that cost too much", () => {
  const many = Array.from({ length: 4500 }, () => 1);
  const each = Array.from({ length: 1000 }, () => ["==", ".", 1]);
  const pol: Json[] = [["all", ".args.many", ["and", each]]];
  const request = verifyRequest({
    invocation: sealed(
      "invocation",
      invocation({
        args: { resource: { provider: "github" }, many },
        prf: [sealed("delegation", delegation({ pol }))],
      }),
      PLANNER,
    ),
    audience: SERVICE.did,
    trusted_issuers: [ISSUER.did],
  });

  test("refuse the call, naming the bound", () => {
    expect(verify(request)).toMatchObject({
      code: "resource_out_of_scope",
      hop: 0,
      message: expect.stringContaining(`more than ${MAX_STEPS} steps`),
      reason: { field: "pol" },
    });
  });

  test("and no other fault passes for one", () => {
    const chain = readChain([root], 8);
    if (chain instanceof Refusal) throw new Error(chain.message);
    const statement = {
      get op(): never {
        throw new Error("a fault");
      },
    };
    const policy = [statement] as unknown as Policy;
    const broken = { ...chain, links: [{ ...chain.root, policy }] };
    const used = readInvocation(sealed("invocation", invocation(), PLANNER));
    if (used instanceof Refusal) throw new Error(used.message);
    expect(() => checkInvocation(used, broken, undefined, undefined)).toThrow("a fault");
  });
});

describe("a signed argument that the call does not have", () => {
  test.each(["constructor", "toString", "__proto__"])("may be named %s", (name) => {
    const args = JSON.parse(`{"resource":{"provider":"github"},"${name}":{}}`);
    const request = verifyRequest({
      invocation: sealed("invocation", invocation({ args }), PLANNER),
      audience: SERVICE.did,
      trusted_issuers: [ISSUER.did],
      call: { cmd: "/github/issue/list", resource: { provider: "github" }, args: {} },
    });
    expect(verify(request)).toMatchObject({
      code: "resource_mismatch",
      hop: 1,
      reason: { field: `args.${name}`, wanted: undefined, found: "{}" },
    });
  });
});

test("a request without an audience is refused without naming one", () => {
  const used = readInvocation(sealed("invocation", invocation(), PLANNER));
  const chain = readChain([root], 8);
  if (used instanceof Refusal || chain instanceof Refusal) throw new Error("a fault");
  expect(checkClaims(used, chain, verifyRequest({}))?.details).toEqual({
    code: "audience_mismatch",
    message: "the invocation is for another service",
    hop: 1,
    field: "aud",
    found: JSON.stringify(SERVICE.did),
  });
});
