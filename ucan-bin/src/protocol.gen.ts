/* Written by tools/generate_protocol.py from nomos/_protocol.py. Do not edit. */

import { anyObject, anything, exactly, flag, list, oneOf } from "./schema.ts";
import { record, text, whole, type Check } from "./schema.ts";
import type { Json, JsonObject } from "./token/canonical.ts";

const DID = text({ max: 64, pattern: /^did:key:z6Mk[1-9A-HJ-NP-Za-km-z]{44}$/ });
const COMMAND = text({ max: 256, pattern: /^\/[a-z0-9_-]+(\/[a-z0-9_-]+)*$/ });
const NONCE = text({ min: 1, max: 256 });
const NAME = text({ min: 1, max: 64 });
const HEX_32 = text({ pattern: /^[0-9a-f]{64}$/ });
const CODE = text({ max: 64, pattern: /^[a-z]+(_[a-z]+)*$/ });
const TEXT = text({});
const TIME = whole(0, 253402300799);
const COUNT = whole(0, 9007199254740991);
const DEPTH = whole(1, 32);

/** The payload of a token that delegates authority (UCAN delegation, JWT form). */
export type Delegation = {
  iss: string;
  aud: string;
  sub?: string;
  cmd: string;
  pol: Json[];
  nonce: string;
  nbf: number;
  exp: number;
  meta?: JsonObject;
  prf?: string[];
};

/**
 * The payload of a token that uses authority at one service (UCAN invocation, JWT form).
 *
 * The nonce has at least 8 characters; `invoke` signs none under 12.
 */
export type Invocation = {
  iss: string;
  aud: string;
  sub: string;
  cmd: string;
  args: JsonObject;
  nonce: string;
  iat: number;
  exp: number;
  prf: string[];
};

/**
 * The payload of a token that signs the end of one of a tenant's logs.
 *
 * The head of a log contains the hash of the row before it, and so on, so one signature covers all
 * rows. The log `keys` lists the keys that may sign: each row's checkpoint is signed by the key of
 * the row before. `nonce` is chosen by a reader, to show that the checkpoint was made after its
 * request.
 */
export type Checkpoint = {
  iss: string;
  log: "audit" | "revocations" | "keys";
  tenant: string;
  seq: number;
  head: string;
  iat: number;
  nonce?: string;
};

/**
 * The payload of a token in which a verifier signs its decision about an invocation.
 *
 * It contains hashes and names, never a token: `resource_hash` and `args_hash` are the sha256 of
 * the canonical JSON of the call's resource and arguments, `chain` has the cids of the chain, root
 * first, and `invocation` that of the invocation. `outcome` is `allow` or the code of a refusal,
 * with the `hop` at fault. An allow names resource, agent, root, chain and invocation. A refusal
 * names them as far as they could be read, agent and root only if the signatures were valid.
 */
export type Receipt = {
  iss: string;
  service: string;
  cmd: string;
  resource_hash?: string;
  args_hash?: string;
  outcome: string;
  hop?: number;
  agent?: string;
  root?: string;
  chain?: string[];
  invocation?: string;
  iat: number;
};

/** One concrete call, as a service rebuilt it from the request that it received. */
export type Call = {
  cmd: string;
  resource: JsonObject;
  args: JsonObject;
};

/** A requested capability: a command, or all commands under it, on a resource. */
export type RequestedCapability = {
  cmd: string;
  resource: JsonObject;
};

/**
 * One capability of a child: the delegation to be signed.
 *
 * `chain` is the index, among the chains of the request, of the one to delegate from; if it cannot
 * be, the first of `alternatives` that can is. Without `constraint` the link covers what its chain
 * covers; without `exp` it ends when its chain does. Statements of `pol` that evidently permit
 * more than the chain's are refused, with `statement` and `requested`.
 */
export type ForkLink = {
  chain: number;
  alternatives?: number[];
  cmd: string;
  constraint?: JsonObject;
  pol: Json[];
  nonce: string;
  exp?: number;
};

