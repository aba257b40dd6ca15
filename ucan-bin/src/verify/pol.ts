/**
 * Policies of UCAN 1.0: statements about a call, all of which must hold.
 *
 *     ["==", sel, value]  ["!=", sel, value]        equal JSON, or not equal
 *     ["<", sel, n]  "<="  ">"  ">="                numbers, compared exactly
 *     ["like", sel, glob]                           a text that matches a pattern
 *     ["and", [st…]]  ["or", [st…]]  ["not", st]
 *     ["all", sel, st]  ["any", sel, st]            of the elements of a list, or a map's values
 *
 * A policy is parsed once, when its token is read or signed, and evaluated afterwards
 * (`evaluate.ts`). An unknown operator refuses the token: skipping a statement that is not
 * understood would widen what the token allows.
 */

import type { Json } from "../token/canonical.ts";
import { parsePattern, type Pattern } from "./like.ts";
import { parseSelector, type Selector } from "./selector.ts";

export type Statement =
  | { readonly op: "==" | "!="; readonly selector: Selector; readonly value: Json }
  | { readonly op: Order; readonly selector: Selector; readonly value: number }
  | { readonly op: "like"; readonly selector: Selector; readonly pattern: Pattern }
  | { readonly op: "and" | "or"; readonly of: Policy }
  | { readonly op: "not"; readonly of: Statement }
  | { readonly op: "all" | "any"; readonly selector: Selector; readonly of: Statement };

export type Order = "<" | "<=" | ">" | ">=";

export type Policy = readonly Statement[];

/** Parse a policy, or return what is wrong with it. `at` names the list in messages. */
export function parsePolicy(pol: Json[], at = "pol"): Policy | string {
  const policy: Statement[] = [];
  for (const [index, item] of pol.entries()) {
    const statement = parseStatement(item, `${at}[${index}]`);
    if (typeof statement === "string") return statement;
    policy.push(statement);
  }
  return policy;
}

type Parser = (operands: Json[], at: string) => Statement | string;

const OPERATORS: ReadonlyMap<string, Parser> = new Map<string, Parser>([
  ["==", about((selector, value) => ({ op: "==", selector, value }), "value")],
  ["!=", about((selector, value) => ({ op: "!=", selector, value }), "value")],
  ["<", order("<")],
  ["<=", order("<=")],
  [">", order(">")],
  [">=", order(">=")],
  ["like", about(like, "pattern")],
  ["and", connective("and")],
  ["or", connective("or")],
  ["not", negation],
  ["all", about(quantifier("all"), "statement")],
  ["any", about(quantifier("any"), "statement")],
]);

function parseStatement(item: Json, at: string): Statement | string {
  if (!Array.isArray(item)) return `${at} is not a statement`;
  const [op, ...operands] = item;
  if (typeof op !== "string") return `${at}: a statement begins with an operator`;
  const parser = OPERATORS.get(op);
  if (parser !== undefined) return parser(operands, at);
  const known = [...OPERATORS.keys()].join(", ");
  return `${at}: the operator ${JSON.stringify(op.slice(0, 16))} is not one of ${known}`;
}

/** For a selector and one operand; `undefined` means that the operand is not a `what`. */
type Make = (selector: Selector, operand: Json, at: string) => Statement | string | undefined;

function about(make: Make, what: string): Parser {
  return (operands, at) => {
    const [path, operand] = operands;
    if (operands.length !== 2 || typeof path !== "string" || operand === undefined)
      return `${at} is not [operator, selector, ${what}]`;
    const selector = parseSelector(path);
    if (typeof selector === "string") return `${at}: ${selector}`;
    return make(selector, operand, at) ?? `${at} is not [operator, selector, ${what}]`;
  };
}

function order(op: Order): Parser {
  return about(
    (selector, value) => (typeof value === "number" ? { op, selector, value } : undefined),
    "number",
  );
}

function like(selector: Selector, glob: Json): Statement | undefined {
  return typeof glob === "string"
    ? { op: "like", selector, pattern: parsePattern(glob) }
    : undefined;
}

function quantifier(op: "all" | "any"): Make {
  return (selector, item, at) => {
    const of = parseStatement(item, `${at}[2]`);
    return typeof of === "string" ? of : { op, selector, of };
  };
}

function negation(operands: Json[], at: string): Statement | string {
  const [item] = operands;
  if (operands.length !== 1 || item === undefined) return `${at} is not ["not", statement]`;
  const of = parseStatement(item, `${at}[1]`);
  return typeof of === "string" ? of : { op: "not", of };
}

function connective(op: "and" | "or"): Parser {
  return (operands, at) => {
    const [list] = operands;
    if (operands.length !== 1 || !Array.isArray(list))
      return `${at} is not ["${op}", [statements]]`;
    const of = parsePolicy(list, `${at}[1]`);
    return typeof of === "string" ? of : { op, of };
  };
}
