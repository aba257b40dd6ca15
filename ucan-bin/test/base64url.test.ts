import { Buffer } from "node:buffer";
import { expect, test } from "vitest";

import { decode, encode, encodeText } from "../src/token/base64url.ts";

test("bytes and text are encoded without padding, in the URL alphabet", () => {
  expect(encode(Uint8Array.of(0xfb, 0xff))).toBe("-_8");
  expect(encode(Uint8Array.of(1, 0xfb, 0xff, 2).subarray(1, 3))).toBe("-_8");
  expect(encodeText("\u20ac")).toBe("4oKs");
});

test("what was encoded is decoded", () => {
  expect(decode("-_8")).toEqual(Buffer.from([0xfb, 0xff]));
  expect(decode("")).toEqual(Buffer.alloc(0));
});

test.each(["-_8=", "+/8", "-_9", "-_8 ", " -_8", "-_\n8", "A", "-_8-_8.", "é"])(
  "%j is not one text of some bytes",
  (text) => {
    expect(decode(text)).toBeUndefined();
  },
);
