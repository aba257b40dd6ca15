import { expect, test } from "vitest";

import type { Receipt } from "../src/protocol.gen.ts";
import { signReceipt, verifyReceipt } from "../src/token/receipt.ts";
import { PLANNER, receipt, refusalReceipt, SERVICE } from "./tokens.ts";

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
