import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";

import { run, USAGE, type Outcome } from "../src/oneshot.ts";
import type { AnswerOf } from "../src/protocol.gen.ts";
import { delegation, ISSUER, link, NOW, PLANNER, RESEARCHER, sealed, signer } from "./tokens.ts";

function invoked(args: string[], input: unknown = undefined, by = signer()): Outcome {
  const text = typeof input === "string" ? input : JSON.stringify(input ?? {});
  return run(args, { signer: by, input: () => Buffer.from(text), clock: () => NOW });
}

function printed(args: string[], input?: unknown): [number, unknown] {
  const { status, stdout, stderr } = invoked(args, input);
  expect(stderr).toBe("");
  expect(stdout.endsWith("\n")).toBe(true);
  return [status, JSON.parse(stdout)];
}

const root = sealed("delegation", delegation());

describe("mint", () => {
  test("signs a delegation with the key it is given", () => {
    const [status, answer] = printed(["mint"], { payload: delegation(), seed: ISSUER.seed });
    expect(status).toBe(0);
    expect(answer).toEqual({ jwt: root, cid: expect.stringMatching(/^[0-9a-f]{64}$/) });
  });

  test("signs a vacuous policy when asked to", () => {
    const payload = delegation({ pol: [["or", []]] });
    expect(printed(["mint"], { payload, seed: ISSUER.seed })).toMatchObject([
      1,
      { code: "vacuous_policy" },
    ]);
    expect(printed(["mint"], { payload, seed: ISSUER.seed, allow_vacuous: true })).toMatchObject([
      0,
      {},
    ]);
  });

  test.each([
    ["no seed", { payload: delegation() }, "seed is missing"],
    ["a short seed", { payload: delegation(), seed: "00" }, "seed must match"],
    ["no payload", { seed: ISSUER.seed }, "payload is missing"],
    ["something else", { payload: delegation(), seed: ISSUER.seed, id: 7 }, '"id" is unknown'],
    [
      "a payload of another shape",
      { payload: { a: 1 }, seed: ISSUER.seed },
      "payload.iss is missing",
    ],
  ])("%s is refused", (_, input, message) => {
    expect(printed(["mint"], input)).toEqual([
      1,
      { ok: false, code: "invalid_request", message: expect.stringContaining(message) },
    ]);
  });

  test("another's name is refused", () => {
    const input = { payload: delegation(), seed: PLANNER.seed };
    expect(printed(["mint"], input)).toMatchObject([1, { code: "issuer_mismatch" }]);
  });
});

describe("fork", () => {
  const child = { aud: RESEARCHER.did, links: [{ cmd: "/github/issue/list" }] };
  const input = { seed: PLANNER.seed, chains: [[root]], children: [child] };

  test("needs little of a person, and prints the new links", () => {
    const [status, answer] = printed(["fork"], {
      ...input,
      children: [child, { links: child.links }],
    });
    const link = { jwt: expect.any(String), cid: expect.stringMatching(/^[0-9a-f]{64}$/) };
    expect([status, answer]).toEqual([
      0,
      {
        children: [
          { aud: RESEARCHER.did, links: [link] },
          { aud: expect.stringMatching(/^did:key:z6Mk/), seed: "07".repeat(32), links: [link] },
        ],
      },
    ]);
  });

  test("signs the members that it is given", () => {
    const all = link({ nonce: "mine", pol: [["==", ".args.n", 1]], exp: NOW + 5 });
    const request = { ...input, now: NOW + 1, children: [{ ...child, links: [all] }] };
    const [, { children }] = printed(["fork"], request) as [number, AnswerOf["fork"]];
    const [, said] = printed(["parse"], { jwt: children[0]!.links[0]!.jwt });
    expect(said).toMatchObject({
      payload: { nonce: "mine", pol: all.pol, exp: NOW + 5, nbf: NOW - 59, aud: RESEARCHER.did },
    });
  });

  test("prints a thousand children as one document", () => {
    const [, answer] = printed(["fork"], { ...input, children: Array(1000).fill(child) });
    expect(answer).toHaveProperty("children.length", 1000);
  });

  test.each<[string, object, string, string]>([
    ["no seed", { seed: undefined }, "invalid_request", "seed is missing"],
    ["a short seed", { seed: "00" }, "invalid_request", "seed must match"],
    ["another's seed", { seed: ISSUER.seed }, "audience_mismatch", "chains[0]: "],
    ["a key by its name", { key: PLANNER.did }, "invalid_request", '"key" is unknown'],
    ["children that are none", { children: {} }, "invalid_request", "children must be a list"],
    ["a child that is none", { children: [1] }, "invalid_request", "children[0] must be an object"],
    ["links that are none", { children: [{ links: 1 }] }, "invalid_request", "must be a list"],
    ["a link that is none", { children: [{ links: [1] }] }, "invalid_request", "must be an object"],
    [
      "a link that is wider",
      { children: [{ links: [{ cmd: "/github" }] }] },
      "chain_attenuation_violation",
      "children[0].links[0]: cmd /github is not within /github/issue",
    ],
  ])("%s is refused", (_, changes, code, message) => {
    const [status, answer] = printed(["fork"], { ...input, ...changes });
    expect([status, answer]).toMatchObject([1, { ok: false, code }]);
    expect(answer).toHaveProperty("message", expect.stringContaining(message));
    expect(JSON.stringify(answer)).not.toContain(PLANNER.seed);
  });
});