/** One child and its capabilities; without `aud` the binary makes a key for the child. */
export type ForkChild = {
  aud?: string;
  links: ForkLink[];
};

/** Ask for the binary's version; the first request to every new process. */
export type Hello = {
  id: number;
  protocol: number;
  op: "hello";
};

/** Make a key inside the binary and keep it under its DID. */
export type GenerateKey = {
  id: number;
  protocol: number;
  op: "generate_key";
};

/** Load a key into the binary, which keeps it under its DID. */
export type LoadKey = {
  id: number;
  protocol: number;
  op: "load_key";
  seed: string;
};

/** Delete a key from the binary. */
export type ForgetKey = {
  id: number;
  protocol: number;
  op: "forget_key";
  key: string;
};

/** Sign a delegation; `payload.iss` must be `key`. */
export type Delegate = {
  id: number;
  protocol: number;
  op: "delegate";
  key: string;
  payload: Delegation;
  /** Sign policy statements that hold for anything, such as an empty `or`. */
  allow_vacuous: boolean;
};

/**
 * Sign an invocation; `payload.iss` must be `key`.
 *
 * With `verify_at`, the token is verified at that time, as `verify` does for a PDP that is
 * `payload.aud` and trusts `payload.sub`, and a refusal is the answer. It has a `hop`; the refusal
 * of a payload that cannot be signed has none.
 */
export type Invoke = {
  id: number;
  protocol: number;
  op: "invoke";
  key: string;
  payload: Invocation;
  verify_at?: number;
  /** Of the chain, where it is verified; absent: 8. */
  max_depth?: number;
};

/**
 * Delegate to several children; either all of them or none.
 *
 * Each chain is verified as in `verify`, but the root's issuer is not checked; it must have been
 * delegated to `key`. Every link is checked against its chain before any is signed.
 */
export type Fork = {
  id: number;
  protocol: number;
  op: "fork";
  key: string;
  chains: string[][];
  children: ForkChild[];
  now: number;
  max_depth: number;
  /** Accept links without `prf`, as the hosted service writes them. */
  allow_missing_prf: boolean;
  /** Sign policy statements that hold for anything, such as an empty `or`. */
  allow_vacuous: boolean;
};

/**
 * Verify an invocation with its chain, or a bare chain of delegations.
 *
 * Exactly one of `invocation` and `chain` is given. With `call`, the invocation must also be for
 * that call: same command, equal resource, every signed argument present and equal, and every
 * `pol` statement holding for it.
 *
 * An invocation is for the service that the root's `meta.audience` names, whatever the later links
 * say. Without `pdp`, the root must also have `meta.closed`.
 *
 * With `requested` instead of `call`, the holder requests a capability: it must be within the
 * chain's command and constraint, and the chain must not come from an approval. Policies are not
 * evaluated then, because every delegation from the chain carries them. The invocation proves who
 * requests it; the caller compares its resource and arguments.
 */
export type Verify = {
  id: number;
  protocol: number;
  op: "verify";
  invocation?: string;
  chain?: string[];
  now: number;
  leeway: number;
  max_depth: number;
  /** Absent: the root's issuer is not checked (for a bare chain only). */
  trusted_issuers?: string[];
  /** The verifying service (invocation) or the expected holder (chain). */
  audience?: string;
  /** Revoked cids and issuer DIDs known to the caller. */
  revoked: string[];
  /** Seconds since the caller's view of revocations was complete; absent: now. */
  revocations_age?: number;
  revocations_max_age: number;
  /**
   * Accept tokens as the hosted service writes them: links without `prf`, and roots without `meta.audience`.
   */
  allow_missing_prf: boolean;
  /**
   * The verifier decides about the call by policy itself. Absent: it does not, and an invocation needs a root with `meta.closed`.
   */
  pdp?: boolean;
  call?: Call;
  requested?: RequestedCapability;
};

/** Read a token without trusting it: its structure is checked, its signatures are not. */
export type Inspect = {
  id: number;
  protocol: number;
  op: "inspect";
  token: string;
};

