import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";

import type { DelegationToken } from "../src/token/delegation.ts";
import { cidOf } from "../src/token/jwt.ts";
import { getVerified, isVerified, putVerified } from "../src/token/verified_cache.ts";

describe("a token that is kept", () => {
  const KEPT = 4 * 1024;

  function linkOf(text: string, size: number): DelegationToken {
    return { cid: cidOf(text), signed: Buffer.alloc(size) } as unknown as DelegationToken;
  }

  test("is what is short enough", () => {
    const link = linkOf("a".repeat(KEPT), KEPT);
    putVerified(link);
    expect(isVerified(link)).toBe(true);
    expect(getVerified("a".repeat(KEPT))).toBe(link);
  });

  test("is not what is longer", () => {
    const link = linkOf("b", KEPT + 1);
    putVerified(link);
    expect(isVerified(link)).toBe(false);
    expect(getVerified("b")).toBeUndefined();
  });

  test("is not looked up for a token that cannot be there", () => {
    const text = "c".repeat(KEPT + 1);
    putVerified(linkOf(text, 1));
    expect(getVerified(text)).toBeUndefined();
  });
});
