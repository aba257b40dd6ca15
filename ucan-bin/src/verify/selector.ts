/**
 * Selectors of UCAN 1.0: a path into the arguments of a call, in the manner of jq.
 *
 *     .              the whole
 *     .a.b           members
 *     .["a b"]       a member by any name
 *     .[0]  .[-1]    an element, from the start or the end
 *     .a?            null where the path ends early, instead of failing
 *
 * Iterators (`[]`) and slices (`[1:3]`) select many; no operator here takes those, so a selector
 * with one is refused as a whole rather than read as something else.
 *
 * Strings are indexed by code point, for which a string has to be walked, and comparing an object
 * lists its members. Whoever makes a call may send long ones that no token bounds, and a policy may
 * name them hundreds of times, so what was walked once is kept in a `Reading` for as long as one
 * subject is evaluated. An evaluation therefore takes at most two steps for each segment of the
 * selectors, and one for each character and each member of the subject and of the policy: the sum
 * of what was sent, never a product.
 */

import { isObject } from "../token/canonical.ts";
import type { Json, JsonObject } from "../token/canonical.ts";

interface Segment {
  readonly key: string | number;
  readonly optional: boolean;
}

export type Selector = readonly Segment[];

/** What is known of one subject while selectors are read against it. */
export class Reading {
  #steps = 0;
  readonly #walked = new Map<string, Json[]>();
  readonly #listed = new Map<JsonObject, readonly string[]>();

  /** How much was done so far: segments followed, characters walked, and members listed. */
  get steps(): number {
    return this.#steps;
  }

  /** What one segment selects in `value`; undefined if there is none. */
  follow(key: string | number, value: Json): Json | undefined {
    this.#steps++;
    return typeof key === "string" ? member(value, key) : this.#element(value, key);
  }

  /** The names of an object's members, for comparing it. */
  namesOf(value: JsonObject): readonly string[] {
    const known = this.#listed.get(value);
    if (known !== undefined) return known;
    const names = Object.keys(value);
    this.#steps += names.length;
    this.#listed.set(value, names);
    return names;
  }

  #element(value: Json, index: number): Json | undefined {
    const elements = typeof value === "string" ? this.#characters(value) : value;
    return Array.isArray(elements) ? elements.at(index) : undefined;
  }

  /** By code point, so that no index cuts a character in two. */
  #characters(text: string): Json[] {
    const known = this.#walked.get(text);
    if (known !== undefined) return known;
    const characters = Array.from(text);
    this.#steps += characters.length;
    this.#walked.set(text, characters);
    return characters;
  }
}

/** Sticky, so that each match continues where the one before ended. */
const SEGMENT =
  /(?:\.([\p{L}_][\p{L}\p{M}\p{N}_$-]*)|\.?\[(?:(-?\d{1,15})|("(?:[^"\\]|\\.)*"))\])(\?)?/uy;

/** Parse a selector, or say what is wrong with it. */
export function parseSelector(text: string): Selector | string {
  if (text === "." || text === ".?") return [];
  if (!text.startsWith(".")) return "a selector starts with a dot";
  const segments: Segment[] = [];
  SEGMENT.lastIndex = 0;
  while (SEGMENT.lastIndex < text.length) {
    const at = SEGMENT.lastIndex;
    const match = SEGMENT.exec(text);
    const key = match === null ? undefined : keyOf(match);
    if (key === undefined) return unreadable(text.slice(at));
    segments.push({ key, optional: match?.[4] !== undefined });
  }
  return segments;
}

/** What the selector selects in `value`; undefined if it does not resolve. */
export function select(
  selector: Selector,
  value: Json,
  reading: Reading = new Reading(),
): Json | undefined {
  let selected: Json = value;
  for (const { key, optional } of selector) {
    const next = reading.follow(key, selected);
    if (next === undefined && !optional) return undefined;
    selected = next ?? null;
  }
  return selected;
}

function keyOf([, name, index, quoted]: RegExpExecArray): string | number | undefined {
  if (name !== undefined) return name;
  return index === undefined ? unquote(quoted) : Number(index);
}

function unquote(quoted: string | undefined): string | undefined {
  try {
    return JSON.parse(String(quoted));
  } catch {
    return undefined;
  }
}

function member(value: Json, name: string): Json | undefined {
  return isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}

function unreadable(rest: string): string {
  return /^\.?\[(?:\]|[^"\]]*:)/.test(rest)
    ? "a selector with an iterator or a slice is not supported"
    : "a selector is a path such as .args.title or .[0]";
}