/**
 * Check policy statements before anything is decided about them.
 *
 * Statements that no token can have are refused, and so are those that hold vacuously, such as an
 * empty `or`. The message begins with the place: `pol[0][1]`.
 */
export type CheckPolicy = {
  id: number;
  protocol: number;
  op: "check_policy";
  pol: Json[];
};

/** Sign a checkpoint; `payload.iss` must be `key`. */
export type SignCheckpoint = {
  id: number;
  protocol: number;
  op: "sign_checkpoint";
  key: string;
  payload: Checkpoint;
};

/**
 * Verify a checkpoint's text and signature, and that `issuers` has its signer.
 *
 * The caller checks its time, its nonce and its place in the log.
 */
export type VerifyCheckpoint = {
  id: number;
  protocol: number;
  op: "verify_checkpoint";
  token: string;
  issuers: string[];
};

/** Sign a receipt; `payload.iss` must be `key`. */
export type SignReceipt = {
  id: number;
  protocol: number;
  op: "sign_receipt";
  key: string;
  payload: Receipt;
};

/**
 * Verify a receipt's text and signature, and that `issuers` has its signer.
 *
 * The caller checks its service, its time and its hashes.
 */
export type VerifyReceipt = {
  id: number;
  protocol: number;
  op: "verify_receipt";
  token: string;
  issuers: string[];
};

/**
 * The new last link of a chain; `cid` is the sha256 of its text.
 *
 * `chain` is the index of its chain, if that is one of the alternatives.
 */
export type ForkedLink = {
  jwt: string;
  cid: string;
  chain?: number;
};

/** The links of one child, in the order requested; `seed` if its key was made here. */
export type Forked = {
  aud: string;
  seed?: string;
  links: ForkedLink[];
};

/** `version` of the package, `speaks` (the protocol version), `runtime` such as `bun 1.x`. */
export type HelloAnswer = {
  id: number;
  ok: true;
  version: string;
  speaks: number;
  runtime: string;
  ops: string[];
};

/** `seed` lets the caller load the key again after a restart of the binary. */
export type GenerateKeyAnswer = {
  id: number;
  ok: true;
  key: string;
  seed: string;
};

export type LoadKeyAnswer = {
  id: number;
  ok: true;
  key: string;
};

export type ForgetKeyAnswer = {
  id: number;
  ok: true;
  forgotten: boolean;
};

/** `cid` is the lower-case hex sha256 of the whole JWT text. */
export type Signed = {
  id: number;
  ok: true;
  jwt: string;
  cid: string;
};

/** Some of the children, in the order requested; with `more`, another answer follows. */
export type ForkAnswer = {
  id: number;
  ok: true;
  children: Forked[];
  more: boolean;
};

/**
 * The content of a valid token. Everything here is covered by a verified signature.
 *
 * `agent` is the last audience, `root` the root's issuer, `meta` the root's meta. `depth` counts
 * the delegations of the chain and those that the root replaces (`meta.lineage.depth`). `cids` are
 * the chain's, root first; `lineage` the cids that the root names in `prf`; `constraint` the
 * intersection of the chain's constraints; `expires_at` the earliest expiry in Unix seconds.
 */
export type Verified = {
  id: number;
  ok: true;
  agent: string;
  root: string;
  cmd: string;
  depth: number;
  cids: string[];
  lineage: string[];
  expires_at: number;
  constraint?: JsonObject;
  meta?: JsonObject;
  resource?: JsonObject;
  args?: JsonObject;
  nonce?: string;
  cid?: string;
};

/**
 * `cids` are those to look up for revocation: of the token, its chain and its lineage.
 *
 * For an invocation the last two come from `prf`; for a delegation they are the cids in its `prf`.
 */
export type Inspected = {
  id: number;
  ok: true;
  kind: "delegation" | "invocation";
  header: JsonObject;
  payload: JsonObject;
  cid: string;
  cids: string[];
};

