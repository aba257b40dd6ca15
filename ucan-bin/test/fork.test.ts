/** What a holder may delegate, what it may not, and the message about it. */

import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";

import { fork } from "../src/fork.ts";
import type { AnswerOf, Delegation, Fork, ForkChild, ForkLink } from "../src/protocol.gen.ts";
import { Refusal, unknownKey } from "../src/refusal.ts";
import type { JsonObject } from "../src/token/canonical.ts";
import { readDelegation } from "../src/token/delegation.ts";
import { didOf } from "../src/token/did_key.ts";
import { keyPair } from "../src/token/ed25519.ts";
import { cidOf } from "../src/token/jwt.ts";
import { verify } from "../src/verify/verify.ts";
import { delegation, forkRequest, ISSUER, link, NOW, PLANNER } from "./tokens.ts";
import { RESEARCHER, sealed, SERVICE, verifyRequest } from "./tokens.ts";

type Line = Omit<AnswerOf["fork"], "id" | "ok">;

const ACME = { provider: "github", owner: "acme" };
const random = (bytes: number): Uint8Array => Buffer.alloc(bytes, 7);

function lines(request: Fork): Line[] {
  const answer = fork(request, PLANNER.secret, random);
  if (answer instanceof Refusal) throw new Error(`${answer.code}: ${answer.message}`);
  return [...answer];
}

function root(changes: Partial<Delegation> = {}): string {
  return sealed("delegation", delegation(changes));
}

/** What the one child of a fork is given: its links' claims. */
function claims(changes: Partial<ForkLink>, chain = [root()]): Delegation {
  const [line] = lines(asking([link(changes)], chain));
  const token = readDelegation(line!.children[0]!.links[0]!.jwt);
  if (token instanceof Refusal) throw new Error(token.message);
  return token.claims;
}

function asking(links: ForkLink[], ...chains: string[][]): Fork {
  return forkRequest({ chains, children: [{ aud: RESEARCHER.did, links }] });
}

function refusal(request: Fork): [string, string] {
  const answer = fork(request, PLANNER.secret, random);
  if (!(answer instanceof Refusal)) throw new Error("it was signed");
  return [answer.code, answer.message];
}

