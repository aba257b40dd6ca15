/** What each refusal of a token says: a sentence, the field, what it had to be, what it was. */

import { describe, expect, test } from "vitest";

import type { Delegation, Invocation, Verify } from "../src/protocol.gen.ts";
import { Refusal } from "../src/refusal.ts";
import type { Json, JsonObject } from "../src/token/canonical.ts";
import { didOf } from "../src/token/did_key.ts";
import { readInvocation } from "../src/token/invocation.ts";
import { cidOf } from "../src/token/jwt.ts";
import { checkClaims } from "../src/verify/invocation.ts";
import { readChain, verify } from "../src/verify/verify.ts";
import {
  delegation,
  HERE,
  invocation,
  ISSUER,
  NOW,
  PLANNER,
  RESEARCHER,
  sealed,
  SERVICE,
  verifyRequest,
} from "./forge.ts";

/** A did:key of the right form, whose point is of small order. */
const SMALL = didOf(Uint8Array.from({ length: 32 }, (_, index) => (index === 0 ? 1 : 0)));

const quoted = (value: Json): string => JSON.stringify(value);

function rootOf(changes: Partial<Delegation> = {}): string {
  return sealed("delegation", delegation(changes));
}

/** What the planner hands to the researcher. */
function childOf(parent: string, changes: Partial<Delegation> = {}): string {
  const claims = { iss: PLANNER.did, aud: RESEARCHER.did, prf: [cidOf(parent)], ...changes };
  return sealed("delegation", delegation(claims), PLANNER);
}

/** What the service is asked about the planner's use of a root. */
function used(changes: Partial<Invocation> = {}, root: Partial<Delegation> = {}): Partial<Verify> {
  const token = sealed("invocation", invocation({ prf: [rootOf(root)], ...changes }), PLANNER);
  return { invocation: token, audience: SERVICE.did, trusted_issuers: [ISSUER.did] };
}

/** A root's payload without any meta, as the hosted service writes it. */
function withoutMeta(): Delegation {
  const { meta: _, ...bare } = delegation();
  return bare;
}

/** What the service is asked about the researcher's use of what the planner handed on. */
function handedOn(root: JsonObject, link: JsonObject): Partial<Verify> {
  const first = rootOf({ meta: root });
  const use = invocation({ iss: RESEARCHER.did, prf: [first, childOf(first, { meta: link })] });
  const token = sealed("invocation", use, RESEARCHER);
  return { invocation: token, audience: SERVICE.did, trusted_issuers: [ISSUER.did] };
}

function told(changes: Partial<Verify>): object | undefined {
  const answer = verify(verifyRequest(changes));
  return answer instanceof Refusal ? answer.details : undefined;
}

interface Row {
  readonly asked: Partial<Verify>;
  readonly told: object;
}

const ROOT = rootOf();
const HELD = { resource_constraint: { owner: "acme" } };
const LIMITED = rootOf({ meta: HELD });
const BARE = delegation({ iss: PLANNER.did, aud: RESEARCHER.did });

describe("questions that cannot be answered", () => {
  const [token, call] = ["x", { cmd: "/a", resource: {}, args: {} }];
  const [trusted_issuers, audience] = [[ISSUER.did], SERVICE.did];
  test.each<[string, Partial<Verify>]>([
    ["give either invocation or chain", {}],
    ["give either invocation or chain", { invocation: token, chain: [token] }],
    [
      "give either call or requested",
      { invocation: token, trusted_issuers, audience, call, requested: { cmd: "/a", resource: {} } },
    ],
    ["call needs an invocation", { chain: [token], call }],
    [
      "an invocation is verified against trusted_issuers",
      { invocation: token, audience },
    ],
    ["an invocation is verified for an audience", { invocation: token, trusted_issuers }],
  ])("%s", (message, asked) => {
    expect(told(asked)).toEqual({ code: "invalid_request", message });
  });
});

