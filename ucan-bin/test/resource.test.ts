import { describe, expect, test } from "vitest";

import type { Json, JsonObject } from "../src/token/canonical.ts";
import { covers, isConstraint } from "../src/verify/resource.ts";

describe("a constraint covers what has its fields", () => {
  test.each<[JsonObject, JsonObject, boolean]>([
    [{}, {}, true],
    [{}, { owner: "acme" }, true],
    [{ owner: "acme" }, { owner: "acme", repo: "app" }, true],
    [{ owner: "acme" }, { owner: "Acme" }, false],
    [{ owner: "acme" }, {}, false],
    [{ n: 1 }, { n: "1" }, false],
    [{ a: ["x"] }, { a: ["x"] }, true],
    [{ toString: 1 }, {}, false],
    [{ path: "" }, { path: "" }, true],
    [{ path: "" }, { path: "a/b" }, true],
    [{ path: "a" }, { path: "a" }, true],
    [{ path: "a" }, { path: "a/b/c" }, true],
    [{ path: "a/b" }, { path: "a" }, false],
    [{ path: "a" }, { path: "ab" }, false],
    [{ path: "a" }, { path: "" }, false],
    [{ path: "a" }, { path: "b/a" }, false],
    [{ path: "a" }, { path: "a/../b" }, false],
    [{ path: "" }, { path: "/etc" }, false],
    [{ path: "" }, { path: "a//b" }, false],
    [{ path: "" }, { path: 7 }, false],
    [{ path: "" }, {}, false],
    [{ path: ".." }, { path: "../a" }, false],
  ])("%j, %j: %s", (outer, inner, covered) => {
    expect(covers(outer, inner)).toBe(covered);
  });
});

describe("a constraint is an object whose path is normalised", () => {
  test.each<[Json, boolean]>([
    [{}, true],
    [{ path: "" }, true],
    [{ path: "a/b.c/..d" }, true],
    [{ path: "/a" }, false],
    [{ path: "a/" }, false],
    [{ path: "a\\b" }, false],
    [{ path: "a\0" }, false],
    [{ path: "." }, false],
    [{ path: null }, false],
    [null, false],
    [[], false],
    ["github", false],
  ])("%j: %s", (value, right) => {
    expect(isConstraint(value)).toBe(right);
  });
});

test("a path that is not normalised covers nothing", () => {
  expect(covers({ path: "a//b" }, { path: "a//b" })).toBe(false);
  expect(covers({ path: "a//b" }, { path: "a" })).toBe(false);
  expect(covers({ path: "a" }, { path: "a/../b" })).toBe(false);
});