describe("validate", () => {
  test("says what a chain says, by the clock it is given or by its own", () => {
    const answer = {
      ok: true,
      depth: 1,
      root: ISSUER.did,
      agent: PLANNER.did,
      expires_at: NOW + 300,
    };
    expect(printed(["validate"], { chain: [root], now: NOW })).toMatchObject([0, answer]);
    expect(printed(["validate"], { chain: [root], trusted_issuers: [ISSUER.did] })).toMatchObject([
      0,
      answer,
    ]);
  });

  test("says whether a chain gives what is requested", () => {
    const requested = { cmd: "/github", resource: {} };
    expect(printed(["validate"], { chain: [root], requested })).toMatchObject([
      1,
      { code: "chain_attenuation_violation", hop: 0 },
    ]);
  });

  test("refuses with the code and the hop", () => {
    expect(printed(["validate"], { chain: [root], now: NOW + 300 })).toEqual([
      1,
      {
        ok: false,
        code: "expired",
        message: expect.any(String),
        hop: 0,
        field: "exp",
        wanted: `later than ${NOW + 300}`,
        found: expect.stringMatching(/^\d+$/),
      },
    ]);
  });

  test.each(["id", "protocol", "op", "key", "token", "x"])("refuses a member named %s", (name) => {
    expect(printed(["validate"], { chain: [root], [name]: "verify" })).toEqual([
      1,
      { ok: false, code: "invalid_request", message: `"${name}" is unknown` },
    ]);
  });
});

describe("parse", () => {
  test("says what a token says", () => {
    const said = { ok: true, kind: "delegation", payload: delegation(), header: { typ: "JWT" } };
    expect(printed(["parse"], { jwt: root })).toMatchObject([0, said]);
  });

  test("refuses what is no token", () => {
    expect(printed(["parse"], { jwt: "x" })).toMatchObject([1, { code: "malformed_ucan" }]);
    expect(printed(["parse"], {})).toMatchObject([1, { message: "jwt is missing" }]);
    for (const name of ["op", "token", "x"])
      expect(printed(["parse"], { jwt: root, [name]: root })).toMatchObject([
        1,
        { code: "invalid_request", message: `"${name}" is unknown` },
      ]);
  });
});

describe("keygen", () => {
  test("prints a key and needs no input", () => {
    const [status, answer] = printed(["keygen"], "not JSON");
    expect([status, answer]).toEqual([
      0,
      { did: expect.stringMatching(/^did:key:z6Mk/), seed: "07".repeat(32) },
    ]);
  });

  test("a failure inside is reported without its words", () => {
    const broken = signer(() => {
      throw new Error("entropy");
    });
    const { status, stdout } = invoked(["keygen"], "", broken);
    expect([status, stdout]).toEqual([1, expect.not.stringContaining("entropy")]);
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, code: "internal" });
  });

  test("a full signer refuses", () => {
    const full = signer();
    full.keys.add = () => invalid;
    const invalid = full.keys.secretOf("no key") as never;
    expect(invoked(["keygen"], "", full).status).toBe(1);
  });
});

test.each(["", "[]", "{", '{"a":1,"a":2}', '{"jwt":NaN}'])("input %j is refused", (text) => {
  expect(printed(["parse"], text)).toMatchObject([1, { ok: false, code: "invalid_request" }]);
});

test("input over the limit is refused", () => {
  const outcome = run(["parse"], { signer: signer(), input: () => undefined, clock: () => NOW });
  expect([outcome.status, JSON.parse(outcome.stdout)]).toMatchObject([1, { code: "too_large" }]);
});

describe("usage", () => {
  test("help and version are answers", () => {
    expect(invoked(["--help"])).toEqual({ status: 0, stdout: USAGE, stderr: "" });
    expect(invoked(["--version"])).toEqual({ status: 0, stdout: "1.2.3\n", stderr: "" });
  });

  test.each([
    [[]],
    [["fly"]],
    [["mint", "secret"]],
    [["--version", "-v"]],
    [["constructor"]],
    [["-h"]],
  ])("%j is wrong", (args: string[]) => {
    const { status, stdout, stderr } = invoked(args);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toContain("usage:");
    expect(stderr).not.toContain("secret");
  });
});