const OF_A_CHAIN: Record<string, Row> = {
  "a chain of nothing": {
    asked: { chain: [] },
    told: { code: "chain_invalid", message: "the chain is empty" },
  },
  "an issuer that is no key": {
    asked: { chain: [rootOf({ iss: SMALL })] },
    told: {
      code: "malformed_ucan",
      message: "iss or aud names no usable Ed25519 key",
      hop: 0,
      field: "iss",
    },
  },
  "an audience that is no key": {
    asked: { chain: [rootOf({ aud: SMALL })] },
    told: {
      code: "malformed_ucan",
      message: "iss or aud names no usable Ed25519 key",
      hop: 0,
      field: "aud",
    },
  },
  "too early, by more than the leeway": {
    asked: { chain: [ROOT], now: NOW - 71, leeway: 10 },
    told: {
      code: "not_yet_valid",
      message: "the token is not valid yet by the verifier's clock",
      hop: 0,
      field: "nbf",
      wanted: `at most ${NOW - 61}`,
      found: `${NOW - 60}`,
    },
  },
  "too late, by the whole leeway": {
    asked: { chain: [ROOT], now: NOW + 310, leeway: 10 },
    told: {
      code: "expired",
      message: "the token has expired",
      hop: 0,
      field: "exp",
      wanted: `later than ${NOW + 300}`,
      found: `${NOW + 300}`,
    },
  },
  "an invocation that begins later": {
    asked: { ...used({ iat: NOW + 1 }), now: NOW },
    told: {
      code: "not_yet_valid",
      message: "the token is not valid yet by the verifier's clock",
      hop: 1,
      field: "iat",
      wanted: `at most ${NOW}`,
      found: `${NOW + 1}`,
    },
  },
  "another holder than expected": {
    asked: { chain: [ROOT], audience: RESEARCHER.did },
    told: {
      code: "audience_mismatch",
      message: "the chain ends in another key",
      hop: 0,
      field: "aud",
      wanted: quoted(RESEARCHER.did),
      found: quoted(PLANNER.did),
    },
  },
  "more links than allowed": {
    asked: { chain: [ROOT, childOf(ROOT)], max_depth: 1 },
    told: {
      code: "chain_too_deep",
      message: "the chain with its lineage has more than 1 delegations",
      hop: 1,
    },
  },
  "a lineage longer than any": {
    asked: { chain: [rootOf({ prf: Array(65).fill("0".repeat(64)) })] },
    told: {
      code: "chain_too_deep",
      message: "the root names more than 64 delegations in prf",
      hop: 0,
    },
  },
};

