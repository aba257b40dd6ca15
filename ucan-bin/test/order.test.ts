/** The order of verification. Its cases are the vectors; here are those too large for one. */

import { expect, test } from "vitest";

import { MAX_TOKEN } from "../src/token/jwt.ts";
import { readChain, verify } from "../src/verify/order.ts";
import {
  delegation,
  invocation,
  ISSUER,
  PLANNER,
  sealed,
  sealedText,
  SERVICE,
  verifyRequest,
} from "./forge.ts";

const root = sealed("delegation", delegation());

test("a chain of thirty-two is read where that many are allowed, and none longer", () => {
  const chain = Array<string>(32).fill(root);
  expect(readChain(chain, 32)).toHaveProperty("links.length", 32);
  expect(readChain([...chain, root], 32)).toMatchObject({ code: "chain_too_deep", hop: 32 });
});

test("the sizes of all tokens come before the text of any", () => {
  const request = verifyRequest({ chain: ["x", "y".repeat(MAX_TOKEN + 1)] });
  expect(verify(request)).toMatchObject({ code: "malformed_ucan", hop: 1 });
});

test("a token as large as allowed is verified", () => {
  const room = "x".repeat(48 * 1024 - 512);
  const token = sealed("delegation", delegation({ meta: { room } }));
  expect(MAX_TOKEN - token.length).toBeLessThan(600);
  expect(verify(verifyRequest({ chain: [token] }))).toMatchObject({ depth: 1, meta: { room } });
});

test("an invocation larger than any token is refused before its chain is looked at", () => {
  const args = { resource: {}, room: "x".repeat(MAX_TOKEN) };
  const token = sealedText("invocation", JSON.stringify(invocation({ args })), PLANNER);
  const request = verifyRequest({
    invocation: token,
    audience: SERVICE.did,
    trusted_issuers: [ISSUER.did],
  });
  expect(verify(request)).toMatchObject({ code: "malformed_ucan", hop: undefined });
});
