import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";

import { didOf, keyOf } from "../src/token/did_key.ts";
import { keyPair } from "../src/token/ed25519.ts";

/** Written out, so that this file can be loaded even if keys are made wrongly. */
const ISSUER = {
  seed: "1".padStart(64, "0"),
  did: "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG",
};

test("a key has one DID, and the DID names that key", () => {
  const { publicBytes } = keyPair(Buffer.from(ISSUER.seed, "hex"));
  expect(didOf(publicBytes)).toBe(ISSUER.did);
  const jwk = keyOf(ISSUER.did)?.export({ format: "jwk" });
  expect(jwk?.x).toBe(Buffer.from(publicBytes).toString("base64url"));
});

test("the DID of the key whose seed is zero", () => {
  const did = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
  expect(didOf(keyPair(Buffer.alloc(32)).publicBytes)).toBe(did);
  expect(keyOf(did)).toBeDefined();
  for (const other of [` ${did}`, `${did}1`, `${did}\n`, `x${did}`, did.toLowerCase()])
    expect(keyOf(other), other).toBeUndefined();
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
