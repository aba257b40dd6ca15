import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";

import { Refusal } from "../src/refusal.ts";
import type { Json } from "../src/token/canonical.ts";
import { CID, cidOf, HEADERS, isTooLong, kindOf, MAX_TOKEN } from "../src/token/jwt.ts";
import { open, seal, unsigned } from "../src/token/jwt.ts";
import { codeOf, delegation, ISSUER, sealed } from "./tokens.ts";

test("what was sealed opens, and its cid is the hash of its text", () => {
  const payload = delegation({ meta: { "\u00e9": "e\u0301" } });
  const token = sealed("delegation", payload);
  const cid = createHash("sha256").update(token).digest("hex");
  expect(open("delegation", token)).toMatchObject({ cid, payload });
  expect(cid).toMatch(CID);
  expect(cidOf(token)).toBe(cid);
});

test("the header says what kind it is, and no token opens as the other", () => {
  const kinds = ["delegation", "invocation", "checkpoint", "receipt"] as const;
  for (const kind of kinds) {
    const token = sealed(kind, {});
    expect(kindOf(token)).toBe(kind);
    const opened = kinds.filter((other) => codeOf(open(other, token)) !== "malformed_ucan");
    expect(opened).toEqual([kind]);
  }
  expect(["x.y.z", "", "x"].map(kindOf)).toEqual([undefined, undefined, undefined]);
});

test("a token may have 65,536 characters and not one more", () => {
  expect([isTooLong("x".repeat(65_536)), isTooLong("x".repeat(65_537))]).toEqual([false, true]);
});

describe("what would not open is not sealed", () => {
  test("a name that is not NFC", () => {
    expect(codeOf(seal("delegation", { "e\u0301": 1 }, ISSUER.secret))).toBe("malformed_ucan");
  });

  test("nesting beyond the bound", () => {
    let nested: object = {};
    for (let level = 1; level < 32; level++) nested = { a: nested };
    expect(
      codeOf(seal("delegation", JSON.parse(JSON.stringify(nested)), ISSUER.secret)),
    ).toHaveProperty("jwt");
    const deeper = JSON.parse(JSON.stringify({ a: nested }));
    expect(codeOf(seal("delegation", deeper, ISSUER.secret))).toBe("malformed_ucan");
  });

  test("text beyond the bound", () => {
    const fits = sealed("delegation", { a: "x".repeat(48 * 1024 - 128) });
    expect(fits.length).toBeLessThanOrEqual(MAX_TOKEN);
    expect(open("delegation", fits)).toHaveProperty("cid");
    // No text of base64url has the one length between the last two.
    const lengths = [49_031, 49_032, 49_033, 49_034].map((size) => {
      const token = seal("delegation", { a: "x".repeat(size) }, ISSUER.secret);
      return token instanceof Refusal ? token.code : token.jwt.length;
    });
    expect(lengths).toEqual([65_533, 65_534, 65_535, "too_large"]);
    expect(codeOf(seal("delegation", { a: "x".repeat(48 * 1024) }, ISSUER.secret))).toBe(
      "too_large",
    );
  });
});

test("headers name the algorithm, the kind, and of UCANs the version", () => {
  expect(HEADERS).toMatchObject({
    delegation: { alg: "EdDSA", typ: "JWT", ucv: "1.0.0-cb" },
    invocation: { alg: "EdDSA", typ: "ucan-inv+jwt", ucv: "1.0.0-cb" },
    checkpoint: { alg: "EdDSA", typ: "nomos-checkpoint+jwt" },
    receipt: { alg: "EdDSA", typ: "nomos-receipt+jwt" },
  });
});

test("a payload that is nested too deep to be signed", () => {
  const deep = Array.from({ length: 33 }).reduce<Json>((inner) => [inner], 1);
  expect(unsigned("delegation", deep)).toMatchObject({
    message: "the payload is nested deeper than 32 levels",
  });
});
