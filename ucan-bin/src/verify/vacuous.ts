/**
 * Statements that may hold although nothing is there for them to be about.
 *
 * UCAN 1.0 lets an `or` of nothing hold, an `any` over nothing, and a `not` or `!=` about a path
 * that does not resolve. Who signs one of them has most often made a mistake that widens, so it
 * is refused unless asked for. A path does resolve if it is one of those that every call has, if
 * each of its segments is optional, or if another statement beside it, all of which must hold,
 * could not hold without it. An optional segment at or behind `[]` makes nothing sure: there it
 * says nothing of each element, and of no elements nothing at all.
 *
 *     ["!=", ".args.state?", null]  ["!=", ".args.state", "closed"]
 *     ["!=", ".args.to", []]  ["!=", ".args.to", {}]  ["any", ".args.to", …]
 */

import { canonical, type Json } from "../token/canonical.ts";
import type { Policy, Statement } from "./pol.ts";
import type { Segment, Selector } from "./selector.ts";

/**
 * What the statements beside one another, and those around them, say of every call for which all
 * of them hold: paths that resolve, and which empty collections are not there.
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

  /** The same, and what this policy says if all of it holds, in whatever order it is said. */
  with(policy: Policy): Known {
    const known = new Known(this);
    // Again for what follows from what came later; at most once for each segment of a path.
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

  /** The path resolves, and so does all on the way to it, as far as it is one path. */
  #reaches(selector: Selector): void {
    const reached = isLoose(selector) ? selector.slice(0, firstEach(selector)) : selector;
    for (const index of reached.keys()) this.#own.add(path(selector.slice(0, index + 1)));
  }
}

/** The members that everything a policy is evaluated over has. */
const CALL = new Known(undefined, ['."cmd"', '."resource"', '."args"']);

/** Of an element nothing is known but that it is there. */
const ELEMENT = new Known();

const OR = "an `or` of nothing holds for every call";
const ANY = 'holds for an empty collection; put ["!=", path, []] and ["!=", path, {}] before it';
const NOT = 'holds where its path is missing; put ["!=", "<path>?", null] before it';

/** Why a statement of the policy may hold over nothing, with its place; undefined if none may. */
export function vacuous(policy: Policy): string | undefined {
  const found = inAll(policy, CALL, "pol");
  return found && `${found}, or sign it with allow_vacuous`;
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

/** Whether the statement could fail to hold only because a path of it does not resolve. */
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

/** Not so an equality with null, which an optional path is where there is nothing. */
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

/** Whether the path resolves in every call of which so much is known. */
function isSure(selector: Selector, known: Known): boolean {
  return (
    !isLoose(selector) &&
    selector.every(
      ({ optional }, index) => optional || known.has(path(selector.slice(0, index + 1))),
    )
  );
}

/** Whether something is optional in each of several elements, or it is optional that there are. */
function isLoose(selector: Selector): boolean {
  return selector.slice(firstEach(selector)).some(({ optional }) => optional);
}

function firstEach(selector: Selector): number {
  const index = selector.findIndex(({ kind }) => kind === "each");
  return index === -1 ? selector.length : index;
}

/** A quantifier itself says that there is a collection; this says that it is not an empty one. */
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
