import { expect, test } from "vitest";

import { readDelegation, type DelegationToken } from "../src/token/delegation.ts";
import { Refusal } from "../src/refusal.ts";
import { isWithin, narrowed, wrongLink } from "../src/verify/links.ts";
import { delegation, ISSUER, PLANNER, RESEARCHER, sealed } from "./forge.ts";

function read(token: string): DelegationToken {
  const link = readDelegation(token);
  if (link instanceof Refusal) throw new Error(link.message);
  return link;
}

const parent = read(
  sealed("delegation", delegation({ meta: { resource_constraint: { owner: "acme" } } })),
);

function child(changes: Parameters<typeof delegation>[0]): DelegationToken {
  const claims = delegation({
    iss: PLANNER.did,
    aud: RESEARCHER.did,
    prf: [parent.cid],
    ...changes,
  });
  return read(sealed("delegation", claims, PLANNER));
}

test("commands are beneath each other at segment boundaries", () => {
  expect(isWithin("/a/b", "/a/b")).toBe(true);
  expect(isWithin("/a/b/c", "/a/b")).toBe(true);
  expect(isWithin("/a/bc", "/a/b")).toBe(false);
  expect(isWithin("/a", "/a/b")).toBe(false);
});

test("a constraint is inherited until a link gives its own", () => {
  const own = child({ meta: { resource_constraint: { owner: "acme", repo: "app" } } });
  expect(narrowed(parent.constraint, child({}))).toEqual({ owner: "acme" });
  expect(narrowed(parent.constraint, own)).toEqual({ owner: "acme", repo: "app" });
  expect(narrowed(undefined, child({}))).toBeUndefined();
});

test("a link that says the same follows; a chain without a constraint takes any", () => {
  expect(wrongLink(child({}), parent, parent.constraint, ISSUER.did, false)).toBeUndefined();
  const own = child({ meta: { resource_constraint: { owner: "evil" } } });
  expect(wrongLink(own, parent, undefined, ISSUER.did, false)).toBeUndefined();
  expect(wrongLink(own, parent, parent.constraint, ISSUER.did, false)?.code).toBe(
    "chain_attenuation_violation",
  );
});

test("a foreign sub breaks the link, the root's does not", () => {
  expect(
    wrongLink(child({ sub: ISSUER.did }), parent, undefined, ISSUER.did, false),
  ).toBeUndefined();
  expect(wrongLink(child({ sub: PLANNER.did }), parent, undefined, ISSUER.did, false)?.code).toBe(
    "chain_invalid",
  );
});

test.each([
  ["none", []],
  ["another", ["f".repeat(64)]],
  ["the link before, and another", [parent.cid, "f".repeat(64)]],
  ["another, and the link before", ["f".repeat(64), parent.cid]],
])("prf that names %s is no link to the one before", (_, prf) => {
  expect(wrongLink(child({}), parent, undefined, ISSUER.did, false)).toBeUndefined();
  expect(wrongLink(child({ prf }), parent, undefined, ISSUER.did, false)).toMatchObject({
    code: "chain_invalid",
  });
});
