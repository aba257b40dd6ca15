/**
 * Canonical JSON: strict parsing, and writing in one form (RFC 8785, on the I-JSON of RFC 7493).
 *
 * Parsing refuses what two parsers could read differently: duplicate member names, integers that a
 * double cannot hold, lone surrogates, unlimited nesting. For speed `JSON.parse` builds the value:
 * one pass over the text counts member names, one pass over the value counts members, and fewer
 * members than names means a duplicate name. The other checks are part of those two passes.
 *
 * `JSON.parse` makes `__proto__` an ordinary own member, and nothing here assigns by name, so that
 * key is data like any other.
 */

import { invalidRequest, Refusal } from "../refusal.ts";

export type Json = null | boolean | number | string | Json[] | JsonObject;
export type JsonObject = { [name: string]: Json };

/** Brackets open at once in a token's payload. */
export const MAX_NESTING = 32;

const QUOTE = 0x22;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Numbers from here on are written with an exponent, and do not claim to be exact integers. */
const FIRST_WITH_EXPONENT = 1e21;

/** An integer with at most this many digits is always exact. */
const ALWAYS_EXACT = 15;

/** V1.3: read JSON text of at most `nesting` open brackets; they are counted before parsing. */
export function parse(text: string, nesting: number): Json | Refusal {
  const seen = scan(text, nesting);
  if (seen instanceof Refusal) return seen;
  let value: Json;
  try {
    value = JSON.parse(text);
  } catch {
    return invalidRequest("not JSON text (RFC 8259)");
  }
  if (seen.inexact) return invalidRequest(inexact(value));
  const tally: Tally = { members: 0, wrong: undefined };
  count(value, tally);
  if (tally.wrong === INEXACT) return invalidRequest(inexact(value));
  if (tally.wrong !== undefined) return invalidRequest(tally.wrong);
  if (tally.members !== seen.names) return invalidRequest("an object names a member twice");
  return value;
}

/**
 * Write `value`, which `parse` returned, in canonical form.
 *
 * RFC 8785 takes strings and numbers from `JSON.stringify` and adds the order of members. So the
 * members are sorted and the platform writes them, which is fast. Members that are named like array
 * indices are an exception: objects always list those first, by number, so such values are written
 * here. A string that only looks like such a name costs time and changes nothing.
 */
export function canonical(value: Json): string {
  const text = JSON.stringify(inOrder(value));
  return /"\d+":/.test(text) ? writeOut(value) : text;
}

function inOrder(value: Json): Json {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(inOrder);
  return Object.fromEntries(membersOf(value).map(([name, member]) => [name, inOrder(member)]));
}

function writeOut(value: Json): string {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(writeOut).join()}]`;
  const members = membersOf(value).map(
    ([name, member]) => `${JSON.stringify(name)}:${writeOut(member)}`,
  );
  return `{${members.join()}}`;
}

/** RFC 8785, section 3.2.3: in the order of the names' UTF-16 code units, which `<` compares. */
function membersOf(value: JsonObject): [string, Json][] {
  return Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Characters of a value that a message shows. */
const SHOWN = 256;

/** The beginning of a value's text, never cut within a character. */
export function shown(value: Json): string {
  const text = typeof value === "string" ? JSON.stringify(value) : canonical(value);
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN).toWellFormed()}…`;
}

/** Characters of a statement that is reported in full; typical ones are shorter. */
const MAX_STATEMENT = 4096;

/** The value, unless its text is too long to be reported in full. */
export function ifShort<T extends Json>(value: T): T | undefined {
  return canonical(value).length <= MAX_STATEMENT ? value : undefined;
}

/** Whether two values are the same JSON: they have the same canonical form. */
export function equal(a: Json | undefined, b: Json | undefined): boolean {
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, index) => equal(item, b[index]));
  }
  if (!isObject(a) || !isObject(b)) return a === b;
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && equal(a[name], b[name]))
  );
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether every member name, at any depth, is in Unicode normalisation form C. */
export function namesAreNfc(value: Json): boolean {
  if (value === null || typeof value !== "object") return true;
  return Object.entries(value).every(
    ([name, member]) => name.normalize("NFC") === name && namesAreNfc(member),
  );
}