/** The statements as a token has them: 9.0 is 9. */
export type PolicyChecked = {
  id: number;
  ok: true;
  pol: Json[];
};

/** The checkpoint's content, all of it covered by the verified signature. */
export type CheckpointVerified = {
  id: number;
  ok: true;
  checkpoint: Checkpoint;
  cid: string;
};

/** The receipt's content, all of it covered by the verified signature. */
export type ReceiptVerified = {
  id: number;
  ok: true;
  receipt: Receipt;
  cid: string;
};

/**
 * A refusal. `hop` is the index in the chain: the root is 0, the invocation is last.
 *
 * `field` is the claim that failed, or the statement, such as `pol[1]`. `wanted` and `found` are
 * the beginnings of the JSON text of the required and the actual value; `wanted` may have words
 * around it. `statement` is the whole statement, and `requested` has the requested statements that
 * permit more than it, unless their text has more than 4096 characters.
 */
export type Refused = {
  id: number | null;
  ok: false;
  code: "malformed_ucan" | "bad_signature" | "expired" | "not_yet_valid" | "chain_invalid" | "chain_too_deep" | "chain_attenuation_violation" | "untrusted_issuer" | "revoked" | "revocations_stale" | "audience_mismatch" | "resource_out_of_scope" | "resource_mismatch" | "protocol" | "invalid_request" | "unknown_op" | "unknown_key" | "invalid_key" | "issuer_mismatch" | "vacuous_policy" | "too_large" | "internal";
  message: string;
  hop?: number;
  field?: string;
  wanted?: string;
  found?: string;
  statement?: Json[];
  requested?: Json[];
};

export const PROTOCOL = 1;

/** Bytes in one request line. */
export const MAX_LINE = 1048576;

/** Children, and links for all of them, in one fork. */
export const MAX_FORKED = 1000;

/** Links in one line of the answer to a fork. */
export const MAX_FORKED_LINE = 256;

export type RefusalCode = Refused["code"];

export type RequestOf = {
  hello: Hello;
  generate_key: GenerateKey;
  load_key: LoadKey;
  forget_key: ForgetKey;
  delegate: Delegate;
  invoke: Invoke;
  fork: Fork;
  verify: Verify;
  inspect: Inspect;
  check_policy: CheckPolicy;
  sign_checkpoint: SignCheckpoint;
  verify_checkpoint: VerifyCheckpoint;
  sign_receipt: SignReceipt;
  verify_receipt: VerifyReceipt;
};

export type AnswerOf = {
  hello: HelloAnswer;
  generate_key: GenerateKeyAnswer;
  load_key: LoadKeyAnswer;
  forget_key: ForgetKeyAnswer;
  delegate: Signed;
  invoke: Signed;
  fork: ForkAnswer;
  verify: Verified;
  inspect: Inspected;
  check_policy: PolicyChecked;
  sign_checkpoint: Signed;
  verify_checkpoint: CheckpointVerified;
  sign_receipt: Signed;
  verify_receipt: ReceiptVerified;
};

export type Op = keyof RequestOf;

/** A request without the members of every request. */
export type Question<O extends Op> = Omit<RequestOf[O], "id" | "protocol" | "op">;

/** An answer without the members of every answer. */
export type Body<O extends Op> = Omit<AnswerOf[O], "id" | "ok">;

export const isDelegation = record<Delegation>({
  iss: DID, aud: DID, sub: DID, cmd: COMMAND, pol: list(anything), nonce: NONCE, nbf: TIME,
  exp: TIME, meta: anyObject, prf: list(TEXT),
}, ["sub", "meta", "prf"]);

export const isInvocation = record<Invocation>({
  iss: DID, aud: DID, sub: DID, cmd: COMMAND, args: anyObject, nonce: NONCE, iat: TIME, exp: TIME,
  prf: list(TEXT),
});

export const isCheckpoint = record<Checkpoint>({
  iss: DID, log: oneOf("audit", "revocations", "keys"), tenant: NAME, seq: COUNT, head: HEX_32,
  iat: TIME, nonce: NAME,
}, ["nonce"]);

