/** The table of operations, each a function of a validated request. */

import { Buffer } from "node:buffer";

import { isRequest, PROTOCOL } from "./protocol.gen.ts";
import type { AnswerOf, Body, Delegation, Invocation, Op, RequestOf } from "./protocol.gen.ts";
import { fork } from "./fork.ts";
import {
  invalidKey,
  invalidRequest,
  issuerMismatch,
  malformed,
  Refusal,
} from "./refusal.ts";
import { Wrong, type Check } from "./schema.ts";
import { seedFromHex, type Keys } from "./keys.ts";
import { readDelegation, termsOf } from "./token/delegation.ts";
import { keyOf } from "./token/did_key.ts";
import type { Json } from "./token/canonical.ts";
import { KEY_BYTES } from "./token/ed25519.ts";
import { charactersOf, readInvocation, useOf } from "./token/invocation.ts";
import { HEADERS, kindOf, seal, type Kind, type Signed } from "./token/jwt.ts";
import { checkReceipt, verifyCheckpoint, verifyReceipt } from "./token/statement.ts";
import { OWN_CHAIN, readChain, verify } from "./verify/verify.ts";
import { checkPolicy, checkVacuous } from "./verify/vacuous.ts";

/** The least characters of a nonce that is signed here; other signers' nonces have 8 or more. */
const MIN_NONCE = 12;

/** Delegations in the deepest chain, where the request does not say. */
const MAX_DEPTH = 8;

/** What an operation may use in addition to its request. */
export interface Signer {
  readonly keys: Keys;
  readonly random: (bytes: number) => Uint8Array;
  readonly version: string;
  readonly runtime: string;
  /** Collect garbage, so that deleted keys are erased. */
  readonly collect: () => void;
  /** The seed of this request, removed from its line before that was parsed. */
  readonly seed?: Uint8Array | undefined;
}

/** What operations return: one answer, or several for an answer that has `more`. */
export type Results = {
  readonly [O in Op]:
    (AnswerOf[O] extends { more: boolean } ? Iterable<Body<O>> : Body<O>) | Refusal;
};

type Handlers = {
  readonly [O in Op]: (request: RequestOf[O], signer: Signer) => Results[O];
};

const handlers: Handlers = {
  hello: (_, { version, runtime }) => ({ version, speaks: PROTOCOL, runtime, ops: OPS }),
  generate_key: generateKey,
  load_key: ({ seed }, { keys, seed: taken }) => loaded(keys.add(taken ?? seedFromHex(seed))),
  forget_key: ({ key }, { keys, collect }) => {
    const forgotten = keys.forget(key);
    if (forgotten) collect();
    return { forgotten };
  },
  delegate: ({ payload, allow_vacuous, key }, { keys }) =>
    checkDelegation(payload, key, allow_vacuous) ?? sign("delegation", payload, key, keys),
  invoke: ({ key, payload, verify_at, max_depth }, { keys }) => {
    const signed = checkInvocation(payload, key) ?? sign("invocation", payload, key, keys);
    if (signed instanceof Refusal || verify_at === undefined) return signed;
    return checkAsPdp(signed.jwt, payload, verify_at, max_depth) ?? signed;
  },
  fork: (request, { keys, random }) => fork(request, keys.secretOf(request.key), random),
  verify,
  inspect: ({ token }) => inspect(token),
  check_policy: ({ pol }) => checkPolicy(pol) ?? { pol },
  sign_checkpoint: ({ key, payload }, { keys }) =>
    checkSigner(payload, key) ?? sign("checkpoint", payload, key, keys),
  verify_checkpoint: ({ token, issuers }) => {
    const read = verifyCheckpoint(token, issuers);
    return read instanceof Refusal ? read : { checkpoint: read.claims, cid: read.cid };
  },
  sign_receipt: ({ key, payload }, { keys }) =>
    checkSigner(payload, key) ?? checkReceipt(payload) ?? sign("receipt", payload, key, keys),
  verify_receipt: ({ token, issuers }) => {
    const read = verifyReceipt(token, issuers);
    return read instanceof Refusal ? read : { receipt: read.claims, cid: read.cid };
  },
};

export const OPS = Object.keys(handlers);

