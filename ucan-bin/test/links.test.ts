import { expect, test } from "vitest";

import { readDelegation, type DelegationToken } from "../src/token/delegation.ts";
import { Refusal } from "../src/refusal.ts";
import { effectiveConstraint, isWithin } from "../src/verify/links.ts";
import { delegation, PLANNER, RESEARCHER, sealed } from "./tokens.ts";

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

test("a command is within another at segment boundaries", () => {
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
