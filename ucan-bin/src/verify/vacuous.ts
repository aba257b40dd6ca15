/**
 * Statements that may hold although the values that they are about are missing.
 *
 * In UCAN 1.0 an empty `or` holds, an `any` holds over an empty list, and a `not` or `!=` holds for
 * a path that does not resolve. Such a statement is most often a mistake that widens authority, so
 * it is refused unless requested. A path resolves if every call has it, if each of its segments is
 * optional, or if another statement that must hold as well could not hold without it. An optional
 * segment at or after `[]` proves nothing: neither about each element, nor over an empty list.
 *
 *     ["!=", ".args.state?", null]  ["!=", ".args.state", "closed"]
 *     ["!=", ".args.to", []]  ["!=", ".args.to", {}]  ["any", ".args.to", …]
 */

import { malformed, vacuousPolicy, type Refusal } from "../refusal.ts";
import { canonical, namesAreNfc, type Json } from "../token/canonical.ts";
import { parsePolicy, type Policy, type Statement } from "./pol.ts";
import type { Segment, Selector } from "./selector.ts";

/**
 * What a list of statements, and those around it, imply for every call for which all of them hold:
 * which paths resolve, and which collections are not empty.
 */
class Known {
  readonly #outer: Known | undefined;
  readonly #own = new Set<string>();

  constructor(outer?: Known, given: readonly string[] = []) {
    this.#outer = outer;
    for (const fact of given) this.#own.add(fact);
  }

  has(fact: string): boolean {
    return this.#own.has(fact) || (this.#outer?.has(fact) ?? false);
  }

  /** These facts, and those implied by this policy if all of it holds, in any order. */
  with(policy: Policy): Known {
    const known = new Known(this);
    // Repeated, because later statements may add facts; at most once for each segment of a path.
    for (let before = -1; before < known.#own.size; ) {
      before = known.#own.size;
      for (const statement of policy) known.#learn(statement);
    }
    return known;
  }

  #learn(statement: Statement): void {
    switch (statement.op) {
      case "and":
        for (const inner of statement.of) this.#learn(inner);
        break;
      case "or":
      case "not":
        break;
      case "!=":
        if (isSure(statement.selector, this)) this.#differs(statement);
        break;
      default:
        if (findsSomething(statement)) this.#reaches(statement.selector);
    }
  }

  #differs({ selector, value }: { selector: Selector; value: Json }): void {
    if (value === null) this.#reaches(selector);
    else if (isEmpty(value)) this.#own.add(filled(selector, canonical(value)));
  }

  /** The path resolves, and so do its prefixes, as far as it is one path. */
  #reaches(selector: Selector): void {
    const reached = isLoose(selector) ? selector.slice(0, firstEach(selector)) : selector;
    for (const index of reached.keys()) this.#own.add(path(selector.slice(0, index + 1)));
  }
}

/** The members that every call has. */
const CALL = new Known(undefined, ['."cmd"', '."resource"', '."args"']);

/** Nothing is known about an element but that it exists. */
const ELEMENT = new Known();

const OR = "an empty `or` holds for every call";
const ANY = 'holds for an empty collection; put ["!=", path, []] and ["!=", path, {}] before it';
const NOT = 'holds where its path is missing; put ["!=", "<path>?", null] before it';

/** Why a statement of the policy may hold vacuously, with its place; undefined if none may. */
export function vacuous(policy: Policy): string | undefined {
  return inAll(policy, CALL, "pol");
}

/** Why the policy is not signed, unless vacuous statements are requested. */
export function checkVacuous(policy: Policy, allowed: boolean): Refusal | undefined {
  const found = allowed ? undefined : vacuous(policy);
  return found === undefined ? undefined : vacuousPolicy(found);
}

