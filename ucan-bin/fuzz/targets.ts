/** What is fuzzed, and what must be true of it whatever the input. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { readdirSync, readFileSync } from "node:fs";

import { Refusal } from "../src/refusal.ts";
import { encode, encodeText } from "../src/token/base64url.ts";
import { canonical, equal, isObject, nestingOf, parse } from "../src/token/canonical.ts";
import { MAX_NESTING, type Json } from "../src/token/canonical.ts";
import { readDelegation } from "../src/token/delegation.ts";
import { didOf, keyOf } from "../src/token/did_key.ts";
import { readInvocation } from "../src/token/invocation.ts";
import { HEADERS, open, type Envelope, type Kind } from "../src/token/jwt.ts";
import { commandsLeft } from "../src/verify/commands.ts";
import { failedStatement } from "../src/verify/evaluate.ts";
import { matches, parsePattern } from "../src/verify/like.ts";
import { verify } from "../src/verify/verify.ts";
import { parsePolicy, type Policy } from "../src/verify/pol.ts";
import { EvaluationBudget, BudgetExceeded } from "../src/verify/budget.ts";
import { covers, isConstraint } from "../src/verify/resource.ts";
import { MAX_SEGMENTS, parseSelector, select } from "../src/verify/selector.ts";
import { excess } from "../src/verify/excess.ts";
import { vacuous } from "../src/verify/vacuous.ts";
import { ISSUER, PLANNER, sealedText, SERVICE, verifyRequest } from "../test/tokens.ts";
import { answers } from "../test/loop.ts";
import type { Target } from "./engine.ts";

/** Steps that an evaluation may take here; so that every input is quick. */
const STEPS = 20_000;

/** The targets, with seeds from the cases in `folder`. */
export function targets(folder: URL): Target[] {
  const lines = linesIn(folder);
  const found = lines.flatMap((line) => line.match(/eyJ[\w-]+\.[\w-]+\.[\w-]+/g) ?? []);
  const tokens = [...new Set(found)];
  const payloads = tokens.map(payloadOf);
  return [
    { name: "parse", seeds: [...payloads, ...TEXTS], run: parses },
    { name: "open", seeds: tokens, run: opens },
    { name: "delegation", seeds: payloads, run: (text) => reads("delegation", text) },
    { name: "invocation", seeds: payloads, run: (text) => reads("invocation", text) },
    { name: "key", seeds: [ISSUER.did, PLANNER.did, "did:key:z6Mk", "did:key:zQ3s"], run: names },
    { name: "selector", seeds: SELECTORS.map((text) => `${text}\n${VALUE}`), run: selects },
    { name: "policy", seeds: POLICIES.map((text) => `${text}\n${SUBJECT}`), run: decides },
    { name: "like", seeds: GLOBS, run: fits },
    { name: "resource", seeds: RESOURCES, run: contains },
    { name: "line", seeds: lines, run: answersOnce },
  ];
}

const TEXTS = [
  '{"a":[1,1.5,-0,1e21,1e-7],"é":"\\u0000\\ud83d\\ude00","10":{},"9":[]}',
  '[[[[[[]]]]],"\\\\\\"",{"__proto__":null},true,false]',
];
const VALUE =
  '{"a":{"b":[1,2,{"c":null}]},"t":"h\\u00e9\\ud83d\\ude00","10":1,"9":2,' +
  '"y":{"/":{"bytes":"AAEC"}}}';
const SELECTORS = [
  ...[".", ".a.b", '.["a"]["b"][0]', ".a.b[-1].c", ".t[0]", ".t[1:-1]", ".y[0:2]"],
  ...[".a.b[]", ".a[][]?", ".x?.y?", ".[]?", ".a.b[1:]", ".a.b[:1]?", ".a.b[].c?"],
];
const SUBJECT =
  '{"cmd":"/a/b","resource":{"owner":"acme"},"args":{"n":1,"to":["x","y"],"s":"abc"}}';
