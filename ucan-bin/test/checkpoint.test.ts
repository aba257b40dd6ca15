import { expect, test } from "vitest";

import { signCheckpoint, verifyCheckpoint } from "../src/token/checkpoint.ts";
import { checkpoint, ISSUER, PLANNER } from "./tokens.ts";

const TRUSTED = [PLANNER.did, ISSUER.did];

test("what was signed verifies, and says what it said", () => {
  const claims = checkpoint({ log: "revocations", nonce: "ask-1" });
  const { jwt, cid } = signCheckpoint(claims, ISSUER.secret) as { jwt: string; cid: string };
  expect(verifyCheckpoint(jwt, TRUSTED)).toMatchObject({ claims, cid });
});
