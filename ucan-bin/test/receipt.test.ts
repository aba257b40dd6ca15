import { describe, expect, test } from "vitest";

import type { Receipt } from "../src/protocol.gen.ts";
import { Refusal } from "../src/refusal.ts";
import { signReceipt, verifyReceipt } from "../src/token/receipt.ts";
import { codeOf, delegation, PLANNER, receipt, refusalReceipt, sealed, SERVICE } from "./forge.ts";

const TRUSTED = [PLANNER.did, SERVICE.did];

test.each<[string, Receipt]>([
  ["an allow", receipt()],
  ["an allow with arguments", receipt({ args_hash: "03".repeat(32) })],
  ["a refusal that names nothing", refusalReceipt()],
  ["a refusal that names its hop and its parties", receipt({ outcome: "expired", hop: 1 })],
])("%s: what was signed verifies, and says what it said", (_, claims) => {
  const { jwt, cid } = signReceipt(claims, SERVICE.secret) as { jwt: string; cid: string };
  expect(verifyReceipt(jwt, TRUSTED)).toMatchObject({ claims, cid });
});

describe("an allow that contradicts itself is neither signed nor believed", () => {
  const without = (name: keyof Receipt): Receipt => {
    const { [name]: _, ...rest } = receipt();
    return rest as Receipt;
  };
  test.each<[string, Receipt, string]>([
    ["no resource", without("resource_hash"), "resource_hash"],
    ["no agent", without("agent"), "agent"],
    ["no root", without("root"), "root"],
    ["no chain", without("chain"), "chain"],
    ["no invocation", without("invocation"), "invocation"],
    ["a token at fault", receipt({ hop: 0 }), "hop"],
  ])("%s", (_, claims, field) => {
    const message =
      field === "hop" ? "an allow has no token at fault" : `an allow names its ${field}`;
    for (const refusal of [
      signReceipt(claims, SERVICE.secret),
      verifyReceipt(sealed("receipt", claims, SERVICE), TRUSTED),
    ]) {
      expect(refusal).toBeInstanceOf(Refusal);
      expect((refusal as Refusal).details).toMatchObject({ code: "malformed_ucan", field, message });
    }
  });
});

describe("refused, in this order", () => {
  const token = sealed("receipt", receipt(), SERVICE);
  const forged = sealed("receipt", receipt(), PLANNER);
  // The identity point: a key for which one signature fits any message.
  const anyones = "did:key:z6MkeXATEjyXENzBXBxgC5EHk2JE5aqd7qMGGtDpLUH1e2Sj";
  test.each([
    ["no token", "x", TRUSTED, "malformed_ucan"],
    ["another kind", sealed("delegation", delegation()), TRUSTED, "malformed_ucan"],
    ["another shape", sealed("receipt", { a: 1 }), TRUSTED, "malformed_ucan"],
    ["no key", sealed("receipt", receipt({ iss: anyones })), [anyones], "malformed_ucan"],
    ["another's signature", forged, TRUSTED, "bad_signature"],
    ["another's signature, and nobody is trusted", forged, [], "bad_signature"],
    ["nobody is trusted", token, [], "untrusted_issuer"],
    ["another is trusted", token, [PLANNER.did], "untrusted_issuer"],
  ])("%s", (_, text, issuers, code) => {
    expect(codeOf(verifyReceipt(text, issuers))).toBe(code);
  });

  test("and told why", () => {
    const keyless = sealed("receipt", receipt({ iss: anyones }));
    expect(verifyReceipt(keyless, [anyones])).toMatchObject({
      message: "iss names no usable Ed25519 key",
    });
    expect(verifyReceipt(token, [])).toMatchObject({
      message: "the receipt's issuer is not one that is trusted for it",
    });
  });
});
