/**
 * Keys, clock and right tokens for tests. The seeds are small numbers; nothing real is signed.
 *
 * Bad tokens are in `tests/vectors`, which `vectors.test.ts` reads. A test that forges one itself
 * says in a comment why no vector can.
 */

import { Buffer } from "node:buffer";

import { Keys } from "../src/keys.ts";
import type { Signer } from "../src/operations.ts";
import type { Checkpoint, Delegation, Fork, ForkLink } from "../src/protocol.gen.ts";
import type { Invocation, Receipt, Verify } from "../src/protocol.gen.ts";
import { Refusal } from "../src/refusal.ts";
import { canonical, type Json } from "../src/token/canonical.ts";
import { didOf } from "../src/token/did_key.ts";
import { keyPair, sign, type KeyObject } from "../src/token/ed25519.ts";
import { HEADERS, seal, type Kind } from "../src/token/jwt.ts";

export const NOW = 1_700_000_000;

export interface Party {
  readonly seed: string;
  readonly did: string;
  readonly secret: KeyObject;
}

function party(number: number): Party {
  const seed = number.toString(16).padStart(64, "0");
  const { secret, publicBytes } = keyPair(Buffer.from(seed, "hex"));
  return { seed, did: didOf(publicBytes), secret };
}

export const ISSUER = party(1);
export const PLANNER = party(2);
export const RESEARCHER = party(3);
export const SERVICE = party(4);

/** What a root says that is for the service, which decides nothing by policy. */
export const HERE = { audience: SERVICE.did, closed: true };

/** A delegation; a root unless another than the issuer gives it. */
export function delegation(changes: Partial<Delegation> = {}): Delegation {
  return {
    iss: ISSUER.did,
    aud: PLANNER.did,
    cmd: "/github/issue",
    pol: [],
    nonce: "n-1",
    nbf: NOW - 60,
    exp: NOW + 300,
    ...(changes.iss === undefined && { meta: HERE }),
    ...changes,
  };
}

export function invocation(changes: Partial<Invocation> = {}): Invocation {
  return {
    iss: PLANNER.did,
    aud: SERVICE.did,
    sub: ISSUER.did,
    cmd: "/github/issue/list",
    args: { resource: { provider: "github" } },
    nonce: "invocation-1",
    iat: NOW - 60,
    exp: NOW + 60,
    prf: [sealed("delegation", delegation())],
    ...changes,
  };
}

export function checkpoint(changes: Partial<Checkpoint> = {}): Checkpoint {
  return {
    iss: ISSUER.did,
    log: "audit",
    tenant: "default",
    seq: 7,
    head: "ab".repeat(32),
    iat: NOW,
    ...changes,
  };
}

export function receipt(changes: Partial<Receipt> = {}): Receipt {
  return {
    iss: SERVICE.did,
    service: SERVICE.did,
    cmd: "/github/issue/list",
    resource_hash: "cd".repeat(32),
    outcome: "allow",
    agent: PLANNER.did,
    root: ISSUER.did,
    chain: ["01".repeat(32)],
    invocation: "02".repeat(32),
    iat: NOW,
    ...changes,
  };
}

/** A receipt of a refusal that names as little as it may. */
export function refusalReceipt(changes: Partial<Receipt> = {}): Receipt {
  const { iss, service, cmd, iat } = receipt();
  return { iss, service, cmd, iat, outcome: "malformed_ucan", ...changes };
}

export function verifyRequest(changes: Partial<Verify>): Verify {
  return {
    id: 1,
    protocol: 1,
    op: "verify",
    now: NOW,
    leeway: 0,
    max_depth: 8,
    revoked: [],
    revocations_max_age: 5,
    allow_missing_prf: false,
    ...changes,
  };
}

export function link(changes: Partial<ForkLink> = {}): ForkLink {
  return { chain: 0, cmd: "/github/issue/list", pol: [], nonce: "f-1", ...changes };
}

/** The planner forks one child, the researcher, from a root of its own. */
export function forkRequest(changes: Partial<Fork> = {}): Fork {
  return {
    id: 1,
    protocol: 1,
    op: "fork",
    key: PLANNER.did,
    chains: [[sealed("delegation", delegation())]],
    children: [{ aud: RESEARCHER.did, links: [link()] }],
    now: NOW,
    max_depth: 8,
    allow_missing_prf: false,
    allow_vacuous: false,
    ...changes,
  };
}

/** A token of this payload, well signed. */
export function sealed(kind: Kind, payload: Json, by: Party = ISSUER): string {
  const signed = seal(kind, payload, by.secret);
  if (signed instanceof Refusal) throw new Error(signed.message);
  return signed.jwt;
}

/** A token whose payload is any text, for tests of what is done before it is read. */
export function sealedText(kind: Kind, text: string, by: Party = ISSUER): string {
  const b64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");
  const signed = `${b64(Buffer.from(canonical(HEADERS[kind])))}.${b64(Buffer.from(text))}`;
  return `${signed}.${b64(sign(Buffer.from(signed), by.secret))}`;
}

/** A signer whose randomness is a fixed byte. */
export function signer(random: Signer["random"] = (bytes) => Buffer.alloc(bytes, 7)): Signer {
  return { keys: new Keys(), random, version: "1.2.3", runtime: "test 1", collect: () => {} };
}

/** The code of a refusal, or the value itself. */
export function codeOf(value: unknown): unknown {
  return value instanceof Refusal ? value.code : value;
}
