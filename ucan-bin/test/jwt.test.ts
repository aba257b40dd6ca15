import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";

import { Refusal } from "../src/refusal.ts";
import { CID, cidOf, isTooLong, kindOf, MAX_TOKEN, open, seal } from "../src/token/jwt.ts";
import { codeOf, delegation, ISSUER, sealed, sealedText } from "./forge.ts";

function why(token: string): string | undefined {
  const result = open("delegation", token);
  return result instanceof Refusal ? `${result.code}: ${result.message}` : undefined;
}

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

describe("a token that does not encode back to its own text is refused", () => {
  const token = sealed("delegation", { a: 1, b: [] });
  const [header, payload, signature] = token.split(".") as [string, string, string];
  test.each([
    ["two segments", `${header}.${payload}`, "three segments"],
    ["four segments", `${token}.`, "three segments"],
    ["another header", `${payload}.${payload}.${signature}`, "header"],
    ["padding", `${header}.${payload}=.${signature}`, "canonical"],
    ["a short signature", `${header}.${payload}.${signature.slice(0, -2)}`, "64 bytes"],
    ["a padded signature", `${token}==`, "64 bytes"],
    ["a space", sealedText("delegation", '{"a": 1}'), "canonical"],
    ["disorder", sealedText("delegation", '{"b":1,"a":1}'), "canonical"],
    ["a list", sealedText("delegation", "[]"), "not an object"],
    ["no JSON", sealedText("delegation", "{"), "in the payload: not JSON"],
    ["a name twice", sealedText("delegation", '{"a":1,"a":1}'), "twice"],
    ["a name that is not NFC", sealedText("delegation", '{"e\u0301":1}'), "normalisation"],
    [
      "undecodable bytes",
      `${header}.${Buffer.from('{"a":"\xff"}', "latin1").toString("base64url")}.${signature}`,
      "canonical",
    ],
    ["too long", "a".repeat(MAX_TOKEN + 1), "longer than"],
  ])("%s", (_, text, reason) => {
    expect(why(text)).toMatch(/^malformed_ucan/);
    expect(why(text)).toContain(reason);
  });
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
    expect(why(fits)).toBeUndefined();
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