const OF_A_LINK: Record<string, Row> = {
  "a root whose sub is another": {
    asked: { chain: [rootOf({ sub: PLANNER.did })] },
    told: {
      code: "chain_invalid",
      message: "sub is not the issuer of the root",
      hop: 0,
      field: "sub",
      wanted: quoted(ISSUER.did),
      found: quoted(PLANNER.did),
    },
  },
  "a link by somebody else": {
    asked: { chain: [ROOT, rootOf({ prf: [cidOf(ROOT)] })] },
    told: {
      code: "chain_invalid",
      message: "the issuer is not the audience of the link before",
      hop: 1,
      field: "iss",
      wanted: quoted(PLANNER.did),
      found: quoted(ISSUER.did),
    },
  },
  "a link to another parent": {
    asked: { chain: [ROOT, childOf(ROOT, { prf: ["0".repeat(64)] })] },
    told: {
      code: "chain_invalid",
      message: "prf does not name the link before",
      hop: 1,
      field: "prf",
      wanted: quoted([cidOf(ROOT)]),
      found: quoted(["0".repeat(64)]),
    },
  },
  "a link to no parent": {
    asked: { chain: [ROOT, sealed("delegation", BARE, PLANNER)] },
    told: {
      code: "chain_invalid",
      message: "prf does not name the link before",
      hop: 1,
      field: "prf",
      wanted: quoted([cidOf(ROOT)]),
    },
  },
  "a link whose sub is another": {
    asked: { chain: [ROOT, childOf(ROOT, { sub: PLANNER.did })] },
    told: {
      code: "chain_invalid",
      message: "sub is not the issuer of the root",
      hop: 1,
      field: "sub",
      wanted: quoted(ISSUER.did),
      found: quoted(PLANNER.did),
    },
  },
  "a command beside that of the parent": {
    asked: { chain: [ROOT, childOf(ROOT, { cmd: "/github/issues" })] },
    told: {
      code: "chain_attenuation_violation",
      message: "cmd is not within that of the link before",
      hop: 1,
      field: "cmd",
      wanted: '"/github/issue" or under it',
      found: '"/github/issues"',
    },
  },
  "a later end": {
    asked: { chain: [ROOT, childOf(ROOT, { exp: NOW + 301 })] },
    told: {
      code: "chain_attenuation_violation",
      message: "exp is later than that of the link before",
      hop: 1,
      field: "exp",
      wanted: `at most ${NOW + 300}`,
      found: `${NOW + 301}`,
    },
  },
  "an earlier beginning": {
    asked: { chain: [ROOT, childOf(ROOT, { nbf: NOW - 61 })] },
    told: {
      code: "chain_attenuation_violation",
      message: "nbf is earlier than that of the link before",
      hop: 1,
      field: "nbf",
      wanted: `at least ${NOW - 60}`,
      found: `${NOW - 61}`,
    },
  },
  "another constraint": {
    asked: {
      chain: [LIMITED, childOf(LIMITED, { meta: { resource_constraint: { owner: "evil" } } })],
    },
    told: {
      code: "chain_attenuation_violation",
      message: "meta.resource_constraint is not within that of the links before",
      hop: 1,
      field: "meta.resource_constraint",
      wanted: 'within {"owner":"acme"}',
      found: '{"owner":"evil"}',
    },
  },
  "an approval handed on": {
    asked: (() => {
      const approved = rootOf({ meta: { approval: {} } });
      return { chain: [approved, childOf(approved)] };
    })(),
    told: {
      code: "chain_invalid",
      message: "a delegation that came from an approval cannot be delegated further",
      hop: 1,
      field: "meta.approval",
    },
  },
  "what is not forkable handed on": {
    asked: (() => {
      const fixed = rootOf({ meta: { forkable: false } });
      return { chain: [fixed, childOf(fixed)] };
    })(),
    told: {
      code: "chain_invalid",
      message: "the delegation before this link does not permit further delegation",
      hop: 1,
      field: "meta.forkable",
    },
  },
};