describe("what is signed", () => {
  const first = root({ meta: { resource_constraint: ACME, facts: { purpose: "x" } } });

  test("says what was asked, and nothing of the root's meta", () => {
    const constraint = { ...ACME, repo: "app" };
    const pol = [["==", ".args.state", "open"]];
    expect(claims({ constraint, pol, exp: NOW + 30 }, [first])).toEqual({
      iss: PLANNER.did,
      aud: RESEARCHER.did,
      sub: ISSUER.did,
      cmd: "/github/issue/list",
      pol,
      nonce: "f-1",
      nbf: NOW - 60,
      exp: NOW + 30,
      meta: { resource_constraint: constraint },
      prf: [cidOf(first)],
    });
  });

  test("inherits constraint and end where nothing narrower is asked", () => {
    const inherited = claims({ cmd: "/github/issue" }, [first]);
    expect(inherited).toMatchObject({ cmd: "/github/issue", exp: NOW + 300 });
    expect(inherited).not.toHaveProperty("meta");
  });

  test("begins a minute ago, no earlier than its chain, and never before time does", () => {
    expect(claims({}, [root({ nbf: NOW - 300 })]).nbf).toBe(NOW - 60);
    expect(claims({}, [root({ nbf: NOW - 10 })]).nbf).toBe(NOW - 10);
    const [line] = lines(forkRequest({ now: 5, chains: [[root({ nbf: 0 })]] }));
    expect(readDelegation(line!.children[0]!.links[0]!.jwt)).toHaveProperty("claims.nbf", 0);
  });

  test("is the new link alone, which verifies at the end of its chain", () => {
    const child = { aud: RESEARCHER.did, links: [link()] };
    const [line] = lines(forkRequest({ chains: [[first]], children: [child] }));
    const [signed] = line!.children[0]!.links;
    const chain = [first, signed!.jwt];
    expect(signed!.cid).toBe(cidOf(signed!.jwt));
    expect(verify(verifyRequest({ chain, trusted_issuers: [ISSUER.did] }))).toMatchObject({
      ...{ agent: RESEARCHER.did, depth: 2, cmd: "/github/issue/list", constraint: ACME },
      cids: chain.map(cidOf),
    });
  });

  test("several links of one child may narrow several chains, in the order asked", () => {
    const other = root({ cmd: "/filesystem", nonce: "n-2" });
    const links = [link({ chain: 1, cmd: "/filesystem/read" }), link(), link({ nonce: "f-2" })];
    const [{ children }] = lines(asking(links, [first], [other])) as [Line];
    const prfs = children[0]!.links.map(({ jwt }) => readDelegation(jwt));
    expect(prfs).toMatchObject([
      { claims: { cmd: "/filesystem/read", prf: [cidOf(other)] } },
      { claims: { prf: [cidOf(first)], nonce: "f-1" } },
      { claims: { prf: [cidOf(first)], nonce: "f-2" } },
    ]);
  });

  test("a vacuous policy only if asked for, a link without prf only if accepted", () => {
    const vacuous = asking([link({ pol: [["or", []]] })], [first]);
    expect(refusal(vacuous)[0]).toBe("vacuous_policy");
    expect(lines({ ...vacuous, allow_vacuous: true })).toHaveLength(1);
    const loose = sealed("delegation", delegation({ iss: PLANNER.did, aud: PLANNER.did }), PLANNER);
    const unlinked = asking([link()], [root(), loose]);
    expect(refusal(unlinked)[0]).toBe("chain_invalid");
    expect(lines({ ...unlinked, allow_missing_prf: true })).toHaveLength(1);
  });

  test("the bytes of a key that was made are erased", () => {
    const made = Buffer.alloc(32, 7);
    fork(forkRequest({ children: [{ links: [link()] }] }), PLANNER.secret, () => made);
    expect(made).toEqual(Buffer.alloc(32));
  });

  test("a child without a key gets one made for it, with its seed", () => {
    const child: ForkChild = { links: [link()] };
    const [line] = lines(forkRequest({ children: [child] }));
    const { aud, seed, links } = line!.children[0]!;
    expect(seed).toBe("07".repeat(32));
    expect(aud).toBe(didOf(keyPair(Buffer.from(seed!, "hex")).publicBytes));
    expect(readDelegation(links[0]!.jwt)).toHaveProperty("claims.aud", aud);
  });
});

