/**
 * Narrowing as a law, over random chains in a small world: what `fork` signs verifies and allows
 * no call that its chain did not; what is wider it refuses, and so does every verifier if a
 * hostile parent signs it with a program of its own.
 */

import { Buffer } from "node:buffer";
import { expect, test } from "vitest";

import { fork } from "../src/fork.ts";
import type { Delegation, ForkLink } from "../src/protocol.gen.ts";
import { Refusal } from "../src/refusal.ts";
import type { Json, JsonObject } from "../src/token/canonical.ts";
import { cidOf } from "../src/token/jwt.ts";
import { verify } from "../src/verify/verify.ts";
import { delegation, forkRequest, HERE, invocation, ISSUER, NOW } from "./tokens.ts";
import { PLANNER, RESEARCHER, sealed, SERVICE, verifyRequest, type Party } from "./tokens.ts";

const TREES = 250;
const MAX_DEPTH = 5;

/** What a chain gives, by the rules as a reader of the specification would write them down. */
interface Given {
  readonly chain: string[];
  readonly cmd: string;
  readonly constraint: JsonObject | undefined;
  readonly exp: number;
  readonly depth: number;
}

const COMMANDS = ["/a", "/a/b", "/a/b/c", "/a/bc", "/d"];
const CONSTRAINTS: (JsonObject | undefined)[] = [
  undefined,
  {},
  { owner: "x" },
  { owner: "y" },
  { owner: "x", repo: "r" },
  { owner: "x", path: "src" },
  { owner: "x", path: "src/lib" },
  { owner: "x", path: "srcs" },
];
const WITHIN_MOST: JsonObject = { owner: "x", repo: "r", path: "src/lib/a" };
const RESOURCES: JsonObject[] = [
  {},
  { owner: "x" },
  WITHIN_MOST,
  { owner: "x", path: "src/lib" },
  { owner: "x", path: "srcs" },
  { owner: "y", path: "src" },
];
const POLICIES: Json[][] = [
  [],
  [],
  [],
  [["==", ".cmd", "/a/b"]],
  [
    [
      "or",
      [
        ["==", ".cmd", "/a/b/c"],
        ["==", ".cmd", "/a/bc"],
      ],
    ],
  ],
  [["==", ".args.n", 1]],
  [
    [
      "or",
      [
        ["==", ".args.n", 2],
        ["==", ".resource.owner", "x"],
      ],
    ],
  ],
];

/** mulberry32: the same numbers in every run. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

type Pick = <T>(of: readonly T[]) => T;

function rooted(pick: Pick, holder: Party): Given {
  const [cmd, constraint, exp] = [pick(COMMANDS), pick(CONSTRAINTS), NOW + pick([50, 300])];
  const before = pick([0, 0, 1, 2]);
  const meta = {
    ...HERE,
    lineage: { depth: before },
    ...(constraint && { resource_constraint: constraint }),
  };
  const claims = delegation({ aud: holder.did, cmd, exp, meta, pol: pick(POLICIES) });
  return { chain: [sealed("delegation", claims)], cmd, constraint, exp, depth: before + 1 };
}

/** Often what the holder has, so that chains grow; otherwise anything. */
function asked(pick: Pick, given: Given): ForkLink {
  const constraint = pick([undefined, given.constraint, pick(CONSTRAINTS)]);
  const exp = pick([undefined, given.exp, NOW + 10, NOW + 400]);
  return {
    ...{ chain: 0, cmd: pick([given.cmd, pick(COMMANDS)]), pol: pick(POLICIES), nonce: "n" },
    ...(constraint && { constraint }),
    ...(exp !== undefined && { exp }),
  };
}

function isBelow(inner: string, outer: string): boolean {
  return `${inner}/`.startsWith(outer === "" ? "" : `${outer}/`);
}

function lies(inner: JsonObject, outer: JsonObject): boolean {
  return Object.keys(outer).every((field) =>
    field === "path"
      ? typeof inner["path"] === "string" && isBelow(inner["path"], String(outer["path"]))
      : inner[field] === outer[field],
  );
}

function isWider({ cmd, constraint, exp }: ForkLink, given: Given): boolean {
  return (
    !isBelow(cmd, given.cmd) ||
    (exp ?? 0) > given.exp ||
    (constraint !== undefined &&
      given.constraint !== undefined &&
      !lies(constraint, given.constraint))
  );
}

/** One parent, one child, and what the one asks to hand to the other. */
interface Step {
  readonly given: Given;
  readonly link: ForkLink;
  readonly holder: Party;
  readonly child: Party;
}

