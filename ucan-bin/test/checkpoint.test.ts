import { describe, expect, test } from "vitest";

import { signCheckpoint, verifyCheckpoint } from "../src/token/checkpoint.ts";
import { checkpoint, codeOf, delegation, ISSUER, PLANNER, sealed } from "./forge.ts";

const TRUSTED = [PLANNER.did, ISSUER.did];

test("what was signed verifies, and says what it said", () => {
  const claims = checkpoint({ log: "revocations", nonce: "ask-1" });
  const { jwt, cid } = signCheckpoint(claims, ISSUER.secret) as { jwt: string; cid: string };
  expect(verifyCheckpoint(jwt, TRUSTED)).toMatchObject({ claims, cid });
});

describe("refused, in this order", () => {
  const token = sealed("checkpoint", checkpoint());
  const forged = sealed("checkpoint", checkpoint(), PLANNER);
  // The identity point: a key for which one signature fits any message.
  const anyones = "did:key:z6MkeXATEjyXENzBXBxgC5EHk2JE5aqd7qMGGtDpLUH1e2Sj";
  test.each([
    ["no token", "x", TRUSTED, "malformed_ucan"],
    ["another kind", sealed("delegation", delegation()), TRUSTED, "malformed_ucan"],
    ["another shape", sealed("checkpoint", { a: 1 }), TRUSTED, "malformed_ucan"],
    ["no key", sealed("checkpoint", checkpoint({ iss: anyones })), [anyones], "malformed_ucan"],
    ["another's signature", forged, TRUSTED, "bad_signature"],
    ["another's signature, and nobody is trusted", forged, [], "bad_signature"],
    ["nobody is trusted", token, [], "untrusted_issuer"],
    ["another is trusted", token, [PLANNER.did], "untrusted_issuer"],
  ])("%s", (_, text, issuers, code) => {
    expect(codeOf(verifyCheckpoint(text, issuers))).toBe(code);
  });
});
