/**
 * Selectors of UCAN 1.0: a path into the arguments of a call, in the manner of jq.
 *
 *     .                the whole
 *     .a.b             members
 *     .["a b"]         a member by any name
 *     .[0]  .[-1]      an element, from the start or the end
 *     .[1:3]  .[:-1]   the elements from one index up to another, as far as they exist
 *     .[]              all elements, or all members' values; the rest selects in each
 *     .a?              null where the path ends early, instead of failing
 *
 * Texts are lists of characters by code point, and bytes, `{"/": {"bytes": "<base64>"}}` as IPLD
 * writes them in JSON, are lists of numbers. After `.[]` the rest must resolve in each element; a
 * second `.[]` adds its elements to one list, and `.[]?` adds nothing for a value without elements.
 * (UCAN delegation, "Selectors"; where that is not specific, the published vectors decide.)
 */

import { isObject } from "../token/canonical.ts";
import type { Json } from "../token/canonical.ts";
import { bytesOf } from "./bytes.ts";
import type { EvaluationBudget } from "./budget.ts";

export type Step =
  | { readonly kind: "member"; readonly name: string }
  | { readonly kind: "element"; readonly index: number }
  | { readonly kind: "slice"; readonly start: number; readonly end: number | undefined }
  | { readonly kind: "each" };

export type Segment = Step & { readonly optional: boolean };

export type Selector = readonly Segment[];

/** Sticky, so that each match continues where the one before ended. */
const SEGMENT =
  /(?:\.([\p{L}_][\p{L}\p{M}\p{N}_$-]*)|\.?\[(?:(-?\d{1,15})|("(?:[^"\\]|\\.)*")|(?!:\])(-?\d{1,15})?(:)(-?\d{1,15})?)?\])(\?*)/uy;

/** More than any path needs: no call is nested as deeply. */
export const MAX_SEGMENTS = 64;

/** Parse a selector, or return what is wrong with it. */
export function parseSelector(text: string): Selector | string {
  if (/^\.\?*$/.test(text)) return [];
  if (!text.startsWith(".")) return "a selector starts with a dot";
  const segments: Segment[] = [];
  SEGMENT.lastIndex = 0;
  while (SEGMENT.lastIndex < text.length) {
    const match = SEGMENT.exec(text);
    const step = match === null ? undefined : stepOf(match);
    if (step === undefined) return "a selector is a path such as .args.title, .[0] or .to[]";
    segments.push({ ...step, optional: match?.[7] !== "" });
    if (segments.length > MAX_SEGMENTS) return `a selector has at most ${MAX_SEGMENTS} segments`;
  }
  return segments;
}

/** What the selector selects in `value`; undefined if it does not resolve. */
export function select(selector: Selector, value: Json, budget: EvaluationBudget): Json | undefined {
  let selected = value;
  for (const [index, segment] of selector.entries()) {
    budget.charge(1);
    const elements = segment.kind === "each" ? budget.elementsOf(selected) : undefined;
    if (elements !== undefined) return inEach(selector.slice(index + 1), elements, budget);
    const next = follow(segment, selected, budget);
    if (next === undefined && !segment.optional) return undefined;
    selected = next ?? null;
  }
  return selected;
}

function inEach(
  rest: Selector,
  elements: readonly Json[],
  budget: EvaluationBudget,
): Json | undefined {
  // Both are short: see MAX_SEGMENTS.
  const nested = rest.some(({ kind }) => kind === "each");
  const found: Json[] = [];
  budget.charge(elements.length + rest.length);
  for (const element of elements) {
    const selected = select(rest, element, budget);
    if (selected === undefined) return undefined;
    if (!nested) found.push(selected);
    else if (Array.isArray(selected)) for (const item of selected) found.push(item);
  }
  return found;
}

function stepOf(match: RegExpExecArray): Step | undefined {
  const [, name, index, quoted, start, colon, end] = match;
  if (name !== undefined) return { kind: "member", name };
  if (index !== undefined) return { kind: "element", index: Number(index) };
  if (colon !== undefined)
    return { kind: "slice", start: Number(start ?? 0), end: end === undefined ? end : Number(end) };
  if (quoted === undefined) return { kind: "each" };
  const unquoted = unquote(quoted);
  return unquoted === undefined ? undefined : { kind: "member", name: unquoted };
}

function unquote(quoted: string): string | undefined {
  try {
    return JSON.parse(quoted);
  } catch {
    return undefined;
  }
}

/** What one segment selects in `value`; undefined if there is none. */
function follow(step: Step, value: Json, budget: EvaluationBudget): Json | undefined {
  switch (step.kind) {
    case "member":
      return member(value, step.name, budget);
    case "element":
      return listOf(value, budget)?.at(step.index);
    case "slice":
      return slice(value, step.start, step.end, budget);
    case "each":
      return undefined;
  }
}

function member(value: Json, name: string, budget: EvaluationBudget): Json | undefined {
  if (!isObject(value) || !Object.hasOwn(value, name)) return undefined;
  return budget.bytesIn(value) === undefined ? value[name] : undefined;
}

function slice(
  value: Json,
  start: number,
  end: number | undefined,
  budget: EvaluationBudget,
): Json | undefined {
  const list = listOf(value, budget);
  if (list === undefined) return undefined;
  budget.charge(list.length);
  const part = list.slice(start, end);
  if (typeof value === "string") return part.join("");
  return Array.isArray(value) ? part : bytesOf(part);
}

function listOf(value: Json, budget: EvaluationBudget): readonly Json[] | undefined {
  if (typeof value === "string") return budget.charactersOf(value);
  if (!isObject(value)) return Array.isArray(value) ? value : undefined;
  const bytes = budget.bytesIn(value);
  if (bytes !== undefined) budget.charge(bytes.length);
  return bytes && Array.from(bytes);
}
