import { expect, test } from "vitest";

import type { Receipt } from "../src/protocol.gen.ts";
import { verifyCheckpoint, verifyReceipt } from "../src/token/statement.ts";
import { checkpoint, ISSUER, PLANNER, receipt, refusalReceipt, sealed, SERVICE } from "./tokens.ts";

test("a checkpoint that was signed verifies, and says what it said", () => {
  const claims = checkpoint({ log: "revocations", nonce: "ask-1" });
  const token = sealed("checkpoint", claims);
  expect(verifyCheckpoint(token, [PLANNER.did, ISSUER.did])).toMatchObject({ claims });
});

test.each<[string, Receipt]>([
  ["an allow", receipt()],
  ["an allow with arguments", receipt({ args_hash: "03".repeat(32) })],
  ["a refusal that names nothing", refusalReceipt()],
  ["a refusal that names its hop and its parties", receipt({ outcome: "expired", hop: 1 })],
])("a receipt of %s that was signed verifies, and says what it said", (_, claims) => {
  const token = sealed("receipt", claims, SERVICE);
  expect(verifyReceipt(token, [PLANNER.did, SERVICE.did])).toMatchObject({ claims });
});
