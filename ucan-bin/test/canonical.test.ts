import { describe, expect, test } from "vitest";

import { Refusal } from "../src/refusal.ts";
import {
  canonical,
  equal,
  namesAreNfc,
  nestingOf,
  parse,
  shown,
  type Json,
} from "../src/token/canonical.ts";

function refusal(text: string, nesting = 32): string | undefined {
  const value = parse(text, nesting);
  return value instanceof Refusal ? value.message : undefined;
}

/** The canonical form of JSON text that is read without complaint. */
function again(text: string): string {
  const value = parse(text, 32);
  if (value instanceof Refusal) throw new Error(value.message);
  return canonical(value);
}

describe("reading", () => {
  test.each([
    ["{", "not JSON"],
    ['{"a":1,}', "not JSON"],
    ["[01]", "not JSON"],
    ["[+1]", "not JSON"],
    ["['a']", "not JSON"],
    ['"a', "not JSON"],
    ['"\\"', "not JSON"],
    ["\ufeff{}", "not JSON"],
    ["[NaN]", "not JSON"],
    ['{"a":1,"a":1}', "twice"],
    ['{"a":1,"\\u0061":1}', "twice"],
    ['{"__proto__":1,"__proto__":1}', "twice"],
    ['[{"b":{"a":1,"c":":","a":1}}]', "twice"],
    ["9007199254740992", "2^53"],
    ["-9007199254740992", "2^53"],
    ["[100000000000000000000000000000000]", "2^53"],
    ["[-999999999999999999999999]", "2^53"],
    ["[0,9999999999999999999999990]", "2^53"],
    ["9007199254740993.0", "2^53"],
    ["9.1e15", "2^53"],
    ["1e20", "2^53"],
    ["1e400", "double"],
    ["-1e400", "double"],
    ['"\\ud800"', "surrogate"],
    ['["\\udc00\\ud800"]', "surrogate"],
    ['{"\\ud800":1}', "surrogate"],
  ])("%s is refused", (text, why) => {
    expect(refusal(text)).toContain(why);
  });

  test.each([
    "0",
    "-0",
    "9007199254740991",
    "-9007199254740991",
    "1E30",
    "1e21",
    "1000000000000000.5",
    "0.1234567890123456789",
    "4.50",
    '"9007199254740992"',
    '"a\\\\"',
    '["\\\\\\"", ":{[", "\\ud83d\\ude00"]',
    '{"a":{"a":{"a":1}}}',
    ' \t\r\n{ "a" : [ ] } ',
    "[]",
    "null",
  ])("%s is read", (text) => {
    expect(refusal(text)).toBeUndefined();
    expect(parse(text, 32)).toEqual(JSON.parse(text));
  });

  test("nesting is refused beyond its bound, and only beyond it", () => {
    const nested = (levels: number): string => "[".repeat(levels) + "]".repeat(levels);
    expect(refusal(nested(32))).toBeUndefined();
    expect(refusal(nested(33))).toContain("deeper than 32");
    expect(refusal(`[${"[],".repeat(100)}[]]`, 2)).toBeUndefined();
  });

  test("nesting is refused before anything is built", () => {
    expect(refusal("[".repeat(1_000_000))).toContain("deeper than 32");
  });

  test("a member named __proto__ is data", () => {
    const value = parse('{"__proto__":{"a":1}}', 32);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(Object.keys(value as object)).toEqual(["__proto__"]);
  });
});

describe("writing", () => {
  test.each([
    ['{"b":1,"a":2}', '{"a":2,"b":1}'],
    ['{ "a" : [ 1 , 2 ] }', '{"a":[1,2]}'],
    [
      '{"\u20ac":1,"\\r":2,"1":3,"\ud83d\ude02":4,"\ufb33":5}',
      '{"\\r":2,"1":3,"\u20ac":1,"\ud83d\ude02":4,"\ufb33":5}',
    ],
    ['{"9":1,"10":2,"a":{"2":1,"1":[]}}', '{"10":2,"9":1,"a":{"1":[],"2":1}}'],
    ['{"b":"\\"1\\":","a":1}', '{"a":1,"b":"\\"1\\":"}'],
    ['[{"10":null,"9":true}]', '[{"10":null,"9":true}]'],
    ['{"__proto__":{"b":1,"a":2},"_":1}', '{"_":1,"__proto__":{"a":2,"b":1}}'],
    ['"\\u0000\\u001f\\u007f\\/\\u2028"', '"\\u0000\\u001f\u007f/\u2028"'],
    ["[-0,1.0,1e2,1E30,4.50,0.000001,1e-7]", "[0,1,100,1e+30,4.5,0.000001,1e-7]"],
    ["[true,false,null]", "[true,false,null]"],
  ])("%s becomes %s", (text, form) => {
    expect(again(text)).toBe(form);
    expect(again(form)).toBe(form);
  });
});

