/**
 * The persistent loop: reads requests, one line of JSON each, and answers them in order until the
 * input ends. An answer is one line; that of `fork` may be several, all but the last with `more`.
 *
 * It blocks in `read` and in `write`. The client must read answers while it writes requests, and
 * matches them by `id`. A line over the limit is read to its end without being stored, and then
 * answered, so that answers stay in order.
 */

import { Buffer, isUtf8 } from "node:buffer";

import { takeSeed } from "./keys.ts";
import { answer, isOp, OPS, type Results, type Signer } from "./operations.ts";
import { MAX_LINE, PROTOCOL, type Op, type Refused } from "./protocol.gen.ts";
import {
  internal,
  invalidRequest,
  otherProtocol,
  Refusal,
  tooLarge,
  unknownOp,
} from "./refusal.ts";
import { isObject, MAX_NESTING, parse } from "./token/canonical.ts";
import type { Json, JsonObject } from "./token/canonical.ts";

/** Blocking ends of a pipe. `read` returns 0 when the input has ended. */
export interface Pipe {
  readonly read: (into: Uint8Array) => number;
  readonly write: (bytes: Uint8Array) => void;
}

/** A line over the limit, of which only the first bytes were stored. */
export interface Overlong {
  readonly start: Buffer;
}

const CHUNK = 64 * 1024;
const NEWLINE = 0x0a;

/** Bytes of a line that are enough to find the id that requests begin with. */
const KEPT_OF_OVERLONG = 64;

/** A payload may be nested as deeply as a token's; the request around it adds a few levels. */
const LINE_NESTING = MAX_NESTING + 8;

/** `{"id":7,` begins the requests from Python, so that even a malformed one can be answered. */
const LEADING_ID = /^\s*\{\s*"id"\s*:\s*(\d{1,15})\s*[,}]/;

/** Answer every request until the input ends. */
export function serve(pipe: Pipe, signer: Signer): void {
  for (const line of linesOf(pipe.read)) {
    // A seed must not become a string, which cannot be erased.
    const seed = Buffer.isBuffer(line) ? takeSeed(line) : undefined;
    for (const reply of replies(line, { ...signer, seed })) {
      const bytes = Buffer.from(`${JSON.stringify(reply)}\n`);
      // The line may contain a key in another form, so it is erased now.
      if (Buffer.isBuffer(line)) line.fill(0);
      pipe.write(bytes);
      // The answer may contain a key that was made here.
      bytes.fill(0);
    }
    seed?.fill(0);
  }
}

/** Split the input into lines of at most `MAX_LINE` bytes; the next read may overwrite a line. */
export function* linesOf(read: Pipe["read"]): Generator<Buffer | Overlong> {
  const chunk = Buffer.allocUnsafe(CHUNK);
  const held = new Held();
  for (let size = read(chunk); size > 0; size = read(chunk)) {
    let rest = chunk.subarray(0, size);
    for (let end = rest.indexOf(NEWLINE); end !== -1; end = rest.indexOf(NEWLINE)) {
      yield held.finish(rest.subarray(0, end));
      rest = rest.subarray(end + 1);
    }
    held.keep(rest);
    rest.fill(0);
  }
  const last = held.finish(Buffer.alloc(0));
  if (!Buffer.isBuffer(last) || last.length > 0) yield last;
}

/** The beginning of a line whose end was not read yet. */
class Held {
  #bytes = Buffer.allocUnsafe(CHUNK);
  #size = 0;
  #overlong = false;

  keep(piece: Buffer): void {
    const size = this.#size + piece.length;
    this.#overlong ||= size > MAX_LINE;
    if (this.#overlong) return;
    if (size > this.#bytes.length) {
      const wider = Buffer.allocUnsafe(Math.min(2 * size, MAX_LINE));
      this.#bytes.copy(wider, 0, 0, this.#size);
      this.#bytes.fill(0);
      this.#bytes = wider;
    }
    piece.copy(this.#bytes, this.#size);
    this.#size = size;
  }

  /** The whole line with its last piece; then nothing is stored. */
  finish(piece: Buffer): Buffer | Overlong {
    if (this.#size === 0) return piece;
    this.keep(piece);
    const line = this.#bytes.subarray(0, this.#size);
    const overlong = this.#overlong;
    this.#size = 0;
    this.#overlong = false;
    return overlong ? { start: line.subarray(0, KEPT_OF_OVERLONG) } : line;
  }
}

type Reply = Refused | { readonly id: number; readonly ok: true };

/** The answers to one line, made while they are sent. */
function* replies(line: Buffer | Overlong, signer: Signer): Generator<Reply> {
  const request = Buffer.isBuffer(line)
    ? readRequest(line)
    : tooLarge(`a line is longer than ${MAX_LINE} bytes`);
  if (request instanceof Refusal) return yield refused(leadingId(line), request);
  const { id } = request;
  if (!isId(id))
    return yield refused(null, invalidRequest("id must be an integer from 0 to 2^53−1"));
  for (const body of bodies(request, signer)) {
    yield body instanceof Refusal ? refused(id, body) : { id, ok: true, ...body };
  }
}

/** Read one line, or one document, of JSON. */
export function readRequest(line: Uint8Array): JsonObject | Refusal {
  if (!isUtf8(line)) return invalidRequest("the text is not UTF-8");
  const text = Buffer.from(line.buffer, line.byteOffset, line.byteLength).toString("utf8");
  if (text.startsWith("\ufeff")) return invalidRequest("the text begins with a byte order mark");
  const value = parse(text, LINE_NESTING);
  if (value instanceof Refusal) return value;
  return isObject(value) ? value : invalidRequest("a request is a JSON object");
}

/** An exception between two lines of an answer ends it with a refusal. */
function* bodies(request: JsonObject, signer: Signer): Generator<object> {
  try {
    const result = perform(request, signer);
    yield* Symbol.iterator in result ? result : [result];
  } catch {
    yield internal();
  }
}

/** The protocol is checked first: in another version every other member may mean something else. */
function perform(request: JsonObject, signer: Signer): Results[Op] {
  const { protocol, op } = request;
  if (protocol !== PROTOCOL) {
    const theirs = typeof protocol === "number" ? protocol : "none";
    return otherProtocol(`the request is of protocol ${theirs}; this binary speaks ${PROTOCOL}`);
  }
  return isOp(op) ? answer(op, request, signer) : unknownOp(`op must be one of ${OPS.join(", ")}`);
}

function isId(id: Json | undefined): id is number {
  return typeof id === "number" && Number.isSafeInteger(id) && id >= 0;
}

function leadingId(line: Buffer | Overlong): number | null {
  const start = Buffer.isBuffer(line) ? line : line.start;
  const [, id] = LEADING_ID.exec(start.toString("latin1", 0, KEPT_OF_OVERLONG)) ?? [];
  return id === undefined ? null : Number(id);
}

function refused(id: number | null, { details }: Refusal): Refused {
  return { id, ok: false, ...details };
}
