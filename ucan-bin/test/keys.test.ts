import { Buffer } from "node:buffer";
import { expect, test } from "vitest";

import { Keys, MAX_KEYS, seedFromHex } from "../src/keys.ts";
import { codeOf, ISSUER } from "./forge.ts";

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
