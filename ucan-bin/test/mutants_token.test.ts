/**
 * Small differences in `src/token` that no vector shows; each was found by changing the code.
 * Nothing here needs `forge.ts`, which could not even be loaded if keys were made wrongly.
 */

import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";

import type { Delegation, Invocation } from "../src/protocol.gen.ts";
import { Refusal } from "../src/refusal.ts";
import { encode, encodeText } from "../src/token/base64url.ts";
import { putVerified, isVerified, getVerified } from "../src/token/verified_cache.ts";
import { canonical, parse, shown, type Json } from "../src/token/canonical.ts";
import { readDelegation, termsOf, type DelegationToken } from "../src/token/delegation.ts";
import { didOf, keyOf } from "../src/token/did_key.ts";
import { keyPair, sign, verify } from "../src/token/ed25519.ts";
import { readInvocation, useOf } from "../src/token/invocation.ts";
import { cidOf, HEADERS, unsigned } from "../src/token/jwt.ts";
import { LruCache } from "../src/token/lru.ts";

const told = (value: unknown): unknown => (value instanceof Refusal ? value.message : value);

describe("keys", () => {
  test("RFC 8032, test 1", () => {
    const seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const { secret, publicBytes } = keyPair(Buffer.from(seed, "hex"));
    expect(Buffer.from(publicBytes).toString("hex")).toBe(
      "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    );
    const signature = sign(Buffer.alloc(0), secret);
    expect(Buffer.from(signature).toString("hex")).toMatch(/^e5564300c360ac729086e2cc806e828a/);
    const key = keyOf(didOf(publicBytes));
    expect(key && verify(Buffer.alloc(0), signature, key)).toBe(true);
  });

  test("the DID of the key whose seed is zero", () => {
    const did = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
    expect(didOf(keyPair(Buffer.alloc(32)).publicBytes)).toBe(did);
    expect(keyOf(did)).toBeDefined();
    for (const other of [` ${did}`, `${did}1`, `${did}\n`, `x${did}`, did.toLowerCase()])
      expect(keyOf(other), other).toBeUndefined();
  });
});

describe("headers", () => {
  test("of delegations and invocations", () => {
    expect(HEADERS).toMatchObject({
      delegation: { alg: "EdDSA", typ: "JWT", ucv: "1.0.0-cb" },
      invocation: { alg: "EdDSA", typ: "ucan-inv+jwt", ucv: "1.0.0-cb" },
      checkpoint: { alg: "EdDSA", typ: "nomos-checkpoint+jwt" },
    });
  });
});

/** A token of these claims whose signature is no one's. */
function token(kind: "delegation" | "invocation", claims: Json): string {
  const segments = [canonical(HEADERS[kind]), canonical(claims)].map(encodeText);
  return [...segments, encode(Buffer.alloc(64))].join(".");
}

const DELEGATION = { nbf: 1, exp: 2, pol: [] } as unknown as Delegation;
const INVOCATION = { nonce: "12345678", iat: 1, exp: 2, args: { resource: {} } } as unknown as Invocation;

describe("what is said of claims", () => {
  test.each<[string, object]>([
    ["exp is not later than nbf", { exp: 1 }],
    ["prf is not a list of cids", { prf: ["x"] }],
    ["prf is not a list of cids", { prf: [`x${"a".repeat(64)}`] }],
    ["prf is not a list of cids", { prf: [`${"a".repeat(64)}x`] }],
    ["prf is not a list of cids", { prf: [`${"a".repeat(64)}\n`] }],
    [
      "meta.resource_constraint is not an object, or its path is not normalised",
      { meta: { resource_constraint: [] } },
    ],
    ["meta.lineage.depth is not a whole number", { meta: { lineage: { depth: "3" } } }],
    ["meta.lineage.depth is not a whole number", { meta: { lineage: [] } }],
  ])("a delegation: %s", (sentence, changes) => {
    expect(told(termsOf({ ...DELEGATION, ...changes }))).toBe(sentence);
  });

  test.each<[string, object]>([
    ["exp is not later than iat", { exp: 1 }],
    ["exp is more than 3660 seconds after iat", { exp: 3662 }],
    ["args.resource is not an object", { args: {} }],
    ["args.resource is not an object", { args: { resource: null } }],
  ])("an invocation: %s", (sentence, changes) => {
    expect(told(useOf({ ...INVOCATION, ...changes }))).toBe(sentence);
  });

  test("an invocation has a nonce of 8 characters, not units, at least", () => {
    const sentence = "nonce has fewer than 8 characters";
    for (const nonce of ["", "1234567", "\u{1f600}".repeat(7)])
      expect(told(useOf({ ...INVOCATION, nonce }))).toBe(sentence);
    expect(useOf({ ...INVOCATION, nonce: "12345678" })).toEqual({ resource: {}, args: {} });
  });

  test("an invocation may live an hour and a minute", () => {
    expect(useOf({ ...INVOCATION, exp: 3661 })).toEqual({ resource: {}, args: {} });
  });

  test("a member that is missing", () => {
    expect(told(readDelegation(token("delegation", {})))).toBe("iss is missing");
    expect(told(readInvocation(token("invocation", {})))).toBe("iss is missing");
  });

  test("a payload that is nested too deep to be signed", () => {
    const deep = Array.from({ length: 33 }).reduce<Json>((inner) => [inner], 1);
    expect(told(unsigned("delegation", deep))).toBe("the payload is nested deeper than 32 levels");
  });
});

describe("JSON", () => {
  test.each<[string, Json]>([
    ['{"a\\\\":1,"b":2}', { "a\\": 1, b: 2 }],
    ['["\\\\","]"]', ["\\", "]"]],
    ['{"a\\\\\\"":"\\"{"}', { 'a\\"': '"{' }],
    ["[1,123456789012345]", [1, 123_456_789_012_345]],
    ["[ 123456789012345]", [123_456_789_012_345]],
    ["[-9007199254740991]", [-9_007_199_254_740_991]],
  ])("%s is read", (text, value) => {
    expect(parse(text, 32)).toEqual(value);
  });

  test.each([
    ["[null,9007199254740993]", "[1]: an integer"],
    ['{"a":{"b":[0,-9007199254740993]}}', "a.b[1]: an integer"],
    [`{"${"n".repeat(400)}":9007199254740993}`, `${"n".repeat(256)}: an integer`],
  ])("%s is refused", (text, sentence) => {
    expect(told(parse(text, 32))).toContain(sentence);
    expect(told(parse(text, 32))).toMatch(/^.{0,256}: an integer is beyond/);
  });

  test("names of digits are in the order of texts", () => {
    expect(canonical({ 20: 1, 100: 2 })).toBe('{"100":2,"20":1}');
    expect(canonical([{ 20: 1, 100: [null] }])).toBe('[{"100":[null],"20":1}]');
  });

  test("a value is shown whole as long as it may be", () => {
    expect(shown("a".repeat(254))).toBe(`"${"a".repeat(254)}"`);
    expect(shown("a".repeat(255))).toBe(`"${"a".repeat(255)}…`);
    expect(shown(`${"a".repeat(254)}\u{1f600}`)).toBe(`"${"a".repeat(254)}\ufffd…`);
  });
});

describe("what is remembered", () => {
  const KEPT = 4 * 1024;

  function linkOf(text: string, size: number): DelegationToken {
    return { cid: cidOf(text), signed: Buffer.alloc(size) } as unknown as DelegationToken;
  }

  test("is what is short enough", () => {
    const link = linkOf("a".repeat(KEPT), KEPT);
    putVerified(link);
    expect(isVerified(link)).toBe(true);
    expect(getVerified("a".repeat(KEPT))).toBe(link);
  });

  test("is not what is longer", () => {
    const link = linkOf("b", KEPT + 1);
    putVerified(link);
    expect(isVerified(link)).toBe(false);
    expect(getVerified("b")).toBeUndefined();
  });

  test("is not looked up for a token that cannot be there", () => {
    const text = "c".repeat(KEPT + 1);
    putVerified(linkOf(text, 1));
    expect(getVerified(text)).toBeUndefined();
  });

  test("does not make room for what was asked for in vain", () => {
    const recent = new LruCache<number>(2);
    recent.set("a", 1);
    expect(recent.get("x")).toBeUndefined();
    recent.set("b", 2);
    expect([recent.get("a"), recent.get("b")]).toEqual([1, 2]);
  });
});
