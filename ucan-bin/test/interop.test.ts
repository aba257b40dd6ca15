/** Beside what others wrote: `jose` for tokens, `key-did-resolver` and `multiformats` for keys. */

import { Buffer } from "node:buffer";
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";

import { Resolver } from "did-resolver";
import { CompactSign, compactVerify, errors, jwtVerify } from "jose";
import { getResolver } from "key-did-resolver";
import { base58btc } from "multiformats/bases/base58";
import { describe, expect, test } from "vitest";

import { Refusal } from "../src/refusal.ts";
import { canonical, type Json } from "../src/token/canonical.ts";
import { verifyCheckpoint } from "../src/token/statement.ts";
import { didOf, keyOf } from "../src/token/did_key.ts";
import { keyPair } from "../src/token/ed25519.ts";
import { HEADERS, type Kind } from "../src/token/jwt.ts";
import { verify } from "../src/verify/verify.ts";
import {
  checkpoint,
  delegation,
  invocation,
  ISSUER,
  NOW,
  PLANNER,
  sealed,
  SERVICE,
  verifyRequest,
  type Party,
} from "./tokens.ts";

const EDDSA = { algorithms: ["EdDSA"], currentDate: new Date(NOW * 1000) };

function publicKeyOf({ secret }: Party): KeyObject {
  return createPublicKey(secret);
}

/** What `jose` signs: our header and the canonical text of a payload, put together by it. */
async function signed(kind: Kind, payload: Json, { secret }: Party): Promise<string> {
  return new CompactSign(Buffer.from(canonical(payload)))
    .setProtectedHeader({ ...HEADERS[kind], alg: "EdDSA" })
    .sign(secret);
}

describe("jose", () => {
  const made = {
    delegation: { payload: delegation(), by: ISSUER },
    invocation: { payload: invocation(), by: PLANNER },
    checkpoint: { payload: checkpoint(), by: ISSUER },
  };
  const kinds = Object.keys(made) as (keyof typeof made)[];

  test.each(kinds)("verifies our %s, and not with another key", async (kind) => {
    const { payload, by } = made[kind];
    const token = sealed(kind, payload, by);

    const { payload: claims, protectedHeader } = await jwtVerify(token, publicKeyOf(by), {
      ...EDDSA,
      issuer: by.did,
    });

    expect(claims).toEqual(payload);
    expect(protectedHeader).toEqual(HEADERS[kind]);
    await expect(compactVerify(token, publicKeyOf(SERVICE))).rejects.toThrow(
      errors.JWSSignatureVerificationFailed,
    );
  });

  test.each(kinds)("signs our %s, byte for byte", async (kind) => {
    const { payload, by } = made[kind];
    const token = await signed(kind, payload, by);
    expect(token).toBe(sealed(kind, payload, by));
  });

  test("signs a chain and its use that we accept", async () => {
    const root = await signed("delegation", delegation({ nonce: "jose" }), ISSUER);
    const use = await signed("invocation", invocation({ prf: [root] }), PLANNER);
    const answer = verify(
      verifyRequest({ invocation: use, trusted_issuers: [ISSUER.did], audience: SERVICE.did }),
    );
    expect(answer).toMatchObject({ agent: PLANNER.did, root: ISSUER.did, nonce: "invocation-1" });

    // Forged here, because another program signs it.
    const forged = await signed("invocation", invocation({ prf: [root] }), SERVICE);
    const refused = verify(
      verifyRequest({ invocation: forged, trusted_issuers: [ISSUER.did], audience: SERVICE.did }),
    );
    expect(refused).toMatchObject({ code: "bad_signature", hop: 1 });
  });

  test("signs a checkpoint that we accept", async () => {
    const token = await signed("checkpoint", checkpoint({ nonce: "jose" }), ISSUER);
    expect(verifyCheckpoint(token, [ISSUER.did])).not.toBeInstanceOf(Refusal);
    expect(verifyCheckpoint(token, [PLANNER.did])).toMatchObject({ code: "untrusted_issuer" });
  });
});

describe("did:key", () => {
  const resolver = new Resolver(getResolver());
  const keys = Array.from({ length: 32 }, () => {
    const { x = "" } = generateKeyPairSync("ed25519").publicKey.export({ format: "jwk" });
    return Buffer.from(x, "base64url");
  });

  test("key-did-resolver finds in our DIDs the key that we put there", async () => {
    for (const key of [...keys, keyPair(Buffer.alloc(32, 1)).publicBytes]) {
      const { didDocument, didResolutionMetadata } = await resolver.resolve(didOf(key));
      expect(didResolutionMetadata.error).toBeUndefined();
      const [method] = didDocument?.verificationMethod ?? [];
      expect(method?.type).toBe("Ed25519VerificationKey2018");
      expect(base58btc.baseDecode(method?.publicKeyBase58 ?? "")).toEqual(new Uint8Array(key));
    }
  });

  test("those that multiformats spells are ours, and we read the same key", () => {
    for (const key of keys) {
      const did = `did:key:${base58btc.encode(Buffer.concat([Buffer.from([0xed, 0x01]), key]))}`;
      expect(did).toBe(didOf(key));
      const x = keyOf(did)?.export({ format: "jwk" }).x;
      expect(x).toBe(key.toString("base64url"));
    }
  });

  test("a seed that another program made is the same key here", () => {
    const { privateKey } = generateKeyPairSync("ed25519");
    const { d = "", x } = privateKey.export({ format: "jwk" });
    const { secret, publicBytes } = keyPair(Buffer.from(d, "base64url"));
    expect(secret.export({ format: "jwk" })).toEqual(privateKey.export({ format: "jwk" }));
    expect(Buffer.from(publicBytes).toString("base64url")).toBe(x);
  });
});
