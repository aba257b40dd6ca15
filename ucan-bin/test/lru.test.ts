import { expect, test } from "vitest";

import { LruCache } from "../src/token/lru.ts";

test("what was used longest ago goes first", () => {
  const recent = new LruCache<number>(2);
  recent.set("a", 1);
  recent.set("b", 2);
  expect(recent.get("a")).toBe(1);
  recent.set("c", 3);
  expect([recent.get("a"), recent.get("b"), recent.get("c")]).toEqual([1, undefined, 3]);
});

test("setting again replaces, and makes it the newest", () => {
  const recent = new LruCache<number>(2);
  for (const [name, value] of [
    ["a", 1],
    ["b", 2],
    ["a", 3],
    ["c", 4],
  ] as const)
    recent.set(name, value);
  expect([recent.get("a"), recent.get("b"), recent.get("c")]).toEqual([3, undefined, 4]);
});

test("no room is made for what was looked up in vain", () => {
  const recent = new LruCache<number>(2);
  recent.set("a", 1);
  expect(recent.get("x")).toBeUndefined();
  recent.set("b", 2);
  expect([recent.get("a"), recent.get("b")]).toEqual([1, 2]);
});