describe("what is not signed, and why", () => {
  const narrow = root({
    meta: { resource_constraint: { ...ACME, path: "src" } },
    pol: [
      [
        "or",
        [
          ["==", ".cmd", "/github/issue/list"],
          ["==", ".cmd", "/github/issue/read"],
        ],
      ],
      ["==", ".args.state", "open"],
    ],
  });
  const at = "children[0].links[0]: ";
  const held = '{"owner":"acme","path":"src","provider":"github"}';

  test.each<[string, Partial<ForkLink>, string, string]>([
    [
      "the command above",
      { cmd: "/github" },
      "chain_attenuation_violation",
      "cmd /github is not within /github/issue, which the chain covers",
    ],
    [
      "a command that begins alike",
      { cmd: "/github/issues" },
      "chain_attenuation_violation",
      "cmd /github/issues is not within /github/issue, which the chain covers",
    ],
    [
      "a command that pol leaves out",
      { cmd: "/github/issue/create" },
      "chain_attenuation_violation",
      'cmd /github/issue/create covers none of ["/github/issue/list","/github/issue/read"], ' +
        "to which pol restricts the chain",
    ],
    [
      "under a command that pol names",
      { cmd: "/github/issue/list/all" },
      "chain_attenuation_violation",
      "to which pol restricts the chain",
    ],
    [
      "a later end",
      { exp: NOW + 301 },
      "chain_attenuation_violation",
      `exp ${NOW + 301} is later than ${NOW + 300}, when the chain ends`,
    ],
    [
      "an end that has come",
      { exp: NOW },
      "expired",
      `exp ${NOW} is not later than now, which is ${NOW}`,
    ],
    [
      "a wider constraint",
      { constraint: ACME },
      "chain_attenuation_violation",
      `the constraint {"owner":"acme","provider":"github"} is not within ${held}, which the chain`,
    ],
    [
      "a constraint of nothing",
      { constraint: {} },
      "chain_attenuation_violation",
      `the constraint {} is not within ${held}`,
    ],
    [
      "a path with a way up",
      { constraint: { ...ACME, path: "src/.." } },
      "malformed_ucan",
      "its path is not normalised",
    ],
    [
      "a policy that is not understood",
      { pol: [["has", ".a", "b"]] },
      "malformed_ucan",
      'pol[0]: the operator "has" is not one of',
    ],
    [
      "a policy that always holds",
      { pol: [["and", [["or", []]]]] },
      "vacuous_policy",
      "an empty `or` holds",
    ],
    [
      "a name that is not NFC",
      { constraint: { ...ACME, path: "src", "e\u0301": 1 } },
      "malformed_ucan",
      "normalisation",
    ],
    [
      "a token that is too long",
      { constraint: { ...ACME, path: "src", x: "x".repeat(50_000) } },
      "too_large",
      "longer than 65536 bytes",
    ],
    ["a chain that is not there", { chain: 1 }, "invalid_request", "chain is 1, and 1 are given"],
  ])("%s", (_, changes, code, why) => {
    const [found, message] = refusal(asking([link(changes)], [narrow]));
    expect([found, message]).toEqual([code, expect.stringContaining(at)]);
    expect(message).toContain(why);
  });

  test("a long value is shown by its beginning", () => {
    const constraint = { provider: "x".repeat(1000) };
    const [, message] = refusal(asking([link({ constraint })], [narrow]));
    expect(message).toContain(`${'{"provider":"'.padEnd(256, "x")}… is not within`);
    expect(message.length).toBeLessThan(500);
    const odd = `${"x".repeat(256 - '{"provider":"'.length - 1)}\ud83d\ude00`;
    const [, cut] = refusal(asking([link({ constraint: { provider: odd } })], [narrow]));
    expect(cut.isWellFormed()).toBe(true);
  });

  test("anything of a chain that came from an approval", () => {
    const approved = root({ meta: { approval: { id: "env_1" } } });
    expect(refusal(asking([link()], [approved]))).toEqual([
      "chain_invalid",
      `${at}the chain comes from an approval, which is for one call only`,
    ]);
  });

  test("anything of a chain that is not forkable", () => {
    const fixed = root({ meta: { forkable: false } });
    expect(refusal(asking([link()], [fixed]))).toEqual([
      "chain_invalid",
      `${at}the chain has meta.forkable: false, because policy distinguishes agents: it cannot be ` +
        "delegated, and each agent has to ask the control plane for a grant of its own",
    ]);
  });

  test("deeper than allowed, with what the root took the place of", () => {
    const deep = (lineage: JsonObject): Fork => asking([link()], [root({ meta: { lineage } })]);
    expect(refusal(deep({ depth: 7 }))).toEqual([
      "chain_too_deep",
      `${at}the chain has 8 delegations of at most 8 already`,
    ]);
    expect(lines(deep({ depth: 6 }))).toHaveLength(1);
    expect(refusal({ ...forkRequest(), max_depth: 1 })[0]).toBe("chain_too_deep");
    expect(lines({ ...forkRequest(), max_depth: 2 })).toHaveLength(1);
  });

  test("for a key that is none", () => {
    const aud = `did:key:z6Mk${"1".repeat(44)}`;
    const children = [{ links: [link()] }, { aud, links: [link()] }];
    expect(refusal(forkRequest({ children }))).toEqual([
      "invalid_key",
      "children[1]: aud names no usable Ed25519 key",
    ]);
  });

  test("by a key that is not loaded", () => {
    const missing = unknownKey("it is not loaded");
    expect(fork(forkRequest(), missing, random)).toBe(missing);
  });
});

