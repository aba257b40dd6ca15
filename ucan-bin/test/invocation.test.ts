import { expect, test } from "vitest";

import { readInvocation, useOf } from "../src/token/invocation.ts";
import { invocation, NOW, PLANNER, sealed } from "./tokens.ts";

test("what was signed is read back, with the resource apart from the arguments", () => {
  const claims = invocation({ args: { resource: { provider: "github" }, state: "open" } });
  expect(readInvocation(sealed("invocation", claims, PLANNER))).toMatchObject({
    claims,
    resource: { provider: "github" },
    args: { state: "open" },
  });
});

test("an argument named __proto__ is an argument", () => {
  const args = JSON.parse('{"resource":{},"__proto__":{"state":"open"}}');
  const use = useOf(invocation({ args }));
  expect(JSON.stringify(use)).toBe('{"resource":{},"args":{"__proto__":{"state":"open"}}}');
});

test("an hour and the minute before it are not too long", () => {
  expect(useOf(invocation({ iat: NOW, exp: NOW + 3660 }))).toHaveProperty("resource");
});
