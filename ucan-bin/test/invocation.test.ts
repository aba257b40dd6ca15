import { describe, expect, test } from "vitest";

import type { Invocation } from "../src/protocol.gen.ts";
import { readInvocation, signInvocation, useOf } from "../src/token/invocation.ts";
import { codeOf, invocation, NOW, PLANNER, sealed } from "./forge.ts";

test("what was signed is read back, with the resource apart from the arguments", () => {
  const claims = invocation({ args: { resource: { provider: "github" }, state: "open" } });
  const signed = signInvocation(claims, PLANNER.secret);
  expect(readInvocation((signed as { jwt: string }).jwt)).toMatchObject({
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

describe("claims that mean nothing are refused, signed or not", () => {
  test.each<[string, Partial<Invocation>]>([
    ["exp at iat", { iat: NOW, exp: NOW }],
    ["longer than an hour", { iat: NOW, exp: NOW + 3661 }],
    ["no resource", { args: {} }],
    ["a resource that is text", { args: { resource: "github" } }],
  ])("%s", (_, changes) => {
    expect(codeOf(useOf(invocation(changes)))).toBe("malformed_ucan");
    expect(codeOf(readInvocation(sealed("invocation", invocation(changes))))).toBe(
      "malformed_ucan",
    );
  });
});

test("a payload of another shape is refused", () => {
  expect(codeOf(readInvocation(sealed("invocation", { a: 1 })))).toBe("malformed_ucan");
  expect(readInvocation("x")).toMatchObject({
    code: "malformed_ucan",
    message: expect.stringContaining("segments"),
  });
});