const ANCESTOR = "a".repeat(64);
const OF_TRUST: Record<string, Row> = {
  "an issuer who is not trusted": {
    asked: { chain: [ROOT], trusted_issuers: [PLANNER.did] },
    told: {
      code: "untrusted_issuer",
      message: "the root's issuer is not one that this service trusts",
      hop: 0,
      field: "iss",
      wanted: `one of ${quoted([PLANNER.did])}`,
      found: quoted(ISSUER.did),
    },
  },
  "a root by a revoked issuer": {
    asked: { chain: [ROOT], revoked: [ISSUER.did] },
    told: {
      code: "revoked",
      message: "the root's issuer is revoked",
      hop: 0,
      field: "iss",
      found: quoted(ISSUER.did),
    },
  },
  "an app that is revoked": {
    asked: { chain: [rootOf({ meta: { app_id: "app_1" } })], revoked: ["app_1"] },
    told: {
      code: "revoked",
      message: "the app that the root was granted to is revoked",
      hop: 0,
      field: "meta.app_id",
      found: '"app_1"',
    },
  },
  "an approval that is revoked": {
    asked: { chain: [rootOf({ meta: { approval: { id: "env_1" } } })], revoked: ["env_1"] },
    told: {
      code: "revoked",
      message: "the approval that the root was granted by is revoked",
      hop: 0,
      field: "meta.approval.id",
      found: '"env_1"',
    },
  },
  "the first agent of a lineage, revoked": {
    asked: { chain: [rootOf({ meta: { lineage: { root: "did:1" } } })], revoked: ["did:1"] },
    told: {
      code: "revoked",
      message: "the agent that the root comes from is revoked",
      hop: 0,
      field: "meta.lineage.root",
      found: '"did:1"',
    },
  },
  "an agent of a lineage that is revoked": {
    asked: { chain: [rootOf({ meta: { lineage: { invokedBy: ["did:1", 2, "did:3"] } } })], revoked: ["did:3"] },
    told: {
      code: "revoked",
      message: "an agent that the root came through is revoked",
      hop: 0,
      field: "meta.lineage.invokedBy",
      found: '"did:3"',
    },
  },
  "another app of a lineage that is revoked": {
    asked: { chain: [rootOf({ meta: { lineage: { apps: ["app_2"] } } })], revoked: ["app_2"] },
    told: {
      code: "revoked",
      message: "an app that the root came through is revoked",
      hop: 0,
      field: "meta.lineage.apps",
      found: '"app_2"',
    },
  },
  "a holder who is revoked": {
    asked: { chain: [ROOT, childOf(ROOT)], revoked: [RESEARCHER.did] },
    told: {
      code: "revoked",
      message: "the token's audience is revoked",
      hop: 1,
      field: "aud",
      found: JSON.stringify(RESEARCHER.did),
    },
  },
  "an ancestor that is revoked": {
    asked: { chain: [rootOf({ prf: ["b".repeat(64), ANCESTOR] })], revoked: [ANCESTOR] },
    told: {
      code: "revoked",
      message: "an ancestor of the root is revoked",
      hop: 0,
      field: "prf",
      found: quoted(ANCESTOR),
    },
  },
  "a link that is revoked": {
    asked: { chain: [ROOT, childOf(ROOT)], revoked: [cidOf(childOf(ROOT))] },
    told: {
      code: "revoked",
      message: "the token or its issuer is revoked",
      hop: 1,
      field: "cid",
      found: quoted(cidOf(childOf(ROOT))),
    },
  },
  "a link by somebody who is revoked": {
    asked: { chain: [ROOT, childOf(ROOT)], revoked: [PLANNER.did] },
    told: {
      code: "revoked",
      message: "the token or its issuer is revoked",
      hop: 1,
      field: "iss",
      found: quoted(PLANNER.did),
    },
  },
  "a revocation that is known, in a view that is too old": {
    asked: { chain: [ROOT], revoked: [cidOf(ROOT)], revocations_age: 6 },
    told: {
      code: "revoked",
      message: "the token or its issuer is revoked",
      hop: 0,
      field: "cid",
      found: quoted(cidOf(ROOT)),
    },
  },
  "a view that is too old": {
    asked: { chain: [ROOT], revocations_age: 6 },
    told: {
      code: "revocations_stale",
      message: "the view of revocations is 6 seconds old; at most 5 are allowed",
      field: "revocations_age",
      wanted: "at most 5",
      found: "6",
    },
  },
};

