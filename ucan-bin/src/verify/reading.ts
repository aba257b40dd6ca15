/**
 * What is known of one subject while policies are evaluated over it, and what that has cost.
 *
 * Whoever makes a call may send long arguments that no token bounds, and a policy may name them
 * hundreds of times. What was walked once is therefore kept, and every step is counted: segments
 * followed, characters and elements walked, members listed, values compared. A quantifier does
 * its statement for each element, so the sum of what was sent may become a product; the budget
 * ends that, and an evaluation that it ends is a refusal.
 */

import { isObject } from "../token/canonical.ts";
import type { Json, JsonObject } from "../token/canonical.ts";

/** Steps that one evaluation of all the policies of a chain may take. */
export const MAX_STEPS = 4_000_000;

/** Thrown where the budget ends, through whatever statements are being evaluated. */
export class TooCostly extends Error {}

export class Reading {
  readonly #limit: number;
  #steps = 0;
  readonly #walked = new Map<string, readonly string[]>();
  readonly #listed = new Map<JsonObject, readonly string[]>();

  constructor(limit: number = MAX_STEPS) {
    this.#limit = limit;
  }

  /** How much was done so far. */
  get steps(): number {
    return this.#steps;
  }

  /** Count so many steps, before they are done. */
  charge(steps: number): void {
    this.#steps += steps;
    if (this.#steps > this.#limit) throw new TooCostly();
  }

  /** Whether two values are the same JSON (see `equal` in `canonical.ts`). */
  same(a: Json | undefined, b: Json | undefined): boolean {
    this.charge(1);
    if (Array.isArray(a) && Array.isArray(b))
      return a.length === b.length && a.every((item, index) => this.same(item, b[index]));
    if (!isObject(a) || !isObject(b)) return a === b;
    const names = this.#namesOf(a);
    return (
      names.length === this.#namesOf(b).length &&
      names.every((name) => Object.hasOwn(b, name) && this.same(a[name], b[name]))
    );
  }

  /** The characters of a text by code point, so that no index cuts one in two. */
  charactersOf(text: string): readonly string[] {
    const known = this.#walked.get(text);
    if (known !== undefined) return known;
    this.charge(text.length);
    const characters = Array.from(text);
    this.#walked.set(text, characters);
    return characters;
  }

  #namesOf(value: JsonObject): readonly string[] {
    const known = this.#listed.get(value);
    if (known !== undefined) return known;
    const names = Object.keys(value);
    this.charge(names.length);
    this.#listed.set(value, names);
    return names;
  }
}
