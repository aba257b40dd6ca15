import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";

import { MAX_LINE } from "../src/protocol.gen.ts";
import { linesOf, serve } from "../src/serve.ts";
import { forkRequest, link, PLANNER, signer } from "./tokens.ts";
import { answers, reader, request } from "./loop.ts";

const hello = request({ op: "hello" });
const greeting = { id: 1, ok: true, version: "1.2.3", speaks: 1 };

/** A request of exactly this many bytes, newline included. */
function sized(bytes: number): string {
  const line = request({ op: "inspect", token: "" });
  return line.replace('""', `"${"x".repeat(bytes - line.length)}"`);
}

describe("lines", () => {
  test("in one piece, in many, and several in one", () => {
    const pieces = [
      hello.slice(0, 5),
      hello.slice(5, 6),
      hello.slice(6) + hello + hello.slice(0, -1),
      "\n",
    ];
    expect(answers(pieces)).toMatchObject([greeting, greeting, greeting]);
    expect(answers(Array.from(hello))).toMatchObject([greeting]);
  });

  test("the last one needs no newline", () => {
    expect(answers([hello.trimEnd()])).toMatchObject([greeting]);
    expect(answers([])).toEqual([]);
    expect(answers([hello, "{"])).toMatchObject([greeting, { id: null, code: "invalid_request" }]);
  });

  test("a line across several reads is one line", () => {
    const long = sized(300_000);
    expect(answers([long + hello])).toMatchObject([{ code: "malformed_ucan" }, greeting]);
  });

  test("lines are cut from any pieces as they were sent", () => {
    const pieces = ["", "a", "\n\nb", "c\nd"].filter((piece) => piece !== "");
    const lines = [...copied(linesOf(reader(pieces)))];
    expect(lines).toEqual(["a", "", "bc", "d"]);
  });
});

describe("a line over the limit", () => {
  test("is refused at its end, with its id, and the next is answered", () => {
    const [refusal, next] = answers([sized(MAX_LINE + 2), hello]) as [object, object];
    expect(refusal).toEqual({
      id: 1,
      ok: false,
      code: "too_large",
      message: expect.stringContaining("1048576"),
    });
    expect(next).toMatchObject(greeting);
  });

  test("is refused without an id that is not at its beginning", () => {
    const line = `${"x".repeat(MAX_LINE)}"id":1}\n`;
    expect(answers([line, hello])).toMatchObject([{ id: null, code: "too_large" }, greeting]);
  });

  test("is refused when the input ends within it", () => {
    expect(answers([sized(MAX_LINE + 50).trimEnd()])).toMatchObject([{ id: 1, code: "too_large" }]);
  });

  test("of exactly the limit is read", () => {
    expect(answers([sized(MAX_LINE + 1)])).toMatchObject([{ id: 1, code: "malformed_ucan" }]);
  });

  test("is not kept, however long it is", () => {
    const chunk = Buffer.alloc(64 * 1024, "x");
    let left = 1024;
    const read = (into: Uint8Array): number => (left-- > 0 ? chunk.copy(into) : 0);
    const [line] = [...linesOf(read)];
    expect(line).toMatchObject({ start: Buffer.alloc(64, "x") });
  });
});

describe("what is answered", () => {
  test("the id that a broken line begins with", () => {
    expect(answers(['{"id": 12, "protocol": 1, "op": NaN}\n'])).toMatchObject([
      { id: 12, code: "invalid_request" },
    ]);
    expect(answers(['{"op":"hello","id":12,}\n'])).toMatchObject([{ id: null }]);
  });

  test("a bug, without its words", () => {
    const broken = signer(() => {
      throw new Error("seed 0123");
    });
    const [answer] = answers([request({ op: "generate_key" })], broken);
    expect(answer).toEqual({
      id: 1,
      ok: false,
      code: "internal",
      message: expect.not.stringContaining("0123"),
    });
    expect(answers([request({ op: "generate_key" }), hello], broken)[1]).toMatchObject(greeting);
  });

  test("a fork in as many lines as it needs, under one id, then the next request", () => {
    const by = signer();
    by.keys.add(Buffer.from(PLANNER.seed, "hex"));
    const children = Array.from({ length: 300 }, () => ({ links: [link()] }));
    const found = answers([request({ ...forkRequest({ children }), id: 9 }), hello], by);
    expect(found).toMatchObject([
      { id: 9, ok: true, more: true },
      { id: 9, ok: true, more: false },
      greeting,
    ]);
  });

  test("a bug while lines are made, as the last of them", () => {
    const by = { ...signer(), keys: { secretOf: () => ({}) } as never };
    const found = answers([request({ ...forkRequest(), id: 9 }), hello], by);
    expect(found).toMatchObject([{ id: 9, ok: false, code: "internal" }, greeting]);
  });

  test("a key that came in a line does not stay in the buffer", () => {
    const seed = "0123456789abcdef".repeat(4);
    let buffer: Uint8Array = new Uint8Array();
    const lines = reader([request({ op: "load_key", seed })]);
    const written: string[] = [];
    const pipe = {
      read: (into: Uint8Array): number => {
        buffer = into;
        return lines(into);
      },
      write: (bytes: Uint8Array): void => {
        written.push(Buffer.from(buffer).includes(seed) ? "kept" : "gone");
        expect(Buffer.from(bytes).includes(seed)).toBe(false);
      },
    };
    serve(pipe, signer());
    expect(written).toEqual(["gone"]);
  });
});

test("a key is held by the seed that its line brought, and collected when it is forgotten", () => {
  let collected = 0;
  const by = { ...signer(), collect: () => void collected++ };
  const forget = request({ op: "forget_key", key: PLANNER.did });
  const load = request({ op: "load_key", seed: PLANNER.seed });
  expect(answers([load, forget, forget], by)).toMatchObject([
    { ok: true, key: PLANNER.did },
    { forgotten: true },
    { forgotten: false },
  ]);
  expect(collected).toBe(1);
});

test("no piece of a line, and no answer, stays in memory after its use", () => {
  const seed = "0123456789abcdef".repeat(4);
  const line = request({ op: "load_key", seed });
  const seen: Uint8Array[] = [];
  const pieces = reader([line.slice(0, -9), line.slice(-9), request({ op: "generate_key" })]);
  const pipe = {
    read: (into: Uint8Array): number => {
      for (const bytes of seen) expect(Buffer.from(bytes).includes(seed.slice(0, 32))).toBe(false);
      seen.push(into);
      return pieces(into);
    },
    write: (bytes: Uint8Array): number => seen.push(bytes),
  };
  serve(pipe, signer());
  expect(seen.every((bytes) => !Buffer.from(bytes).toString("latin1").includes("seed"))).toBe(true);
});

function* copied(lines: ReturnType<typeof linesOf>): Generator<string> {
  for (const line of lines) yield Buffer.isBuffer(line) ? line.toString() : "overlong";
}