const OF_A_USE: Record<string, Row> = {
  "by somebody else": {
    asked: used({ iss: ISSUER.did, prf: [rootOf({ aud: ISSUER.did })] }, {}),
    told: { code: "bad_signature", message: "the signature is not the issuer's", hop: 1 },
  },
  "by another key than the holder's": {
    asked: used({ prf: [rootOf({ aud: RESEARCHER.did })] }),
    told: {
      code: "chain_invalid",
      message: "the invocation is not by the chain's last audience",
      hop: 1,
      field: "iss",
      wanted: quoted(RESEARCHER.did),
      found: quoted(PLANNER.did),
    },
  },
  "of another root": {
    asked: used({ sub: PLANNER.did }),
    told: {
      code: "chain_invalid",
      message: "sub is not the issuer of the root",
      hop: 1,
      field: "sub",
      wanted: quoted(ISSUER.did),
      found: quoted(PLANNER.did),
    },
  },
  "for another service": {
    asked: { ...used(), audience: ISSUER.did },
    told: {
      code: "audience_mismatch",
      message: "the invocation is for another service",
      hop: 1,
      field: "aud",
      wanted: quoted(ISSUER.did),
      found: quoted(SERVICE.did),
    },
  },
  "of another command": {
    asked: used({ cmd: "/github/issues/list" }),
    told: {
      code: "chain_attenuation_violation",
      message: "cmd is not within that of the chain",
      hop: 1,
      field: "cmd",
      wanted: '"/github/issue" or under it',
      found: '"/github/issues/list"',
    },
  },
  "on a chain for another service": {
    asked: used({}, { meta: { ...HERE, audience: ISSUER.did } }),
    told: {
      code: "audience_mismatch",
      message: "the chain is for another service",
      hop: 0,
      field: "meta.audience",
      wanted: quoted(SERVICE.did),
      found: quoted(ISSUER.did),
    },
  },
  "on a chain for a list of services": {
    asked: used({}, { meta: { ...HERE, audience: [SERVICE.did] } }),
    told: {
      code: "audience_mismatch",
      message: "the chain is for another service",
      hop: 0,
      field: "meta.audience",
      wanted: quoted(SERVICE.did),
      found: quoted([SERVICE.did]),
    },
  },
  "on a chain that names no service": {
    asked: used({}, { meta: { closed: true } }),
    told: {
      code: "audience_mismatch",
      message: "the chain does not name the service that it is for",
      hop: 0,
      field: "meta.audience",
      wanted: quoted(SERVICE.did),
    },
  },
  "on a chain without meta": {
    asked: used({ prf: [sealed("delegation", withoutMeta())] }),
    told: {
      code: "audience_mismatch",
      message: "the chain does not name the service that it is for",
      hop: 0,
      field: "meta.audience",
      wanted: quoted(SERVICE.did),
    },
  },
  "on a chain for a PDP": {
    asked: used({}, { meta: { audience: SERVICE.did } }),
    told: {
      code: "audience_mismatch",
      message: "the chain is for a PDP, which decides on each call by policy",
      hop: 0,
      field: "meta.closed",
      wanted: "true",
    },
  },
  "on a chain that is closed in another word": {
    asked: { ...used({}, { meta: { ...HERE, closed: "true" } }), allow_missing_prf: true, pdp: false },
    told: {
      code: "audience_mismatch",
      message: "the chain is for a PDP, which decides on each call by policy",
      hop: 0,
      field: "meta.closed",
      wanted: "true",
      found: '"true"',
    },
  },
  "on a chain for a PDP, closed below its root": {
    asked: handedOn({ audience: SERVICE.did }, { closed: true }),
    told: {
      code: "audience_mismatch",
      message: "the chain is for a PDP, which decides on each call by policy",
      hop: 0,
      field: "meta.closed",
      wanted: "true",
    },
  },
  "on a chain with a service named below its root alone": {
    asked: handedOn({ closed: true }, HERE),
    told: {
      code: "audience_mismatch",
      message: "the chain does not name the service that it is for",
      hop: 0,
      field: "meta.audience",
      wanted: quoted(SERVICE.did),
    },
  },
  "on a chain that was narrowed to another service": {
    asked: { ...handedOn(HERE, { audience: ISSUER.did }), pdp: true, allow_missing_prf: true },
    told: {
      code: "audience_mismatch",
      message: "the chain is for another service",
      hop: 1,
      field: "meta.audience",
      wanted: quoted(SERVICE.did),
      found: quoted(ISSUER.did),
    },
  },
  "for longer": {
    asked: used({ exp: NOW + 301 }),
    told: {
      code: "chain_attenuation_violation",
      message: "exp is later than that of the chain",
      hop: 1,
      field: "exp",
      wanted: `at most ${NOW + 300}`,
      found: `${NOW + 301}`,
    },
  },
  "of another resource": {
    asked: used({}, { meta: { ...HERE, ...HELD } }),
    told: {
      code: "resource_out_of_scope",
      message: "the resource is not within the chain's constraint",
      hop: 1,
      field: "args.resource",
      wanted: 'within {"owner":"acme"}',
      found: '{"provider":"github"}',
    },
  },
  "that a statement does not allow, deep in a long policy": {
    asked: used(
      { args: { resource: { provider: "github" }, n: 3 } },
      {
        pol: [
          ...Array<Json>(11).fill(["==", ".args.n", 3]),
          ["and", [["and", []], ["==", ".args.n", 4]]],
        ],
      },
    ),
    told: {
      code: "resource_out_of_scope",
      message: "pol[11] of this link does not hold",
      hop: 0,
      field: "pol[11][1][1]",
      wanted: '["==",".args.n",4]',
      found: "3",
      statement: ["==", ".args.n", 4],
    },
  },
  "that a statement finds nothing in": {
    asked: used({}, { pol: [["==", ".args.n", 4]] }),
    told: {
      code: "resource_out_of_scope",
      message: "pol[0] of this link does not hold",
      hop: 0,
      field: "pol[0]",
      wanted: '["==",".args.n",4]',
      statement: ["==", ".args.n", 4],
    },
  },
  "that a statement of 4096 characters does not allow, which is told in full": {
    asked: used({}, { pol: [["==", ".args.n", "x".repeat(4096 - 19)]] }),
    told: {
      code: "resource_out_of_scope",
      message: "pol[0] of this link does not hold",
      hop: 0,
      field: "pol[0]",
      wanted: `["==",".args.n","${"x".repeat(256 - 17)}…`,
      statement: ["==", ".args.n", "x".repeat(4096 - 19)],
    },
  },
  "that a longer statement does not allow": {
    asked: used({}, { pol: [["==", ".args.n", "x".repeat(4096 - 18)]] }),
    told: {
      code: "resource_out_of_scope",
      message: "pol[0] of this link does not hold",
      hop: 0,
      field: "pol[0]",
      wanted: `["==",".args.n","${"x".repeat(256 - 17)}…`,
    },
  },
};