describe("comparing", () => {
  test.each<[Json, Json]>([
    [1, 1],
    [0, -0],
    ["a", "a"],
    [null, null],
    [
      [1, [2]],
      [1, [2]],
    ],
    [
      { a: 1, b: [{}] },
      { b: [{}], a: 1 },
    ],
  ])("%j equals %j", (a, b) => {
    expect(equal(a, b)).toBe(true);
  });

  test.each<[Json, Json]>([
    [1, "1"],
    [1, true],
    [null, {}],
    [[], {}],
    [{}, []],
    [
      [1, 2],
      [2, 1],
    ],
    [[1], [1, 2]],
    [["a"], "a"],
    [
      [1, 2],
      [1, 3],
    ],
    [{ a: 1 }, { a: 2 }],
    [{ a: 1 }, { b: 1 }],
    [{ a: 1 }, { a: 1, b: 1 }],
    [{ constructor: 1 }, { a: 1 }],
  ])("%j does not equal %j", (a, b) => {
    expect(equal(a, b)).toBe(false);
    expect(equal(b, a)).toBe(false);
  });
});

test("names are in normalisation form C, or are found out at any depth", () => {
  expect(namesAreNfc({ "\u00e9": ["e\u0301", null, { a: 1 }] })).toBe(true);
  expect(namesAreNfc([{ a: [{ "e\u0301": 1 }] }])).toBe(false);
});

test("nesting counts brackets", () => {
  expect([nestingOf(1), nestingOf({}), nestingOf([{ a: [] }, 1])]).toEqual([0, 1, 3]);
});

describe("an integer that would change value is named", () => {
  test.each([
    ['{"args":{"n":9007199254740993}}', "args.n: an integer"],
    ['{"a":[1,[2,-9007199254740992]]}', "a[1][1]: an integer"],
    ['{"a b":{"c":1e16}}', '["a b"].c: an integer'],
    ['{"a":[{"b":9007199254740993}]}', "a[0].b: an integer"],
    ['[1e300,{"x":1000000000000000000000000}]', "[0]: an integer"],
    [`{"${"a".repeat(999)}":9007199254740993}`, `${"a".repeat(256)}: an integer`],
  ])("%s", (text, path) => {
    expect(parse(text, 32)).toMatchObject({ message: expect.stringContaining(path) });
    expect(parse(text, 32)).toMatchObject({ message: expect.stringMatching(/^["[a]/) });
  });
});

describe("text that is easily misread", () => {
  test.each<[string, Json]>([
    ['{"a\\\\":1,"b":2}', { "a\\": 1, b: 2 }],
    ['["\\\\","]"]', ["\\", "]"]],
    ['{"a\\\\\\"":"\\"{"}', { 'a\\"': '"{' }],
    ["[1,123456789012345]", [1, 123_456_789_012_345]],
    ["[ 123456789012345]", [123_456_789_012_345]],
    ["[-9007199254740991]", [-9_007_199_254_740_991]],
  ])("%s is read", (text, value) => {
    expect(parse(text, 32)).toEqual(value);
  });

  test.each([
    ["[null,9007199254740993]", "[1]: an integer"],
    ['{"a":{"b":[0,-9007199254740993]}}', "a.b[1]: an integer"],
    [`{"${"n".repeat(400)}":9007199254740993}`, `${"n".repeat(256)}: an integer`],
  ])("%s is refused", (text, sentence) => {
    expect(refusal(text)).toContain(sentence);
    expect(refusal(text)).toMatch(/^.{0,256}: an integer is beyond/);
  });

  test("names of digits are in the order of texts", () => {
    expect(canonical({ 20: 1, 100: 2 })).toBe('{"100":2,"20":1}');
    expect(canonical([{ 20: 1, 100: [null] }])).toBe('[{"100":[null],"20":1}]');
  });

  test("a value is shown whole as long as it may be", () => {
    expect(shown("a".repeat(254))).toBe(`"${"a".repeat(254)}"`);
    expect(shown("a".repeat(255))).toBe(`"${"a".repeat(255)}…`);
    expect(shown(`${"a".repeat(254)}\u{1f600}`)).toBe(`"${"a".repeat(254)}\ufffd…`);
  });
});
