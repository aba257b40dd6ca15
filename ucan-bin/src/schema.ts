/** The parts of the generated validators. The first check that fails sets the message. */

import { isObject, type Json, type JsonObject } from "./token/canonical.ts";

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

/** The check of each member of `T`. */
type Members<T> = { readonly [K in keyof T]-?: Check<Exclude<T[K], undefined>> };

/** An object with these members, of which only the optional ones may be missing, and no other. */
export function record<T>(members: Members<T>, optional: readonly (keyof T)[] = []): Check<T> {
  const checks: [string, Check<unknown>][] = Object.entries(members);
  const names = checks.map(([name]) => name);
  const extra = names.filter((name) => optional.some((one) => one === name));
  const required = names.filter((name) => !extra.includes(name));
  return (value, at, wrong): value is T =>
    hasMembers(value, at, wrong, required, extra) &&
    checks.every(
      ([name, check]) =>
        (value[name] === undefined && extra.includes(name)) ||
        check(value[name], within(at, name), wrong),
    );
}

/** Whether `value` is an object with every required member and no unknown one. */
function hasMembers(
  value: unknown,
  at: string,
  wrong: Wrong,
  required: readonly string[],
  optional: readonly string[],
): value is JsonObject {
  if (!anyObject(value, at, wrong)) return false;
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

export function anything(value: unknown): value is Json {
  return value !== undefined;
}

export function anyObject(value: unknown, at: string, wrong: Wrong): value is JsonObject {
  return isObject(value) || wrong.because(at, "must be an object");
}

export function flag(value: unknown, at: string, wrong: Wrong): value is boolean {
  return typeof value === "boolean" || wrong.because(at, "must be true or false");
}

export function list<T>(item: Check<T>, min = 0, max = Infinity): Check<T[]> {
  return (value, at, wrong): value is T[] => {
    if (!Array.isArray(value)) return wrong.because(at, "must be a list");
    if (value.length < min) return wrong.because(at, `has fewer than ${min} items`);
    if (value.length > max) return wrong.because(at, `has more than ${max} items`);
    return value.every((one, index) => item(one, `${at}[${index}]`, wrong));
  };
}

/** Lengths count code points, as JSON Schema and Python do. */
export function text(rules: { min?: number; max?: number; pattern?: RegExp }): Check<string> {
  const { min = 0, max = Infinity, pattern } = rules;
  return (value, at, wrong): value is string => {
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
  };
}

export function whole(min: number, max: number): Check<number> {
  return (value, at, wrong): value is number => {
    if (typeof value !== "number" || !Number.isSafeInteger(value))
      return wrong.because(at, "must be an integer");
    return (
      (value >= min && value <= max) || wrong.because(at, `must be from ${min} to ${max}`)
    );
  };
}

export function exactly<const T extends string>(wanted: T): Check<T> {
  return (value, at, wrong): value is T =>
    value === wanted || wrong.because(at, `must be ${JSON.stringify(wanted)}`);
}

export function oneOf<const T extends string>(...wanted: readonly T[]): Check<T> {
  const words = wanted.map((one) => JSON.stringify(one)).join(", ");
  return (value, at, wrong): value is T =>
    wanted.some((one) => one === value) || wrong.because(at, `must be one of ${words}`);
}

/** The place of a member: `payload.exp`. */
function within(at: string, name: string): string {
  return at === "" ? name : `${at}.${name}`;
}