const CALL = { cmd: "/github/issue/list", resource: { provider: "github" }, args: {} };
const LONG = "n".repeat(65);
const OF_A_CALL: Record<string, Row> = {
  "another command": {
    asked: { ...used(), call: { ...CALL, cmd: "/github/issue/read" } },
    told: {
      code: "resource_mismatch",
      message: "the call's command is not the signed one",
      hop: 1,
      field: "cmd",
      wanted: '"/github/issue/read"',
      found: '"/github/issue/list"',
    },
  },
  "another resource": {
    asked: { ...used(), call: { ...CALL, resource: { provider: "github", owner: "acme" } } },
    told: {
      code: "resource_mismatch",
      message: "the call's resource is not the signed one",
      hop: 1,
      field: "args.resource",
      wanted: '{"owner":"acme","provider":"github"}',
      found: '{"provider":"github"}',
    },
  },
  "another argument": {
    asked: {
      ...used({ args: { resource: { provider: "github" }, state: "open" } }),
      call: { ...CALL, args: { state: "closed" } },
    },
    told: {
      code: "resource_mismatch",
      message: 'the call\'s argument "state" is not the signed one',
      hop: 1,
      field: "args.state",
      wanted: '"closed"',
      found: '"open"',
    },
  },
  "no such argument": {
    asked: {
      ...used({ args: { resource: { provider: "github" }, [LONG]: 1 } }),
      call: CALL,
    },
    told: {
      code: "resource_mismatch",
      message: `the call is without the argument "${LONG.slice(1)}", which was signed`,
      hop: 1,
      field: `args.${LONG.slice(1)}`,
      found: "1",
    },
  },
  "a policy over the call": {
    asked: {
      ...used({}, { pol: [["!=", ".args.state", "closed"]] }),
      call: { ...CALL, args: { state: "closed" } },
    },
    told: {
      code: "resource_mismatch",
      message: "pol[0] of this link does not hold",
      hop: 0,
      field: "pol[0]",
      wanted: '["!=",".args.state","closed"]',
      found: '"closed"',
      statement: ["!=", ".args.state", "closed"],
    },
  },
};

