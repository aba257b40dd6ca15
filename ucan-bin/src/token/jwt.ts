/**
 * The encoding of all tokens: a compact JWT with only one valid text.
 *
 * `b64url(canon(header)).b64url(canon(payload)).b64url(signature)`, signed with Ed25519. The
 * header is one of four constants, compared as text. That excludes other algorithms, `none`, keys
 * in the token, and `crit` (RFC 8725, sections 3.1, 3.2 and 3.10), and it separates the kinds of
 * token (section 3.11). The payload must encode back to exactly its text, which excludes other
 * texts of the same content: whitespace, key order, escapes, padding, spare bits, a byte order
 * mark, invalid UTF-8, duplicate members.
 */

import { Buffer } from "node:buffer";
import { hash } from "node:crypto";

import { malformed, Refusal, tooLarge } from "../refusal.ts";
import { Wrong, type Check } from "../schema.ts";
import { decode, encode, encodeText } from "./base64url.ts";
import { canonical, isObject, MAX_NESTING, namesAreNfc, nestingOf, parse } from "./canonical.ts";
import type { Json, JsonObject } from "./canonical.ts";
import { sign, SIGNATURE_BYTES, type KeyObject } from "./ed25519.ts";

/** Characters in one token; longer ones are refused before they are parsed. */
export const MAX_TOKEN = 64 * 1024;

/** A cid: the lower-case hex sha256 of a token's text. */
export const CID = /^[0-9a-f]{64}$/;

export type Kind = "delegation" | "invocation" | "checkpoint" | "receipt";

export const HEADERS: { readonly [K in Kind]: JsonObject } = {
  delegation: { alg: "EdDSA", typ: "JWT", ucv: "1.0.0-cb" },
  invocation: { alg: "EdDSA", typ: "ucan-inv+jwt", ucv: "1.0.0-cb" },
  checkpoint: { alg: "EdDSA", typ: "nomos-checkpoint+jwt" },
  receipt: { alg: "EdDSA", typ: "nomos-receipt+jwt" },
};

const HEADER_TEXT: { readonly [K in Kind]: string } = {
  delegation: encodeText(canonical(HEADERS.delegation)),
  invocation: encodeText(canonical(HEADERS.invocation)),
  checkpoint: encodeText(canonical(HEADERS.checkpoint)),
  receipt: encodeText(canonical(HEADERS.receipt)),
};

/** A parsed token. Nothing in it may be trusted before its signature was verified. */
export interface Envelope {
  readonly cid: string;
  readonly payload: JsonObject;
  readonly signed: Buffer;
  readonly signature: Uint8Array;
}

/** A token whose payload has the shape of its kind. */
export interface Token<T> extends Envelope {
  readonly claims: T;
}

export interface Signed {
  readonly jwt: string;
  readonly cid: string;
}

/** Encode and sign a payload whose meaning the caller has checked. */
export function seal(kind: Kind, payload: Json, secret: KeyObject): Signed | Refusal {
  const text = unsigned(kind, payload);
  return text instanceof Refusal ? text : withSignature(text, secret);
}

/** The text to be signed. All checks of the token are made here. */
export function unsigned(kind: Kind, payload: Json): string | Refusal {
  if (nestingOf(payload) > MAX_NESTING)
    return malformed(`the payload is nested deeper than ${MAX_NESTING} levels`);
  const text = canonical(payload);
  if (!hasNfcNames(payload, text)) return malformed(NOT_NFC);
  const signed = `${HEADER_TEXT[kind]}.${encodeText(text)}`;
  return signed.length + SIGNATURE_TEXT > MAX_TOKEN
    ? tooLarge(`the token would be longer than ${MAX_TOKEN} bytes`)
    : signed;
}

/** Sign what `unsigned` returned. */
export function withSignature(text: string, secret: KeyObject): Signed {
  const jwt = `${text}.${encode(sign(Buffer.from(text, "latin1"), secret))}`;
  return { jwt, cid: cidOf(jwt) };
}

/** Characters of the last dot and of a signature in base64url. */
const SIGNATURE_TEXT = 1 + Math.ceil((SIGNATURE_BYTES * 4) / 3);

export function isTooLong(token: string): boolean {
  return token.length > MAX_TOKEN;
}

export const TOO_LONG = `the token is longer than ${MAX_TOKEN} bytes`;

/** V2.1 and V2.2: take a token of one kind apart: sizes, segments, header, canonical text. */
export function open(kind: Kind, token: string): Envelope | Refusal {
  if (isTooLong(token)) return malformed(TOO_LONG);
  const [header, body, tail, ...more] = token.split(".", 4);
  if (body === undefined || tail === undefined || more.length > 0) {
    return malformed("the token does not have three segments");
  }
  if (header !== HEADER_TEXT[kind]) return malformed(`the header is not that of ${ARTICLE[kind]}`);
  const payload = openPayload(body);
  if (payload instanceof Refusal) return payload;
  const signature = decode(tail);
  if (signature?.length !== SIGNATURE_BYTES)
    return malformed("the signature is not 64 bytes of base64url");
  const signed = Buffer.from(token.slice(0, header.length + 1 + body.length), "latin1");
  return { cid: cidOf(token), payload, signed, signature };
}

/** V2.4: open a token and check the shape of its payload. */
export function read<T>(kind: Kind, isClaims: Check<T>, token: string): Token<T> | Refusal {
  const envelope = open(kind, token);
  if (envelope instanceof Refusal) return envelope;
  const claims: unknown = envelope.payload;
  const wrong = new Wrong();
  return isClaims(claims, "", wrong) ? { ...envelope, claims } : malformed(wrong.sentence);
}

const KINDS = Object.keys(HEADERS) as Kind[];

/** The kind of token, by its header. */
export function kindOf(token: string): Kind | undefined {
  const header = token.slice(0, token.indexOf("."));
  return KINDS.find((kind) => header === HEADER_TEXT[kind]);
}

export function cidOf(token: string): string {
  return hash("sha256", token, "hex");
}

const ARTICLE = {
  delegation: "a delegation",
  invocation: "an invocation",
  checkpoint: "a checkpoint",
  receipt: "a receipt",
} as const;

/** V2.3 */
function openPayload(segment: string): JsonObject | Refusal {
  const text = Buffer.from(segment, "base64url").toString("utf8");
  const value = parse(text, MAX_NESTING);
  if (value instanceof Refusal) return malformed(`in the payload: ${value.message}`);
  if (!isObject(value)) return malformed("the payload is not an object");
  if (!hasNfcNames(value, text)) return malformed(NOT_NFC);
  // Invalid bytes became U+FFFD above, so they do not encode back either.
  if (encodeText(canonical(value)) !== segment)
    return malformed("the payload is not in canonical form");
  return value;
}

const NOT_NFC = "a member name in the payload is not in Unicode normalisation form C";

/** ASCII text, the usual case, is always normalised. */
function hasNfcNames(payload: Json, text: string): boolean {
  return /^[\0-\x7f]*$/.test(text) || namesAreNfc(payload);
}
