/** Our own vectors and attacks, as pytest runs them against the binary, and the published ones. */

import { Buffer } from "node:buffer";
import { readdirSync, readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";

import { Refusal } from "../src/refusal.ts";
import { canonical, parse, type Json, type JsonObject } from "../src/token/canonical.ts";
import { didOf, keyOf } from "../src/token/did_key.ts";
import { keyPair, publicKey, sign, verify } from "../src/token/ed25519.ts";
import { failedStatement } from "../src/verify/evaluate.ts";
import { parsePolicy } from "../src/verify/pol.ts";
import { EvaluationBudget } from "../src/verify/budget.ts";
import { parseSelector, select } from "../src/verify/selector.ts";
import { run } from "../src/oneshot.ts";
import { signer } from "./tokens.ts";
import { answers, request } from "./loop.ts";

interface Case {
  readonly name: string;
  readonly line?: string;
  readonly hex?: string;
  readonly id?: number | null;
  readonly answer?: object;
  readonly refused?: object;
  readonly says?: object;
}

interface Cases {
  readonly about: string;
  readonly seeds: string[];
  readonly cases: Case[];
}

const OURS = new URL("../../tests/vectors/", import.meta.url);
const FOLDER = process.env["NOMOS_VECTORS"];
const WHY =
  FOLDER === undefined ? " (skipped: NOMOS_VECTORS does not name a folder of vectors)" : "";

function published<T>(path: string): T {
  return JSON.parse(readFileSync(`${FOLDER}/${path}`, "utf8"));
}

for (const file of readdirSync(OURS).filter((name) => name.endsWith(".json"))) {
  const { about, seeds, cases }: Cases = JSON.parse(readFileSync(new URL(file, OURS), "utf8"));
  describe(`${file}: ${about}`, () => {
    test.each(cases)("$name", ({ line = "", hex, id = 1, answer, refused, says }) => {
      const loads = seeds.map((seed) => request({ op: "load_key", seed })).join("");
      const text = hex === undefined ? Buffer.from(line) : Buffer.from(hex, "hex");
      const got = answers([loads, text, "\n"]).at(-1);
      if (answer !== undefined) expect(got).toEqual({ id, ok: true, ...answer });
      else if (says !== undefined) expect(got).toEqual({ id, ok: false, ...refused, ...says });
      else expect(got).toMatchObject({ id, ok: false, message: expect.any(String), ...refused });
    });
  });
}

interface Row {
  readonly ask: Record<string, unknown>;
}

interface Attack extends Row {
  readonly mutation: string;
  readonly where: string;
  readonly of: string;
  readonly refused: { readonly code: string; readonly hop?: number };
}

interface Attacks {
  readonly about: string;
  readonly request: object;
  readonly tokens: string[];
  readonly accepted: (Row & { readonly name: string; readonly answer: object })[];
  readonly refused: Attack[];
}

/** What a row asks: rows leave out what every request says, and name tokens by number. */
function questionOf({ request: common, tokens }: Attacks, { ask }: Row): Record<string, unknown> {
  const text = (number: unknown): string | undefined => tokens[Number(number)];
  const asked = "op" in ask ? ask : { ...common, ...ask };
  return Object.fromEntries(
    Object.entries(asked).map(([name, value]) => {
      if (name === "invocation" || name === "token") return [name, text(value)];
      return [name, name === "chain" ? (value as number[]).map(text) : value];
    }),
  );
}

describe("attacks", () => {
  const folder = new URL("attacks/", OURS);
  const tables = readdirSync(folder).map((file) => {
    const table: Attacks = JSON.parse(readFileSync(new URL(file, folder), "utf8"));
    return [file, table] as const;
  });

  test.each(tables)("%s: every one is refused, and what it starts from is not", (_, table) => {
    const { accepted, refused } = table;
    const lines = [...accepted, ...refused].map((row) => request(questionOf(table, row)));
    const got = answers(lines) as { ok: boolean; code?: string; hop?: number }[];
    const wrong: unknown[] = [];
    for (const [index, { name, answer }] of accepted.entries())
      if (!includes(got[index], { ok: true, ...answer })) wrong.push([name, got[index]]);
    for (const [index, { mutation, where, of, refused: wanted }] of refused.entries()) {
      const { ok, code, hop } = got[accepted.length + index] ?? { ok: true };
      const as = JSON.stringify([ok, code, hop]) === JSON.stringify([false, wanted.code, wanted.hop]);
      if (!as) wrong.push([mutation, where, of, code, hop]);
    }
    expect(wrong).toEqual([]);
  });

  test.each(tables)("%s: every one changes what it starts from", (_, table) => {
    expect(new Set(table.tokens).size).toBe(table.tokens.length);
    const bases = new Map(
      table.accepted.map((row) => [row.name, JSON.stringify(questionOf(table, row))]),
    );
    for (const row of table.refused) {
      expect(bases.has(row.of)).toBe(true);
      expect(JSON.stringify(questionOf(table, row)) === bases.get(row.of)).toBe(false);
    }
  });

  test("there are many", () => {
    const rows = tables.flatMap(([file, table]) =>
      table.refused.map(({ mutation }) => `${file} ${mutation}`),
    );
    expect(rows.length).toBeGreaterThanOrEqual(1500);
    expect(new Set(rows).size).toBeGreaterThanOrEqual(60);
    const good = tables.flatMap(([, { accepted }]) => accepted);
    expect(good.length).toBeGreaterThanOrEqual(100);
  });
});

/** Whether `value` has these members, each equal. */
function includes(value: unknown, members: object): boolean {
  const found = Object.entries(value ?? {}).filter(([name]) => name in members);
  return isDeepStrictEqual(Object.fromEntries(found), members);
}

describe.skipIf(FOLDER === undefined)(`published vectors${WHY}`, () => {
  interface Hosted {
    readonly seeds: { readonly cp: string };
    readonly dids: Record<string, string>;
    readonly root: {
      readonly payload: JsonObject;
      readonly canonicalPayload: string;
      readonly jwt: string;
      readonly cid: string;
    };
  }

  test("mint writes the hosted service's delegation, byte for byte", () => {
    const { seeds, root } = published<Hosted>("delegation-jwt.json");
    const input = Buffer.from(JSON.stringify({ payload: root.payload, seed: seeds.cp }));
    const outcome = run(["mint"], { signer: signer(), input: () => input, clock: () => 0 });
    expect(outcome).toEqual({
      status: 0,
      stdout: `${JSON.stringify({ jwt: root.jwt, cid: root.cid })}\n`,
      stderr: "",
    });
    expect(canonical(root.payload)).toBe(root.canonicalPayload);
  });

  test("RFC 8032: its signatures are made and verified", () => {
    const vectors = published<{ priv: string; pub: string; msg: string; sig: string }[]>(
      "rfc8032/rfc8032-ed25519.json",
    );
    expect(vectors).toHaveLength(4);
    for (const { priv, pub, msg, sig } of vectors) {
      const { secret, publicBytes } = keyPair(Buffer.from(priv, "hex"));
      const message = Buffer.from(msg, "hex");
      const signature = sign(message, secret);
      expect(Buffer.from(publicBytes).toString("hex")).toBe(pub);
      expect(Buffer.from(signature).toString("hex")).toBe(sig);
      const key = publicKey(publicBytes);
      expect(key && verify(message, signature, key)).toBe(true);
    }
  });

  test("Wycheproof: exactly the valid signatures verify", () => {
    interface Wycheproof {
      readonly testGroups: {
        readonly publicKey: { readonly pk: string };
        readonly tests: {
          readonly tcId: number;
          readonly msg: string;
          readonly sig: string;
          readonly result: string;
        }[];
      }[];
    }
    let count = 0;
    for (const {
      publicKey: { pk },
      tests,
    } of published<Wycheproof>("wycheproof/ed25519_test.json").testGroups) {
      const key = publicKey(Buffer.from(pk, "hex"));
      for (const { tcId, msg, sig, result } of tests) {
        const verified =
          key !== undefined && verify(Buffer.from(msg, "hex"), Buffer.from(sig, "hex"), key);
        expect(verified, `case ${tcId}`).toBe(result === "valid");
        count++;
      }
    }
    expect(count).toBe(151);
  });

  test("RFC 8785: every input has its canonical form", () => {
    const names = readdirSync(`${FOLDER}/jcs/input`);
    expect(names).toHaveLength(6);
    for (const name of names) {
      const value = parse(readFileSync(`${FOLDER}/jcs/input/${name}`, "utf8"), 32);
      if (value instanceof Refusal) throw new Error(`${name}: ${value.message}`);
      expect(canonical(value), name).toBe(readFileSync(`${FOLDER}/jcs/output/${name}`, "utf8"));
    }
  });

  test("did:key: every seed has its DID, and the DID names its key", () => {
    const dids = Object.entries(
      published<Record<string, { seed: string }>>("did-key/ed25519-x25519.json"),
    );
    expect(dids).toHaveLength(5);
    for (const [did, { seed }] of dids) {
      expect(didOf(keyPair(Buffer.from(seed, "hex")).publicBytes)).toBe(did);
      expect(keyOf(did)).toBeDefined();
    }
  });

  interface Policies {
    readonly args: Json;
    readonly policies: Json[][];
  }

  test("UCAN 1.0 policies: all of them hold that should, and no other", () => {
    const { valid, invalid } = published<{ valid: Policies[]; invalid: Policies[] }>(
      "ucan-1.0/policy.fixed.json",
    );
    const seen = { holds: 0, fails: 0 };
    for (const [groups, expected] of [
      [valid, true],
      [invalid, false],
    ] as const) {
      for (const { args, policies } of groups) {
        for (const pol of policies) {
          const policy = parsePolicy(pol);
          if (typeof policy === "string") throw new Error(policy);
          const holds = failedStatement(policy, args, new EvaluationBudget()) === undefined;
          expect(holds, JSON.stringify(pol)).toBe(expected);
          seen[expected ? "holds" : "fails"]++;
        }
      }
    }
    expect(seen).toEqual({ holds: 17, fails: 8 });
  });

  interface SelectorCase {
    readonly selector: string;
    readonly input: Json;
    readonly output?: Json;
  }

  test("UCAN 1.0 selectors: all of them select what they should", () => {
    const cases = published<{ pass: SelectorCase[]; null: SelectorCase[]; fail: SelectorCase[] }>(
      "ucan-1.0/selector_supported.json",
    );
    const seen = { pass: 0, null: 0, fail: 0 };
    for (const kind of ["pass", "null", "fail"] as const) {
      for (const { selector: text, input, output } of cases[kind]) {
        const selector = parseSelector(text);
        if (typeof selector === "string") throw new Error(selector);
        const wanted = { pass: output, null: null, fail: undefined }[kind];
        expect(select(selector, input, new EvaluationBudget()), `${text} in ${JSON.stringify(input)}`).toEqual(
          wanted,
        );
        seen[kind]++;
      }
    }
    expect(seen).toEqual({ pass: 15, null: 6, fail: 7 });
  });
});
