/**
 * A budget of steps for evaluating policies on one subject, and a cache of what was read.
 *
 * A caller may send long arguments that no token limits, and the holder of a chain may write a
 * policy that names them hundreds of times. So what was read once is cached, and every step is
 * counted before it is done: segments followed, characters, bytes and elements read, members listed
 * and sorted, values compared. A quantifier evaluates its statement for each element, so the cost
 * may be the product of sizes; the budget limits it, and exceeding it is a refusal.
 */

import { isObject } from "../token/canonical.ts";
import type { Json, JsonObject } from "../token/canonical.ts";
import { bytesFrom, bytesText } from "./bytes.ts";

/** Steps that one evaluation of all the policies of a chain may take. */
export const MAX_STEPS = 2_000_000;

/** Thrown when the budget is exceeded, out of all statements that are being evaluated. */
export class BudgetExceeded extends Error {}

export class EvaluationBudget {
  readonly #limit: number;
  #steps = 0;
  readonly #walked = new Map<string, readonly string[]>();
  readonly #listed = new Map<JsonObject, readonly string[]>();
  readonly #values = new Map<JsonObject, readonly Json[]>();
  readonly #bytes = new Map<JsonObject, Uint8Array | undefined>();

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
    if (this.#steps > this.#limit) throw new BudgetExceeded();
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

  /** The characters of a text by code point, so that an index never splits one. */
  charactersOf(text: string): readonly string[] {
    const known = this.#walked.get(text);
    if (known !== undefined) return known;
    this.charge(text.length);
    const characters = Array.from(text);
    this.#walked.set(text, characters);
    return characters;
  }

  /**
   * What `.[]` and quantifiers iterate over: the elements of a list, the values of a map. Those of
   * a map are in the order of its canonical form, so that the result does not depend on the order
   * in the request.
   */
  elementsOf(value: Json | undefined): readonly Json[] | undefined {
    if (Array.isArray(value)) return value;
    if (!isObject(value) || this.bytesIn(value) !== undefined) return undefined;
    return this.#values.get(value) ?? this.#valuesOf(value);
  }

  /** The bytes that an object represents; undefined if it is a map. */
  bytesIn(value: JsonObject): Uint8Array | undefined {
    // This decides almost all objects, without reading their other members.
    if (!Object.hasOwn(value, "/")) return undefined;
    if (this.#bytes.has(value)) return this.#bytes.get(value);
    const text = this.#namesOf(value).length === 1 ? bytesText(value["/"]) : undefined;
    this.charge(text?.length ?? 0);
    const bytes = text === undefined ? undefined : bytesFrom(text);
    this.#bytes.set(value, bytes);
    return bytes;
  }

  #valuesOf(value: JsonObject): readonly Json[] {
    const names = this.#namesOf(value);
    this.charge(names.length * Math.ceil(Math.log2(names.length + 1)));
    // By UTF-16 code units, as RFC 8785 orders members (section 3.2.3).
    const values = [...names].sort().map((name) => value[name] as Json);
    this.#values.set(value, values);
    return values;
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
