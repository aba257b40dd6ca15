/** The checks that the generated validators call. The first that fails sets the message. */

import { isObject, type JsonObject } from "./token/canonical.ts";

/** The message of a failed validator. It contains places, never values. */
export class Wrong {
  sentence = "";

  /** Set the message for the value at `at`. Returns false, so that checks can return it. */
  because(at: string, expected: string): false {
    this.sentence = `${at || "it"} ${expected}`;
    return false;
  }
}

/** A validator: whether `value`, found at `at`, is a `T`. */
export type Check<T> = (value: unknown, at: string, wrong: Wrong) => value is T;

/** An object with every required member and no unknown one. */
export function isRecord(
  value: unknown,
  at: string,
  wrong: Wrong,
  required: readonly string[],
  optional: readonly string[],
): value is JsonObject {
  if (!isObject(value)) return wrong.because(at, "must be an object");
  for (const name of required) {
    if (!Object.hasOwn(value, name)) return wrong.because(within(at, name), "is missing");
  }
  for (const name of Object.keys(value)) {
    if (!required.includes(name) && !optional.includes(name)) {
      return wrong.because(within(at, JSON.stringify(name.slice(0, 64))), "is unknown");
    }
  }
  return true;
}

export function isAnyObject(value: unknown, at: string, wrong: Wrong): value is JsonObject {
  return isObject(value) || wrong.because(at, "must be an object");
}

export function isList<T>(
  value: unknown,
  at: string,
  wrong: Wrong,
  isItem: Check<T>,
  min = 0,
  max = Infinity,
): value is T[] {
  if (!Array.isArray(value)) return wrong.because(at, "must be a list");
  if (value.length < min) return wrong.because(at, `has fewer than ${min} items`);
  if (value.length > max) return wrong.because(at, `has more than ${max} items`);
  return value.every((item, index) => isItem(item, `${at}[${index}]`, wrong));
}

export interface TextRules {
  readonly min?: number;
  readonly max?: number;
  readonly pattern?: RegExp;
}

/** Lengths count code points, as JSON Schema and Python do. */
export function isText(
  value: unknown,
  at: string,
  wrong: Wrong,
  rules: TextRules,
): value is string {
  const { min = 0, max = Infinity, pattern } = rules;
  if (typeof value !== "string") return wrong.because(at, "must be a string");
  // Code points are never more than code units, so only a long text needs counting.
  const length = value.length > max || min > 1 ? Array.from(value).length : value.length;
  if (length < min) return wrong.because(at, "is too short");
  if (length > max) return wrong.because(at, `is longer than ${max} characters`);
  return (
    pattern === undefined ||
    pattern.test(value) ||
    wrong.because(at, `must match ${pattern.source}`)
  );
}

export function isWhole(
  value: unknown,
  at: string,
  wrong: Wrong,
  min: number,
  max: number,
): value is number {
  if (typeof value !== "number" || !Number.isSafeInteger(value))
    return wrong.because(at, "must be an integer");
  if (value < min || value > max) return wrong.because(at, `must be from ${min} to ${max}`);
  return true;
}

export function isFlag(value: unknown, at: string, wrong: Wrong): value is boolean {
  return typeof value === "boolean" || wrong.because(at, "must be true or false");
}

export function isExactly<T extends string>(
  value: unknown,
  at: string,
  wrong: Wrong,
  wanted: T,
): value is T {
  return value === wanted || wrong.because(at, `must be ${JSON.stringify(wanted)}`);
}

export function isOneOf<const T extends string>(
  value: unknown,
  at: string,
  wrong: Wrong,
  wanted: readonly T[],
): value is T {
  return (
    wanted.some((one) => one === value) ||
    wrong.because(at, `must be one of ${wanted.map((one) => JSON.stringify(one)).join(", ")}`)
  );
}

/** The place of a member: `payload.exp`. */
export function within(at: string, name: string): string {
  return at === "" ? name : `${at}.${name}`;
}