/** The link as a hostile parent signs it; made here, because the law is about random requests. */
function forged({ given: { chain, exp: end }, link, holder, child }: Step): string {
  const { cmd, pol, nonce, constraint, exp = end } = link;
  const claims: Delegation = {
    ...{ iss: holder.did, aud: child.did, cmd, pol, nonce, nbf: NOW - 60, exp },
    prf: [cidOf(chain.at(-1)!)],
    ...(constraint && { meta: { resource_constraint: constraint } }),
  };
  return sealed("delegation", claims, holder);
}

function verdict(chain: string[], { did }: Party): unknown {
  const how = { trusted_issuers: [ISSUER.did], audience: did, max_depth: MAX_DEPTH };
  return verify(verifyRequest({ chain, ...how }));
}

interface Act {
  readonly cmd: string;
  readonly resource: JsonObject;
  readonly n: number;
}

function isAllowed(chain: string[], holder: Party, { cmd, resource, n }: Act): boolean {
  const claims = { iss: holder.did, cmd, args: { resource, n }, exp: NOW + 5, prf: chain };
  const token = sealed("invocation", invocation(claims), holder);
  const how = { invocation: token, audience: SERVICE.did, trusted_issuers: [ISSUER.did] };
  return !(verify(verifyRequest({ ...how, max_depth: MAX_DEPTH })) instanceof Refusal);
}

/** The longer chain, or the code of the refusal. */
function forked({ given: { chain }, link, holder, child }: Step): string[] | string {
  const children = [{ aud: child.did, links: [link] }];
  const request = forkRequest({ key: holder.did, chains: [chain], max_depth: MAX_DEPTH, children });
  const answer = fork(request, holder.secret, (size) => Buffer.alloc(size));
  return answer instanceof Refusal
    ? answer.code
    : [...chain, [...answer][0]!.children[0]!.links[0]!.jwt];
}

/** What the rules say of a step, independent of its signer. */
function outcome({ given, link }: Step, answer: string[] | string): Outcome {
  if (given.depth >= MAX_DEPTH) return "chain_too_deep";
  if (isWider(link, given)) return "chain_attenuation_violation";
  return typeof answer === "string" ? "idle" : "signed";
}

type Outcome = "signed" | "idle" | "chain_too_deep" | "chain_attenuation_violation";

/** Some seconds of work; many more only where the machine is busy with others. */
const PATIENCE = { timeout: 120_000 };

test("whatever is forked from whatever, the child may do less or the same", PATIENCE, () => {
  const next = numbers(4);
  const pick: Pick = (of) => of[Math.floor(next() * of.length)]!;
  const seen = { signed: 0, idle: 0, chain_too_deep: 0, chain_attenuation_violation: 0 };
  const calls = { allowed: 0, lost: 0 };

  for (let tree = 0; tree < TREES; tree++) {
    let [holder, child] = [PLANNER, RESEARCHER];
    let given = rooted(pick, holder);
    for (let size = 0; size < 6; size++) {
      const step = { given, link: asked(pick, given), holder, child };
      const hostile = [...given.chain, forged(step)];
      const answer = forked(step);
      const found = outcome(step, answer);
      seen[found]++;
      if (typeof answer !== "string") {
        expect(found).toBe("signed");
        expect(verdict(answer, child)).toMatchObject({ depth: given.depth + 1 });
        for (let tries = 0; tries < 4; tries++) {
          const act = { cmd: pick(COMMANDS), resource: pick(RESOURCES), n: pick([1, 2]) };
          const [was, is] = [isAllowed(given.chain, holder, act), isAllowed(answer, child, act)];
          if (is) expect(was).toBe(true);
          if (was) calls[is ? "allowed" : "lost"]++;
        }
        const { cmd, constraint = given.constraint, exp = given.exp } = step.link;
        given = { chain: answer, cmd, constraint, exp, depth: given.depth + 1 };
        [holder, child] = [child, holder];
      } else if (found === "idle") {
        // Policies leave nothing of the command, or of what is requested: a verifier takes the link
        // and never obeys it.
        expect(answer).toBe("chain_attenuation_violation");
        expect(verdict(hostile, child)).not.toBeInstanceOf(Refusal);
        for (const cmd of COMMANDS) {
          for (const n of [1, 2])
            expect(isAllowed(hostile, child, { cmd, resource: WITHIN_MOST, n })).toBe(false);
        }
      } else {
        expect(answer).toBe(found);
        expect(verdict(hostile, child)).toHaveProperty("code", found);
      }
    }
  }
  // The world is one in which every outcome is common.
  expect(Math.min(...Object.values(seen), ...Object.values(calls))).toBeGreaterThan(60);
});
