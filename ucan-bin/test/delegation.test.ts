import { expect, test } from "vitest";

import { readDelegation, termsOf } from "../src/token/delegation.ts";
import type { JsonObject } from "../src/token/canonical.ts";
import { delegation, sealed } from "./tokens.ts";

test("what was signed is read back, with what it means", () => {
  const meta = { resource_constraint: { provider: "github" }, approval: null };
  const claims = delegation({ meta, pol: [["==", ".cmd", "/github/issue"]] });
  expect(readDelegation(sealed("delegation", claims))).toMatchObject({
    claims,
    constraint: meta.resource_constraint,
    approved: true,
    policy: [{ op: "==", value: "/github/issue" }],
  });
});

test.each([true, false, null, 0, "true", []])("what says forkable: %j is so if true", (forkable) => {
  expect(termsOf(delegation({ meta: { forkable } }))).toMatchObject({ forkable: forkable === true });
});

test("without meta there is neither constraint nor approval", () => {
  const { meta: _, ...bare } = delegation();
  expect(termsOf(bare)).toEqual({
    ...{ policy: [], constraint: undefined },
    ...{ approved: false, forkable: true, before: 0 },
  });
  expect(termsOf(delegation({ meta: {} }))).toMatchObject({ approved: false });
});

test("what a root took the place of is its word, or one for each cid it names", () => {
  const prf = ["0".repeat(64), "1".repeat(64)];
  const before = (meta: JsonObject): unknown => termsOf(delegation({ prf, meta }));
  expect(before({})).toMatchObject({ before: 2 });
  expect(before({ lineage: {} })).toMatchObject({ before: 2 });
  expect(before({ lineage: { depth: 5 } })).toMatchObject({ before: 5 });
  expect(before({ lineage: { depth: 0 } })).toMatchObject({ before: 0 });
});