describe("the chains that are narrowed must verify", () => {
  const first = root();
  const foreign = root({ aud: SERVICE.did });
  test.each<[string, string[], string, number | undefined]>([
    ["an expired one", [root({ exp: NOW })], "expired", 0],
    ["an early one", [root({ nbf: NOW + 1 })], "not_yet_valid", 0],
    ["one for another key", [foreign], "audience_mismatch", 0],
    ["a broken one", [first, foreign], "chain_invalid", 1],
    ["one that is text", ["x"], "malformed_ucan", 0],
    // Forged here, because the message has the place in the fork's request.
    [
      "one with another's signature",
      [sealed("delegation", delegation(), SERVICE)],
      "bad_signature",
      0,
    ],
    ["one without a link", [], "chain_invalid", undefined],
    ["one too deep", Array<string>(9).fill(first), "chain_too_deep", 8],
  ])("%s", (_, chain, code, hop) => {
    const request = asking([link({ chain: 1 })], [first], chain);
    const answer = fork(request, PLANNER.secret, random);
    expect(answer).toMatchObject({ code, hop, message: expect.stringMatching(/^chains\[1\]: /) });
  });

  test("one that ends in an approval", () => {
    const meta = { approval: {} };
    const last = delegation({ iss: SERVICE.did, aud: PLANNER.did, prf: [cidOf(foreign)], meta });
    const chain = [foreign, sealed("delegation", last, SERVICE)];
    expect(verify(verifyRequest({ chain }))).toMatchObject({ depth: 2 });
    expect(refusal(asking([link()], chain))[0]).toBe("chain_invalid");
  });

  test("the others are not looked at", () => {
    expect(lines(asking([link()], [first], ["x"]))).toHaveLength(1);
  });

  test("the issuer of their root is not checked", () => {
    const own = sealed("delegation", delegation({ iss: PLANNER.did }), PLANNER);
    const [line] = lines(asking([link()], [own]));
    const chain = [own, line!.children[0]!.links[0]!.jwt];
    expect(verify(verifyRequest({ chain, trusted_issuers: [ISSUER.did] }))).toMatchObject({
      code: "untrusted_issuer",
    });
  });
});

describe("many at once", () => {
  const child = (nonce: number, links = 1): ForkChild => ({
    aud: RESEARCHER.did,
    links: Array.from({ length: links }, (_, n) => link({ nonce: `${nonce}-${n}` })),
  });

  test("are answered in lines of at most 256 links, all but the last of which say more", () => {
    const children = Array.from({ length: 1000 }, (_, n) => child(n));
    const found = lines(forkRequest({ children }));
    expect(found.map((line) => [line.children.length, line.more])).toEqual([
      [256, true],
      [256, true],
      [256, true],
      [232, false],
    ]);
    const nonces = found
      .flatMap((line) => line.children)
      .map(({ links }) => nonceOf(links[0]!.jwt));
    expect(nonces).toEqual(children.map(({ links }) => links[0]!.nonce));
  });

  test("a child is in one line with all of its links", () => {
    const children = [child(0, 200), child(1, 57), child(2, 199), child(3, 256)];
    const found = lines(forkRequest({ children }));
    expect(found.map((line) => line.children.map(({ links }) => links.length))).toEqual([
      [200],
      [57, 199],
      [256],
    ]);
  });

  test("a line is not much longer than a request may be", () => {
    const constraint = { provider: "github", x: "x".repeat(20_000) };
    const children = Array.from({ length: 40 }, () => ({ links: [link({ constraint })] }));
    const sizes = lines(forkRequest({ children })).map((line) => JSON.stringify(line).length);
    expect(sizes).toHaveLength(2);
    expect(Math.max(...sizes)).toBeLessThan(1024 * 1024);
  });

  test("more than a thousand links are too many, and 257 for one child", () => {
    expect(refusal(forkRequest({ children: Array(5).fill(child(0, 201)) }))).toEqual([
      "too_large",
      "1005 links; one fork has at most 1000",
    ]);
    expect(refusal(forkRequest({ children: [child(0), child(1, 257)] }))).toEqual([
      "too_large",
      "children[1]: has more than 256 links",
    ]);
  });

  test("all or none: the last link is checked before the first is signed", () => {
    const children = [...Array<ForkChild>(300).fill(child(0)), { links: [link({ cmd: "/a" })] }];
    expect(refusal(forkRequest({ children }))[1]).toMatch(/^children\[300\]\.links\[0\]: cmd/);
  });
});

function nonceOf(jwt: string): string {
  const token = readDelegation(jwt);
  return token instanceof Refusal ? token.message : token.claims.nonce;
}