export function isOp(name: unknown): name is Op {
  return typeof name === "string" && Object.hasOwn(handlers, name);
}

/** Validate the request, then perform its operation. */
export function answer<O extends Op>(
  op: O,
  request: unknown,
  signer: Signer,
): Results[O] | Refusal {
  const check: Check<RequestOf[O]> = isRequest[op];
  const wrong = new Wrong();
  if (!check(request, "", wrong)) return invalidRequest(wrong.sentence);
  return handlers[op](request, signer);
}

function generateKey(_: unknown, { keys, random }: Signer): Body<"generate_key"> | Refusal {
  const bytes = random(KEY_BYTES);
  const seed = Buffer.from(bytes).toString("hex");
  const key = keys.add(bytes);
  return key instanceof Refusal ? key : { key, seed };
}

function loaded(key: string | Refusal): Body<"load_key"> | Refusal {
  return key instanceof Refusal ? key : { key };
}

/** Why a delegation with this payload is not signed by the key. */
function checkDelegation(
  payload: Delegation,
  key: string,
  allowVacuous: boolean,
): Refusal | undefined {
  const terms = termsOf(payload);
  if (terms instanceof Refusal) return terms;
  return checkVacuous(terms.policy, allowVacuous) ?? checkParties(payload, key);
}

/** Why an invocation with this payload is not signed by the key. */
function checkInvocation(payload: Invocation, key: string): Refusal | undefined {
  const use = useOf(payload);
  if (use instanceof Refusal) return use;
  if (charactersOf(payload.nonce) < MIN_NONCE)
    return malformed(`payload.nonce has fewer than ${MIN_NONCE} characters`);
  return checkParties(payload, key);
}

/** Sign a payload that was checked. */
function sign(kind: Kind, payload: Json, key: string, keys: Keys): Signed | Refusal {
  const secret = keys.secretOf(key);
  return secret instanceof Refusal ? secret : seal(kind, payload, secret);
}

/** Why a PDP would refuse a token that was just signed, as far as its holder can know. */
function checkAsPdp(
  invocation: string,
  { sub, aud }: Invocation,
  now: number,
  max_depth = MAX_DEPTH,
): Refusal | undefined {
  const parties = { trusted_issuers: [sub], audience: aud };
  const request = { ...OWN_CHAIN, ...parties, invocation, now, max_depth, pdp: true };
  const found = verify({ ...request, allow_missing_prf: false });
  return found instanceof Refusal ? found : undefined;
}

/** A key signs only payloads that name it as the issuer. */
function checkSigner({ iss }: { readonly iss: string }, key: string): Refusal | undefined {
  return iss === key ? undefined : issuerMismatch("payload.iss is not the DID of the signing key");
}

/** The parties of a signed payload must be usable keys. */
function checkParties(payload: Delegation | Invocation, key: string): Refusal | undefined {
  const wrong = checkSigner(payload, key);
  if (wrong !== undefined) return wrong;
  for (const party of ["aud", "sub"] as const) {
    const did = payload[party];
    if (did !== undefined && keyOf(did) === undefined) {
      return invalidKey(`payload.${party} names no usable Ed25519 key`);
    }
  }
  return undefined;
}

function inspect(token: string): Body<"inspect"> | Refusal {
  const kind = kindOf(token);
  switch (kind) {
    case "delegation": {
      const read = readDelegation(token);
      if (read instanceof Refusal) return read;
      const { cid, payload, claims } = read;
      return { kind, header: HEADERS[kind], payload, cid, cids: [cid, ...(claims.prf ?? [])] };
    }
    case "invocation": {
      const read = readInvocation(token);
      if (read instanceof Refusal) return read;
      const { cid, payload, claims } = read;
      const chain = readChain(claims.prf, MAX_INSPECTED);
      if (chain instanceof Refusal) return chain;
      return {
        kind,
        header: HEADERS[kind],
        payload,
        cid,
        cids: [...chain.lineage, ...chain.cids, cid],
      };
    }
    case "checkpoint":
    case "receipt":
    case undefined:
      return malformed("the header is not that of a delegation or an invocation");
  }
}

/** The deepest chain that a verifier can be configured to accept. */
const MAX_INSPECTED = 32;