/** Why no token can have these statements, or why they are not signed unless that is requested. */
export function checkPolicy(pol: Json[]): Refusal | undefined {
  const policy = parsePolicy(pol);
  if (typeof policy === "string") return malformed(policy);
  if (!namesAreNfc(pol)) return malformed("pol: a name is not in Unicode normalisation form C");
  return checkVacuous(policy, false);
}

function inAll(policy: Policy, outer: Known, at: string): string | undefined {
  const known = outer.with(policy);
  return firstOf(policy, (statement, index) => inOne(statement, known, `${at}[${index}]`));
}

function alone(statement: Statement, outer: Known, at: string): string | undefined {
  return inOne(statement, outer.with([statement]), at);
}

function inOne(statement: Statement, known: Known, at: string): string | undefined {
  switch (statement.op) {
    case "and":
      return inAll(statement.of, known, `${at}[1]`);
    case "or":
      if (statement.of.length === 0) return `${at}: ${OR}`;
      return firstOf(statement.of, (inner, index) => alone(inner, known, `${at}[1][${index}]`));
    case "not":
      return unsure(statement.of, known)
        ? `${at}: a \`not\` ${NOT}`
        : inOne(statement.of, known, `${at}[1]`);
    case "!=":
      return isSure(statement.selector, known) ? undefined : `${at}: a \`!=\` ${NOT}`;
    case "any":
      if (!isFilled(statement.selector, known)) return `${at}: an \`any\` ${ANY}`;
      return alone(statement.of, ELEMENT, `${at}[2]`);
    case "all":
      return alone(statement.of, ELEMENT, `${at}[2]`);
    default:
      return undefined;
  }
}

/** Whether the statement may fail only because one of its paths does not resolve. */
function unsure(statement: Statement, known: Known): boolean {
  switch (statement.op) {
    case "and":
    case "or":
      return statement.of.some((inner) => unsure(inner, known));
    case "not":
      return unsure(statement.of, known);
    case "all":
    case "any":
      return !isSure(statement.selector, known) || unsure(statement.of, ELEMENT);
    default:
      return !isSure(statement.selector, known);
  }
}

/** An equality with null does not imply it: an optional path is null if nothing is there. */
function findsSomething(statement: Exclude<Statement, { op: "and" | "or" | "not" }>): boolean {
  return (
    statement.op !== "==" ||
    statement.value !== null ||
    !statement.selector.some(({ optional }) => optional)
  );
}

function isEmpty(value: Json): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** Whether these facts imply that the path resolves. */
function isSure(selector: Selector, known: Known): boolean {
  return (
    !isLoose(selector) &&
    selector.every(
      ({ optional }, index) => optional || known.has(path(selector.slice(0, index + 1))),
    )
  );
}

/** Whether the path has an optional segment at or after its first `[]`. */
function isLoose(selector: Selector): boolean {
  return selector.slice(firstEach(selector)).some(({ optional }) => optional);
}

function firstEach(selector: Selector): number {
  const index = selector.findIndex(({ kind }) => kind === "each");
  return index === -1 ? selector.length : index;
}

/** A quantifier implies that the collection exists; this checks that it is not empty. */
function isFilled(selector: Selector, known: Known): boolean {
  return ["[]", "{}"].every((empty) => known.has(filled(selector, empty)));
}

function filled(selector: Selector, empty: string): string {
  return `${path(selector)} != ${empty}`;
}

function path(selector: Selector): string {
  return selector.map(written).join("");
}

function written(segment: Segment): string {
  switch (segment.kind) {
    case "member":
      return `.${JSON.stringify(segment.name)}`;
    case "element":
      return `[${segment.index}]`;
    case "slice":
      return `[${segment.start}:${segment.end ?? ""}]`;
    case "each":
      return "[]";
  }
}

function firstOf<T>(
  items: readonly T[],
  find: (item: T, index: number) => string | undefined,
): string | undefined {
  for (const [index, item] of items.entries()) {
    const found = find(item, index);
    if (found !== undefined) return found;
  }
  return undefined;
}
