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
 */

import { isObject } from "../token/canonical.ts";
import type { Json } from "../token/canonical.ts";

interface Segment {
  readonly key: string | number;
  readonly optional: boolean;
}

export type Selector = readonly Segment[];

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
export function select(selector: Selector, value: Json): Json | undefined {
  let selected: Json = value;
  for (const { key, optional } of selector) {
    const next = typeof key === "string" ? member(selected, key) : element(selected, key);
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

/** Strings are indexed by code point, so that no index cuts a character in two. */
function element(value: Json, index: number): Json | undefined {
  const elements = typeof value === "string" ? Array.from(value) : value;
  return Array.isArray(elements) ? elements.at(index) : undefined;
}

function unreadable(rest: string): string {
  return /^\.?\[(?:\]|[^"\]]*:)/.test(rest)
    ? "a selector with an iterator or a slice is not supported"
    : "a selector is a path such as .args.title or .[0]";
}