/** The deepest nesting in `value`: 0 for a scalar, 1 for `{}`. */
export function nestingOf(value: Json): number {
  if (value === null || typeof value !== "object") return 0;
  let deepest = 0;
  for (const member of Object.values(value)) deepest = Math.max(deepest, nestingOf(member));
  return deepest + 1;
}

/** What is known of the text before it is parsed. */
interface Seen {
  readonly names: number;
  /** It has an integer that a double cannot hold exactly. */
  readonly inexact: boolean;
}

/** Scan the text once, outside of its strings; refuse it if it is nested too deeply. */
function scan(text: string, nesting: number): Seen | Refusal {
  let names = 0;
  let open = 0;
  let inexact = false;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit === QUOTE) {
      i = endOfString(text, i);
    } else if (unit === COLON) {
      names++;
    } else if (unit === OPEN_BRACE || unit === OPEN_BRACKET) {
      if (++open > nesting) return invalidRequest(`nested deeper than ${nesting} levels`);
    } else if (unit === CLOSE_BRACE || unit === CLOSE_BRACKET) {
      open--;
    } else if (unit >= ZERO && unit <= NINE) {
      const end = endOfNumber(text, i);
      inexact ||= !isExact(text.slice(i, end));
      i = end - 1;
    }
  }
  return { names, inexact };
}

const INEXACT = "an integer is beyond ±(2^53−1) and would change value";

/** The index of the quote that closes the string opened at `start`, or the end of the text. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let escapes = end;
    while (text.charCodeAt(escapes - 1) === BACKSLASH) escapes--;
    if ((end - escapes) % 2 === 0) return end;
  }
  return text.length;
}

function endOfNumber(text: string, start: number): number {
  let end = start + 1;
  while (end < text.length && "0123456789.eE+-".includes(text.charAt(end))) end++;
  return end;
}

function isExact(literal: string): boolean {
  if (literal.length <= ALWAYS_EXACT || /[.eE]/.test(literal)) return true;
  return Number.isSafeInteger(Number(literal));
}

/** The message for a value with such an integer, with the path to the first one. */
function inexact(value: Json): string {
  // In the text, an integer may have been as large as those that are written with an exponent.
  const path = pathTo(value, isInexact) || pathTo(value, isUnsafe);
  return path ? `${path}: ${INEXACT}` : INEXACT;
}

function isInexact(value: Json): boolean {
  return isUnsafe(value) && Math.abs(Number(value)) < FIRST_WITH_EXPONENT;
}

function isUnsafe(value: Json): boolean {
  return typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
}

/** The path to the first scalar in `value` for which `wanted` is true, such as `args.sizes[2]`. */
function pathTo(value: Json, wanted: (value: Json) => boolean): string | undefined {
  if (value === null || typeof value !== "object") return wanted(value) ? "" : undefined;
  for (const [name, member] of Object.entries(value)) {
    const rest = pathTo(member, wanted);
    if (rest === undefined) continue;
    const step = Array.isArray(value) ? `[${name}]` : named(name);
    return `${step}${/^[A-Za-z_]/.test(rest) ? "." : ""}${rest}`.slice(0, SHOWN).toWellFormed();
  }
  return undefined;
}

function named(name: string): string {
  return /^[A-Za-z_]\w*$/.test(name) ? name : `[${JSON.stringify(name)}]`;
}

interface Tally {
  members: number;
  wrong: string | undefined;
}

function count(value: Json, tally: Tally): void {
  if (typeof value === "string") {
    if (!value.isWellFormed()) tally.wrong = "a string holds a lone surrogate";
  } else if (typeof value === "number") {
    tally.wrong ??= numberError(value);
  } else if (Array.isArray(value)) {
    for (const item of value) count(item, tally);
  } else if (value !== null && typeof value === "object") {
    for (const [name, member] of Object.entries(value)) {
      tally.members++;
      count(name, tally);
      count(member, tally);
    }
  }
}

function numberError(value: number): string | undefined {
  if (!Number.isFinite(value)) return "a number is too large for a double";
  return isInexact(value) ? INEXACT : undefined;
}
