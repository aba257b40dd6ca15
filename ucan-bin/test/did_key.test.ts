import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";

import { didOf, keyOf } from "../src/token/did_key.ts";
import { keyPair } from "../src/token/ed25519.ts";
import { ISSUER } from "./forge.ts";

test("a key has one DID, and the DID names that key", () => {
  const { publicBytes } = keyPair(Buffer.from(ISSUER.seed, "hex"));
  expect(didOf(publicBytes)).toBe("did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG");
  const jwk = keyOf(ISSUER.did)?.export({ format: "jwk" });
  expect(jwk?.x).toBe(Buffer.from(publicBytes).toString("base64url"));
});

test("the same DID gives the same key object, which is checked once", () => {
  expect(keyOf(ISSUER.did)).toBe(keyOf(ISSUER.did));
});

describe("what is no Ed25519 did:key names nothing", () => {
  const digits = ISSUER.did.slice("did:key:z".length);
  test.each([
    ["another method", "did:web:example.com"],
    ["nothing", ""],
    ["no multibase", `did:key:${digits}`],
    ["a fragment", `${ISSUER.did}#a`],
    ["a leading zero digit", `did:key:z1${digits}`],
    ["a digit too few", ISSUER.did.slice(0, -1)],
    ["a digit that base58 lacks", `${ISSUER.did.slice(0, -1)}0`],
    ["the codec before ours", "did:key:z6Mk" + "1".repeat(44)],
    ["a point of small order", didOf(Uint8Array.of(1, ...new Uint8Array(31)))],
    ["no point", didOf(Uint8Array.of(2, ...new Uint8Array(31)))],
  ])("%s", (_, did) => {
    expect(keyOf(did)).toBeUndefined();
  });
});