const POLICIES = [
  '[["==",".cmd","/a/b"]]',
  '[["!=",".args.s?",null],["!=",".args.s","x"],["<",".args.n",2],[">=",".args.n",1]]',
  '[["or",[["==",".cmd","/a"],["==",".cmd","/a/b"]]],["not",["like",".args.s","b*"]]]',
  '[["all",".args.to",["like",".","*"]],["any",".args.to",["and",[["==",".","y"]]]]]',
];
const GLOBS = ["a*b\naxxb", "*abab*c\nabaabababc", "\\**\n*a", "*\n", "a*a*a\naaa"];
const RESOURCES = [
  '{"owner":"acme"}\n{"owner":"acme","repo":"app"}',
  '{"path":"a/b"}\n{"path":"a/b/c"}',
  '{"path":""}\n{"path":"a","x":[1,{"y":2}]}',
];

function linesIn(folder: URL): string[] {
  interface Cases {
    readonly cases: { readonly line?: string }[];
  }
  return readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .flatMap((name) => {
      const { cases }: Cases = JSON.parse(readFileSync(new URL(name, folder), "utf8"));
      return cases.flatMap(({ line }) => (line === undefined ? [] : [line]));
    });
}

function payloadOf(token: string): string {
  return Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8");
}

function parses(text: string): void {
  const value = parse(text, MAX_NESTING);
  if (value instanceof Refusal) {
    assert.equal(value.code, "invalid_request");
    return;
  }
  assert.ok(equal(value, JSON.parse(text)), "the platform reads another value");
  assert.ok(nestingOf(value) <= MAX_NESTING);
  const once = canonical(value);
  assert.equal(once, inOneForm(value));
  const again = parse(once, MAX_NESTING);
  assert.ok(!(again instanceof Refusal), "a canonical text is refused");
  assert.ok(equal(again, value), "the canonical text is of another value");
  assert.equal(canonical(again), once);
}

