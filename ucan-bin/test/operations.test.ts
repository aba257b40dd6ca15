import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";

import { answer, isOp, OPS } from "../src/operations.ts";
import { isRequest, type Op } from "../src/protocol.gen.ts";
import type { Refusal } from "../src/refusal.ts";
import { checkpoint, codeOf, delegation, invocation, receipt } from "./tokens.ts";
import { HERE, ISSUER, NOW, PLANNER, RESEARCHER, sealed, SERVICE, signer } from "./tokens.ts";

function ask(op: Op, members: object, by = signer()): unknown {
  return answer(op, { id: 1, protocol: 1, op, ...members }, by);
}

test("hello says who is there", () => {
  expect(ask("hello", {})).toEqual({ version: "1.2.3", speaks: 1, runtime: "test 1", ops: OPS });
  expect(OPS).toEqual(Object.keys(isRequest));
});

test("only names in the table are operations", () => {
  expect(["hello", "verify", "constructor", "", 7, undefined].map(isOp)).toEqual([
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
});

test("a key that was made can be loaded again, and signs", () => {
  const by = signer();
  const seed = "07".repeat(32);
  const made = ask("generate_key", {}, by);
  expect(made).toEqual({ key: expect.stringMatching(/^did:key:z6Mk/), seed });
  expect(ask("load_key", { seed }, signer())).toEqual({ key: (made as { key: string }).key });
});

test("a forgotten key signs no more", () => {
  const by = signer();
  const request = { key: ISSUER.did, payload: delegation(), allow_vacuous: false };
  expect(ask("load_key", { seed: ISSUER.seed }, by)).toEqual({ key: ISSUER.did });
  expect(ask("delegate", request, by)).toHaveProperty("jwt", sealed("delegation", delegation()));
  expect(ask("forget_key", { key: ISSUER.did }, by)).toEqual({ forgotten: true });
  expect(codeOf(ask("delegate", request, by))).toBe("unknown_key");
  expect(ask("forget_key", { key: ISSUER.did }, by)).toEqual({ forgotten: false });
});

describe("a full signer", () => {
  const full = { ...signer(), keys: { add: () => codeless } as never };
  const codeless = ask("forget_key", {});

  test("says so for made and for given keys", () => {
    expect(ask("generate_key", {}, full)).toBe(codeless);
    expect(ask("load_key", { seed: "00".repeat(32) }, full)).toBe(codeless);
  });
});

test("a shape that is wrong is refused before anything is done", () => {
  expect(ask("load_key", {})).toMatchObject({
    code: "invalid_request",
    message: "seed is missing",
  });
});

describe("invoke", () => {
  const by = signer();
  by.keys.add(Buffer.from(PLANNER.seed, "hex"));

  test("signs in the key's own name", () => {
    const payload = invocation();
    expect(ask("invoke", { key: PLANNER.did, payload }, by)).toHaveProperty(
      "jwt",
      sealed("invocation", payload, PLANNER),
    );
  });

  test("refuses what it could not stand by", () => {
    const refusals = [
      { key: PLANNER.did, payload: invocation({ iss: ISSUER.did }) },
      { key: ISSUER.did, payload: invocation({ iss: ISSUER.did }) },
      { key: PLANNER.did, payload: invocation({ args: {} }) },
      { key: PLANNER.did, payload: invocation({ sub: `did:key:z6Mk${"1".repeat(44)}` }) },
    ].map((request) => codeOf(ask("invoke", request, by)));
    expect(refusals).toEqual(["issuer_mismatch", "unknown_key", "malformed_ucan", "invalid_key"]);
  });

  describe("with the time at which it is verified", () => {
    const verified = (changes: object, more: object = {}) =>
      ask("invoke", { key: PLANNER.did, payload: invocation(changes), verify_at: NOW, ...more }, by);
    const chain = (...links: object[]) => links.map((claims) => sealed("delegation", delegation(claims)));

    test("signs what a PDP takes, for which a root need not be closed", () => {
      const prf = chain({ meta: { audience: SERVICE.did } });
      expect(verified({ prf })).toHaveProperty("jwt", sealed("invocation", invocation({ prf }), PLANNER));
    });

    test("answers what a PDP refuses, with its hop", () => {
      const pol = [["==", ".args.n", 1]];
      const foreign = { iss: RESEARCHER.did, meta: HERE };
      expect(
        [
          verified({ cmd: "/github/repo/read" }),
          verified({ prf: chain({ pol }) }),
          verified({ prf: chain({ meta: { audience: ISSUER.did } }) }),
          verified({ prf: [sealed("delegation", delegation(foreign), RESEARCHER)] }),
          verified({ prf: ["x"] }),
          verified({}, { verify_at: NOW + 300 }),
          verified({ prf: [...chain({}), ...chain({})] }, { max_depth: 1 }),
        ].map((answer) => {
          const { code, hop } = answer as Refusal;
          return [code, hop];
        }),
      ).toEqual([
        ["chain_attenuation_violation", 1],
        ["resource_out_of_scope", 0],
        ["audience_mismatch", 0],
        ["untrusted_issuer", 0],
        ["malformed_ucan", 0],
        ["expired", 0],
        ["chain_too_deep", 1],
      ]);
    });

    test("says without a hop that it cannot be signed", () => {
      const answer = verified({ args: {} });
      expect(answer).toMatchObject({ code: "malformed_ucan" });
      expect(answer).toHaveProperty("hop", undefined);
    });
  });
});

describe("sign_checkpoint", () => {
  const by = signer();
  by.keys.add(Buffer.from(ISSUER.seed, "hex"));

  test("signs in the key's own name, and what it signed verifies", () => {
    const payload = checkpoint({ nonce: "ask-1" });
    const signed = ask("sign_checkpoint", { key: ISSUER.did, payload }, by);
    const token = sealed("checkpoint", payload);
    expect(signed).toHaveProperty("jwt", token);
    expect(ask("verify_checkpoint", { token, issuers: [ISSUER.did] })).toEqual({
      checkpoint: payload,
      cid: (signed as { cid: string }).cid,
    });
  });

  test("refuses another's name, and a key it does not hold", () => {
    const refusals = [
      { key: ISSUER.did, payload: checkpoint({ iss: PLANNER.did }) },
      { key: PLANNER.did, payload: checkpoint({ iss: PLANNER.did }) },
    ].map((request) => codeOf(ask("sign_checkpoint", request, by)));
    expect(refusals).toEqual(["issuer_mismatch", "unknown_key"]);
  });

  test("verify_checkpoint passes a refusal on", () => {
    const token = sealed("checkpoint", checkpoint());
    expect(codeOf(ask("verify_checkpoint", { token, issuers: [] }))).toBe("untrusted_issuer");
  });
});

describe("sign_receipt", () => {
  const by = signer();
  by.keys.add(Buffer.from(SERVICE.seed, "hex"));

  test("signs in the key's own name, and what it signed verifies", () => {
    const payload = receipt({ args_hash: "03".repeat(32) });
    const signed = ask("sign_receipt", { key: SERVICE.did, payload }, by);
    const token = sealed("receipt", payload, SERVICE);
    expect(signed).toHaveProperty("jwt", token);
    expect(ask("verify_receipt", { token, issuers: [SERVICE.did] })).toEqual({
      receipt: payload,
      cid: (signed as { cid: string }).cid,
    });
  });

  test("refuses another's name, a key it does not hold, and an allow of nothing", () => {
    const { agent, ...anonymous } = receipt();
    const refusals = [
      { key: SERVICE.did, payload: receipt({ iss: PLANNER.did }) },
      { key: PLANNER.did, payload: receipt({ iss: PLANNER.did }) },
      { key: SERVICE.did, payload: anonymous },
    ].map((request) => codeOf(ask("sign_receipt", request, by)));
    expect(refusals).toEqual(["issuer_mismatch", "unknown_key", "malformed_ucan"]);
  });

  test("verify_receipt passes a refusal on", () => {
    const token = sealed("receipt", receipt(), SERVICE);
    expect(codeOf(ask("verify_receipt", { token, issuers: [] }))).toBe("untrusted_issuer");
  });
});

describe("inspect", () => {
  const root = sealed("delegation", delegation());

  test("reads both kinds and names the cids to look up", () => {
    expect(ask("inspect", { token: root })).toMatchObject({
      kind: "delegation",
      cids: [expect.any(String)],
    });
    const use = ask("inspect", { token: sealed("invocation", invocation(), PLANNER) });
    expect(use).toMatchObject({
      kind: "invocation",
      cids: [expect.any(String), expect.any(String)],
    });
  });

  test("refuses what has no structure", () => {
    const tokens = [
      "x",
      `${root}.`,
      sealed("checkpoint", checkpoint()),
      sealed("receipt", receipt(), SERVICE),
      sealed("invocation", {}),
      sealed("invocation", invocation({ prf: [] })),
    ];
    expect(tokens.map((token) => codeOf(ask("inspect", { token })))).toEqual([
      "malformed_ucan",
      "malformed_ucan",
      "malformed_ucan",
      "malformed_ucan",
      "malformed_ucan",
      "chain_invalid",
    ]);
  });
});

describe("check_policy", () => {
  test("returns the statements that can be signed unrequested, as a token has them", () => {
    const line = '{"pol": [["==", ".args.n", 9.0], ["!=", ".args.m?", {"b": 1, "a": -0}]]}';
    const { pol } = JSON.parse(line) as { pol: unknown };
    expect(ask("check_policy", { pol })).toEqual({ pol });
    expect(ask("check_policy", { pol: [] })).toEqual({ pol: [] });
  });

  test.each<[unknown[], string, string]>([
    [[["xor", ".a", 1]], "malformed_ucan", 'pol[0]: the operator "xor" is not one of'],
    [[["==", ".args.n", { "e\u0301": 1 }]], "malformed_ucan", "normalisation form C"],
    [[["and", []], ["or", []]], "vacuous_policy", "pol[1]: an empty `or` holds for every call"],
  ])("refuses %j", (pol, code, message) => {
    expect(ask("check_policy", { pol })).toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
  });

  test("says nothing of a member that its caller cannot give", () => {
    expect(ask("check_policy", { pol: [["or", []]] })).not.toHaveProperty(
      "message",
      expect.stringContaining("allow_vacuous"),
    );
  });
});
