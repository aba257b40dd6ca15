import { expect, test } from "vitest";

import { badSignature, internal, malformed } from "../src/refusal.ts";

test("a refusal can point at a hop, and stays what it was", () => {
  const refusal = malformed("because");
  expect(refusal.at(3)).toEqual({ code: "malformed_ucan", message: "because", hop: 3 });
  expect(refusal.hop).toBeUndefined();
});

test("a refusal can say which part of a request it is about", () => {
  expect(malformed("because").at(3).of("chains[1]")).toEqual({
    ...{ code: "malformed_ucan", message: "chains[1]: because", hop: 3 },
  });
});

test("cryptographic and internal failures have one message each", () => {
  expect(badSignature().message).toBe(badSignature().message);
  expect(internal()).toMatchObject({ code: "internal" });
});
