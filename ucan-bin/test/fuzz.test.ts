/** A few seconds of the fuzzer, always the same inputs; `npm run fuzz` goes on, led by branches. */

import { expect, test } from "vitest";

import { fuzz } from "../fuzz/engine.ts";
import { targets } from "../fuzz/targets.ts";

const VECTORS = new URL("../../tests/vectors/", import.meta.url);

test("nothing is found", { timeout: 120_000 }, () => {
  const report = fuzz(targets(VECTORS), { seed: 20261121, executions: 20_000 });
  expect(report.found).toEqual([]);
  expect(report.executions).toBeGreaterThanOrEqual(20_000);
});

test("what is wrong is found, with the input that shows it", () => {
  const fragile = {
    name: "fragile",
    seeds: ["{}"],
    run: (input: string) => {
      if (input.includes("[")) throw new Error("a bracket");
    },
  };
  const { found } = fuzz([fragile], { seed: 1, executions: 10_000 });
  expect(found.length).toBe(20);
  expect(found[0]).toMatchObject({ target: "fragile", input: expect.stringContaining("[") });
});

test("inputs that take new branches are kept", () => {
  const hits = new Uint32Array(4);
  const counting = {
    name: "counting",
    seeds: [""],
    run: (input: string) => {
      hits[0]! += input.length;
    },
  };
  const { targets: reports, taken } = fuzz([counting], { seed: 1, executions: 500, hits });
  expect(reports[0]).toMatchObject({ name: "counting", executions: 500, taken: 1 });
  expect(reports[0]!.corpus).toBeGreaterThan(3);
  expect(taken).toBe(1);
});
