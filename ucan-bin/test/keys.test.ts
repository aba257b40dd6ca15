import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";

import { Keys, MAX_KEYS, seedFromHex, takeSeed } from "../src/keys.ts";
import { codeOf, ISSUER } from "./tokens.ts";

test("a key is held under its DID until it is forgotten", () => {
  const keys = new Keys();
  expect(keys.add(seedFromHex(ISSUER.seed))).toBe(ISSUER.did);
  expect(keys.secretOf(ISSUER.did)).toHaveProperty("asymmetricKeyType", "ed25519");
  expect(keys.forget(ISSUER.did)).toBe(true);
  expect(keys.forget(ISSUER.did)).toBe(false);
  expect(codeOf(keys.secretOf(ISSUER.did))).toBe("unknown_key");
});

test("the seed's bytes are erased", () => {
  const seed = seedFromHex(ISSUER.seed);
  new Keys().add(seed);
  expect(Buffer.from(seed).equals(Buffer.alloc(32))).toBe(true);
});

test("keys are bounded; one that is held already takes no more room", () => {
  const keys = new Keys(1);
  const [one, two] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  expect(keys.add(Buffer.from(one))).toEqual(keys.add(Buffer.from(one)));
  expect(codeOf(keys.add(two))).toBe("too_large");
  expect(MAX_KEYS).toBeGreaterThan(1000);
});

test("all keys are forgotten at once", () => {
  const keys = new Keys();
  keys.add(seedFromHex(ISSUER.seed));
  keys.clear();
  expect(codeOf(keys.secretOf(ISSUER.did))).toBe("unknown_key");
});

describe("a seed is taken out of the line that brings it", () => {
  const SEED = "0123456789abcdef".repeat(4);
  const line = (seed: string): string =>
    `{"id":1,"protocol":1,"op":"load_key","seed":"${seed}"}`;

  test("and zeros are left in its place", () => {
    const bytes = Buffer.from(line(SEED));
    expect(takeSeed(bytes)).toEqual(Uint8Array.from(Buffer.from(SEED, "hex")));
    expect(bytes.toString()).toBe(line("0".repeat(64)));
  });

  test.each([
    ["nothing", ""],
    ["a short line", '"}'],
    ["a line with more after it", line(SEED) + " "],
    ["a line with members in another order", `{"seed":"${SEED}","op":"load_key"}`],
    ["a seed in upper case", line(SEED.toUpperCase())],
    ["a seed with a letter that is no digit", line(SEED.slice(1) + "g")],
    ["a seed with a sign that is no digit", line(SEED.slice(1) + "/")],
    ["a seed with what comes after digits", line(SEED.slice(1) + ":")],
    ["a seed with what comes before letters", line(SEED.slice(1) + "`")],
    ["a short seed", line(SEED.slice(2))],
    ["a seed of another operation", line(SEED).replace("load_key", "fork_key")],
    ["a seed in a payload", `{"op":"delegate","payload":{"op":"load_key","seed":"${SEED}"}}`],
    ["a seed in a text", JSON.stringify({ x: line(SEED) })],
  ])("but not of %s", (_, text) => {
    const bytes = Buffer.from(text);
    expect(takeSeed(bytes)).toBeUndefined();
    expect(bytes.toString()).toBe(text);
  });
});
