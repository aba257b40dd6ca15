import { describe, expect, test } from "vitest";

import { isRequest } from "../src/protocol.gen.ts";
import { text, Wrong } from "../src/schema.ts";
import {
  checkpoint,
  delegation,
  forkRequest,
  link,
  invocation,
  ISSUER,
  verifyRequest,
} from "./tokens.ts";

/** What the validator of an operation says about a request. */
function why(op: keyof typeof isRequest, members: object): string {
  const wrong = new Wrong();
  const right = isRequest[op]({ id: 1, protocol: 1, op, ...members }, "", wrong);
  expect(right).toBe(wrong.sentence === "");
  return wrong.sentence;
}

function forked(links: object[]): object {
  return { children: [{ links }] };
}

const delegate = { key: ISSUER.did, payload: delegation(), allow_vacuous: false };

describe("a request of the right shape passes", () => {
  test("with and without its optional members", () => {
    const all = delegation({ sub: ISSUER.did, meta: {}, prf: ["a"] });
    expect(why("delegate", delegate)).toBe("");
    expect(why("delegate", { ...delegate, payload: all })).toBe("");
    expect(why("invoke", { key: ISSUER.did, payload: invocation() })).toBe("");
    expect(why("verify", verifyRequest({ chain: [] }))).toBe("");
    const call = { cmd: "/a", resource: {}, args: {} };
    const full = {
      invocation: "x",
      audience: ISSUER.did,
      trusted_issuers: [ISSUER.did],
      revocations_age: 1,
      call,
    };
    expect(why("verify", verifyRequest(full))).toBe("");
  });
});

describe("a wrong shape is reported with its place, never with its value", () => {
  test.each<[string, object]>([
    ["payload must be an object", { payload: [] }],
    ["payload must be an object", { payload: null }],
    ["payload.iss is missing", { payload: {} }],
    ['"constructor" is unknown', { constructor: 1 }],
    ['payload."toString" is unknown', { payload: { ...delegation(), toString: 1 } }],
    ["payload.exp must be an integer", { payload: { ...delegation(), exp: "1" } }],
    ["payload.exp must be from 0 to 253402300799", { payload: delegation({ exp: -1 }) }],
    ["payload.pol must be a list", { payload: { ...delegation(), pol: {} } }],
    ["payload.meta must be an object", { payload: { ...delegation(), meta: 1 } }],
    ["payload.prf[1] must be a string", { payload: { ...delegation(), prf: ["a", 1] } }],
    ["payload.nonce is too short", { payload: delegation({ nonce: "" }) }],
    [
      "payload.nonce is longer than 256 characters",
      { payload: delegation({ nonce: "n".repeat(257) }) },
    ],
    ["allow_vacuous must be true or false", { allow_vacuous: 0 }],
    ["id must be an integer", { id: 0.5 }],
    ['op must be "delegate"', { op: "invoke" }],
  ])("%s", (sentence, changes) => {
    expect(why("delegate", { ...delegate, ...changes })).toBe(sentence);
  });

  test("one of several words, and no other", () => {
    const sentence = 'payload.log must be one of "audit", "revocations", "keys"';
    for (const log of ["policies", null, ["audit"]]) {
      const payload = { ...checkpoint(), log };
      expect(why("sign_checkpoint", { key: ISSUER.did, payload })).toBe(sentence);
    }
    const payload = checkpoint({ log: "keys" });
    expect(why("sign_checkpoint", { key: ISSUER.did, payload })).toBe("");
  });

  test.each<[string, object]>([
    ["chains has fewer than 1 items", { chains: [] }],
    ["chains has more than 64 items", { chains: Array(65).fill([]) }],
    ["children has fewer than 1 items", { children: [] }],
    ["children has more than 1000 items", { children: Array(1001).fill({ links: [link()] }) }],
    ["children[0].links has fewer than 1 items", { children: [{ links: [] }] }],
    ["children[0].links[1].chain must be from 0 to 63", forked([link(), link({ chain: 64 })])],
    [
      "children[0].links[0].alternatives[1] must be from 0 to 63",
      forked([link({ alternatives: [0, 64] })]),
    ],
    ["children[0].links[0].pol is missing", forked([{ chain: 0, cmd: "/a", nonce: "n" }])],
    ["max_depth must be from 1 to 32", { max_depth: 33 }],
  ])("a fork of which %s", (sentence, changes) => {
    expect(why("fork", { ...forkRequest(), ...changes })).toBe(sentence);
  });

  test("a fork as long as allowed has the right shape", () => {
    const children = Array(1000).fill({ links: [link()] });
    expect(why("fork", { ...forkRequest(), chains: Array(64).fill([]), children })).toBe("");
  });

  test("a seed is not repeated", () => {
    expect(why("load_key", { seed: "secret" })).toBe("seed must match ^[0-9a-f]{64}$");
  });

  test("a long name is cut short", () => {
    expect(why("hello", { ["x".repeat(1000)]: 1 })).toBe(`"${"x".repeat(64)}" is unknown`);
  });

  test("the whole is called it", () => {
    const wrong = new Wrong();
    expect(isRequest.hello([], "", wrong)).toBe(false);
    expect(wrong.sentence).toBe("it must be an object");
  });
});

test("lengths count characters, not code units", () => {
  expect(
    why("delegate", { ...delegate, payload: delegation({ nonce: "\ud83d\ude00".repeat(256) }) }),
  ).toBe("");
  const wrong = new Wrong();
  expect(text({ min: 2 })("\ud83d\ude00", "it", wrong)).toBe(false);
  expect(wrong.sentence).toBe("it is too short");
});