const REQUESTED = { cmd: "/github/issue/list", resource: { owner: "acme" } };
const OF_A_WISH: Record<string, Row> = {
  "beyond the command": {
    asked: { chain: [ROOT], requested: { ...REQUESTED, cmd: "/github" } },
    told: {
      code: "chain_attenuation_violation",
      message: "the requested command is not within that of the chain",
      hop: 0,
      field: "cmd",
      wanted: '"/github/issue" or under it',
      found: '"/github"',
    },
  },
  "beyond the constraint": {
    asked: { chain: [LIMITED, childOf(LIMITED)], requested: { ...REQUESTED, resource: {} } },
    told: {
      code: "resource_out_of_scope",
      message: "the requested resource is not within the chain's constraint",
      hop: 1,
      field: "meta.resource_constraint",
      wanted: 'within {"owner":"acme"}',
      found: "{}",
    },
  },
  "from an approval": {
    asked: { chain: [rootOf({ meta: { approval: {} } })], requested: REQUESTED },
    told: {
      code: "chain_invalid",
      message: "a delegation that came from an approval is for one call only",
      hop: 0,
      field: "meta.approval",
    },
  },
};

for (const [about, rows] of Object.entries({
  "a chain": OF_A_CHAIN,
  "a link": OF_A_LINK,
  trust: OF_TRUST,
  "a use": OF_A_USE,
  "a call": OF_A_CALL,
  "a wish": OF_A_WISH,
})) {
  describe(`what is said of ${about}`, () => {
    test.each(Object.entries(rows))("%s", (_, row) => {
      expect(told(row.asked)).toEqual(row.told);
    });
  });
}

describe("a chain is good at its service", () => {
  const bare = { prf: [sealed("delegation", withoutMeta())] };
  test.each<[string, Partial<Verify>]>([
    ["which decides nothing by policy", used()],
    ["which is a PDP, though it is closed", { ...used(), pdp: true }],
    ["which is a PDP, so it may be open", { ...used({}, { meta: { audience: SERVICE.did } }), pdp: true }],
    ["when it was handed on", handedOn(HERE, {})],
    ["when it was handed on for that service", handedOn(HERE, { audience: SERVICE.did })],
    ["when it is of the hosted service", { ...used(bare), allow_missing_prf: true }],
    [
      "or at none, when something is asked for with it",
      {
        ...used({}, { meta: { audience: ISSUER.did } }),
        requested: { cmd: "/github/issue/list", resource: { provider: "github" } },
      },
    ],
    [
      "when it cannot be handed on, and was not",
      used({}, { meta: { ...HERE, forkable: false } }),
    ],
  ])("%s", (_, asked) => {
    expect(told(asked)).toBeUndefined();
  });
});

test("who asks for no audience is told of none", () => {
  const use = readInvocation(sealed("invocation", invocation(), PLANNER));
  const chain = readChain([ROOT], 8);
  if (use instanceof Refusal || chain instanceof Refusal) throw new Error("a fault");
  expect(checkClaims(use, chain, verifyRequest({}))?.details).toEqual({
    code: "audience_mismatch",
    message: "the invocation is for another service",
    hop: 1,
    field: "aud",
    found: quoted(SERVICE.did),
  });
});
