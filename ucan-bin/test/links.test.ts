import { expect, test } from "vitest";

import { readDelegation, type DelegationToken } from "../src/token/delegation.ts";
import { Refusal } from "../src/refusal.ts";
import { isWithin, effectiveConstraint, checkLink } from "../src/verify/links.ts";
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
  expect(effectiveConstraint(parent.constraint, child({}))).toEqual({ owner: "acme" });
  expect(effectiveConstraint(parent.constraint, own)).toEqual({ owner: "acme", repo: "app" });
  expect(effectiveConstraint(undefined, child({}))).toBeUndefined();
});

test("a link that says the same follows; a chain without a constraint takes any", () => {
  expect(checkLink(child({}), parent, parent.constraint, ISSUER.did, false)).toBeUndefined();
  const own = child({ meta: { resource_constraint: { owner: "evil" } } });
  expect(checkLink(own, parent, undefined, ISSUER.did, false)).toBeUndefined();
  expect(checkLink(own, parent, parent.constraint, ISSUER.did, false)?.code).toBe(
    "chain_attenuation_violation",
  );
});

test("a foreign sub breaks the link, the root's does not", () => {
  expect(
    checkLink(child({ sub: ISSUER.did }), parent, undefined, ISSUER.did, false),
  ).toBeUndefined();
  expect(checkLink(child({ sub: PLANNER.did }), parent, undefined, ISSUER.did, false)?.code).toBe(
    "chain_invalid",
  );
});

test.each([
  ["none", []],
  ["another", ["f".repeat(64)]],
  ["the link before, and another", [parent.cid, "f".repeat(64)]],
  ["another, and the link before", ["f".repeat(64), parent.cid]],
])("prf that names %s is no link to the one before", (_, prf) => {
  expect(checkLink(child({}), parent, undefined, ISSUER.did, false)).toBeUndefined();
  expect(checkLink(child({ prf }), parent, undefined, ISSUER.did, false)).toMatchObject({
    code: "chain_invalid",
  });
});