export const isReceipt = record<Receipt>({
  iss: DID, service: DID, cmd: COMMAND, resource_hash: HEX_32, args_hash: HEX_32, outcome: CODE,
  hop: whole(0, 32), agent: DID, root: DID, chain: list(HEX_32, 1, 32), invocation: HEX_32,
  iat: TIME,
}, ["resource_hash", "args_hash", "hop", "agent", "root", "chain", "invocation"]);

export const isCall = record<Call>({
  cmd: COMMAND, resource: anyObject, args: anyObject,
});

export const isRequestedCapability = record<RequestedCapability>({
  cmd: COMMAND, resource: anyObject,
});

export const isForkLink = record<ForkLink>({
  chain: whole(0, 63), alternatives: list(whole(0, 63), 0, 63), cmd: COMMAND, constraint: anyObject,
  pol: list(anything), nonce: NONCE, exp: TIME,
}, ["alternatives", "constraint", "exp"]);

export const isForkChild = record<ForkChild>({
  aud: DID, links: list(isForkLink, 1),
}, ["aud"]);

const FRAME = { id: COUNT, protocol: whole(-9007199254740991, 9007199254740991) };

/** The validator of each operation's request. */
export const isRequest: { readonly [O in Op]: Check<RequestOf[O]> } = {
  hello: record<Hello>({
    ...FRAME, op: exactly("hello"),
  }),
  generate_key: record<GenerateKey>({
    ...FRAME, op: exactly("generate_key"),
  }),
  load_key: record<LoadKey>({
    ...FRAME, op: exactly("load_key"), seed: HEX_32,
  }),
  forget_key: record<ForgetKey>({
    ...FRAME, op: exactly("forget_key"), key: DID,
  }),
  delegate: record<Delegate>({
    ...FRAME, op: exactly("delegate"), key: DID, payload: isDelegation, allow_vacuous: flag,
  }),
  invoke: record<Invoke>({
    ...FRAME, op: exactly("invoke"), key: DID, payload: isInvocation, verify_at: TIME,
    max_depth: DEPTH,
  }, ["verify_at", "max_depth"]),
  fork: record<Fork>({
    ...FRAME, op: exactly("fork"), key: DID, chains: list(list(TEXT), 1, 64),
    children: list(isForkChild, 1, 1000), now: TIME, max_depth: DEPTH, allow_missing_prf: flag,
    allow_vacuous: flag,
  }),
  verify: record<Verify>({
    ...FRAME, op: exactly("verify"), invocation: TEXT, chain: list(TEXT), now: TIME,
    leeway: whole(0, 60), max_depth: DEPTH, trusted_issuers: list(DID), audience: DID,
    revoked: list(TEXT), revocations_age: COUNT, revocations_max_age: COUNT,
    allow_missing_prf: flag, pdp: flag, call: isCall, requested: isRequestedCapability,
  }, ["invocation", "chain", "trusted_issuers", "audience", "revocations_age", "pdp", "call", "requested"]),
  inspect: record<Inspect>({
    ...FRAME, op: exactly("inspect"), token: TEXT,
  }),
  check_policy: record<CheckPolicy>({
    ...FRAME, op: exactly("check_policy"), pol: list(anything),
  }),
  sign_checkpoint: record<SignCheckpoint>({
    ...FRAME, op: exactly("sign_checkpoint"), key: DID, payload: isCheckpoint,
  }),
  verify_checkpoint: record<VerifyCheckpoint>({
    ...FRAME, op: exactly("verify_checkpoint"), token: TEXT, issuers: list(DID),
  }),
  sign_receipt: record<SignReceipt>({
    ...FRAME, op: exactly("sign_receipt"), key: DID, payload: isReceipt,
  }),
  verify_receipt: record<VerifyReceipt>({
    ...FRAME, op: exactly("verify_receipt"), token: TEXT, issuers: list(DID),
  }),
};