/** RFC 8785, as plainly as can be. */
function inOneForm(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(inOneForm).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const members = Object.keys(value)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${inOneForm(value[name] as Json)}`);
  return `{${members.join(",")}}`;
}

function opens(token: string): void {
  for (const kind of Object.keys(HEADERS) as Kind[]) hasOneText(kind, token, open(kind, token));
}

/** A token that is read encodes back to the text that it came from. */
function hasOneText(kind: Kind, token: string, read: Envelope | Refusal): void {
  if (read instanceof Refusal) {
    assert.equal(read.code, "malformed_ucan");
    return;
  }
  const segments = [canonical(HEADERS[kind]), canonical(read.payload)].map(encodeText);
  assert.equal([...segments, encode(read.signature)].join("."), token);
}

/** A payload that is well signed is read if it is canonical and right, and then verifies or not. */
function reads(kind: "delegation" | "invocation", text: string): void {
  const by = kind === "delegation" ? ISSUER : PLANNER;
  const token = sealedText(kind, text, by);
  const read = kind === "delegation" ? readDelegation(token) : readInvocation(token);
  hasOneText(kind, token, read);
  const asked = kind === "delegation" ? { chain: [token] } : { invocation: token };
  const audience = kind === "delegation" ? {} : { audience: SERVICE.did };
  const answer = verify(verifyRequest({ ...asked, ...audience, trusted_issuers: [ISSUER.did] }));
  if (answer instanceof Refusal) return;
  assert.ok(!(read instanceof Refusal), "an unreadable token verifies");
  assert.equal(read.claims.iss, by.did);
  assert.ok(read.claims.exp > verifyRequest({}).now);
}

function names(did: string): void {
  const key = keyOf(did);
  if (key === undefined) return;
  const bytes = key.export({ format: "der", type: "spki" }).subarray(-32);
  assert.equal(didOf(bytes), did);
}

/** The two lines of an input, the second read as JSON if it is some. */
function twoOf(input: string): [string, Json | undefined] {
  const [first = "", ...rest] = input.split("\n");
  const value = parse(rest.join("\n"), MAX_NESTING);
  return [first, value instanceof Refusal ? undefined : value];
}

function selects(input: string): void {
  const [text, value] = twoOf(input);
  const selector = parseSelector(text);
  if (typeof selector === "string" || value === undefined) return;
  const found = bounded((reading) => select(selector, value, reading));
  if (found === COSTLY) return;
  if (found !== undefined) assert.equal(typeof canonical(found), "string");
  if (selector.length === 0 || selector.length === MAX_SEGMENTS) return;
  const deeper = parseSelector(`.inner${text}`);
  assert.ok(typeof deeper !== "string", "a path is none after another");
  const same = bounded((reading) => select(deeper, { inner: value }, reading));
  assert.ok(same === COSTLY || equal(same, found), "a path selects something else after another");
}

const COSTLY = Symbol("costly");

/** What `evaluate` returns within a small budget, which it keeps to. */
function bounded<T>(evaluate: (reading: EvaluationBudget) => T): T | typeof COSTLY {
  const reading = new EvaluationBudget(STEPS);
  try {
    const result = evaluate(reading);
    assert.ok(reading.steps <= STEPS);
    return result;
  } catch (error) {
    if (error instanceof BudgetExceeded) return COSTLY;
    throw error;
  }
}

function decides(input: string): void {
  const [text, subject] = twoOf(input);
  const pol = parse(text, MAX_NESTING);
  if (!Array.isArray(pol) || subject === undefined) return;
  const policy = parsePolicy(pol);
  if (typeof policy === "string") {
    assert.match(policy, /^pol\[/);
    return;
  }
  const broken = bounded((reading) => failedStatement(policy, subject, reading));
  if (broken === COSTLY) return;
  if (broken !== undefined) assert.ok(broken.field.startsWith(`pol[${broken.index}]`));
  const holds = broken === undefined;
  isAs([["and", pol]], subject, holds);
  isAs([["not", ["and", pol]]], subject, !holds);
  isAs([["or", [["and", pol]]]], subject, holds);
  isAs([["not", ["not", ["and", pol]]]], subject, holds);
  const left = commandsLeft(policy);
  const command = isObject(subject) ? subject["cmd"] : undefined;
  if (holds && left !== undefined && typeof command === "string") // as that of any call is
    assert.ok(left.has(command), "a policy holds for a command that it excludes");
  const found = vacuous(policy);
  assert.ok(found === undefined || found.startsWith("pol["));
  const stated = { policy, pol };
  assert.equal(excess(stated, stated), undefined, "a policy permits more than itself");
}

function isAs(pol: Json[], subject: Json, holds: boolean): void {
  const policy: Policy | string = parsePolicy(pol);
  assert.ok(typeof policy !== "string");
  const broken = bounded((reading) => failedStatement(policy, subject, reading));
  if (broken !== COSTLY) assert.equal(broken === undefined, holds, JSON.stringify(pol));
}

function fits(input: string): void {
  const [glob = "", text = ""] = input.split("\n").map((line) => line.slice(0, 80));
  assert.equal(matches(parsePattern(glob), text, new EvaluationBudget()), fitsPlainly(glob, text));
}

/** Whether a text fits a pattern, by trying every place for every star. */
function fitsPlainly(glob: string, text: string): boolean {
  const tokens = glob.match(/\\\*|[^]/g) ?? [];
  let ends = new Set([0]);
  for (const token of tokens) {
    const next = new Set<number>();
    for (const end of ends) {
      if (token === "*") for (let at = end; at <= text.length; at++) next.add(at);
      else if (text[end] === token.at(-1)) next.add(end + 1);
    }
    ends = next;
  }
  return ends.has(text.length);
}

function contains(input: string): void {
  const [a, b] = input.split("\n").map((line) => parse(line, MAX_NESTING));
  for (const value of [a, b])
    if (value === undefined || value instanceof Refusal || !isConstraint(value)) return;
  const [outer, inner] = [a, b] as [{ [name: string]: Json }, { [name: string]: Json }];
  assert.ok(covers(outer, outer) && covers(inner, inner), "it is not within itself");
  assert.ok(covers({}, inner));
  if (covers(outer, inner) && covers(inner, outer))
    assert.equal(canonical(outer), canonical(inner));
  const both = { ...inner, ...outer };
  assert.ok(covers(outer, both), "with more fields it is not within");
}

function answersOnce(input: string): void {
  const [line = ""] = input.split("\n");
  const given = answers([line, "\n"]) as { ok: boolean; more?: boolean; code?: string }[];
  assert.ok(given.length > 0);
  for (const [index, answer] of given.entries()) {
    assert.equal(typeof answer.ok, "boolean");
    assert.notEqual(answer.code, "internal");
    assert.equal(answer.more ?? false, index < given.length - 1);
  }
}
