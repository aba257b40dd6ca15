import { describe, expect, test } from "vitest";

import type { Json } from "../src/token/canonical.ts";
import { EvaluationBudget } from "../src/verify/budget.ts";
import { parseSelector, select } from "../src/verify/selector.ts";

function selected(text: string, value: Json): Json | undefined {
  const selector = parseSelector(text);
  if (typeof selector === "string") throw new Error(selector);
  return select(selector, value, new EvaluationBudget());
}

const VALUE: Json = JSON.parse(
  '{"a":{"b-c":1,"d e":2,"\\"":3},"list":[1,[2,3]],"text":"h\u00e9\ud83d\ude00!","nul":null,"rows":[{"x":1},{"x":null}],"map":{"a":1,"b":[2]},"empty":[],"mixed":{"b":3,"9":1,"10":2},"bytes":{"/":{"bytes":"AAEC"}},"other":{"/":1},"notbytes":{"/":{"bytes":"AAEC="}},"__proto__":7,"é_$1":8}',
);

describe("paths", () => {
  test.each<[string, Json]>([
    [".", VALUE],
    [".?", VALUE],
    [".a.b-c", 1],
    ['.a["d e"]', 2],
    ['.["a"].["d e"]', 2],
    ['.a["\\""]', 3],
    ['.a["\\u0062-c"]', 1],
    [".list[0]", 1],
    [".list.[1][-1]", 3],
    [".list[-2]", 1],
    [".text[1]", "\u00e9"],
    [".text[2]", "\ud83d\ude00"],
    [".text[-1]", "!"],
    [".nul", null],
    [".__proto__", 7],
    [".é_$1", 8],
    [".none?", null],
    [".none?.deeper?", null],
    [".list[9]?", null],
    [".list.a?", null],
    [".nul.a?", null],
    [".a[0]?", null],
    [".nul??", null],
    [".none???", null],
    [".??", VALUE],
    [".list[]", [1, [2, 3]]],
    [".list[1:]", [[2, 3]]],
    [".list[:1]", [1]],
    [".list[-1:]", [[2, 3]]],
    [".list[0:-1]", [1]],
    [".list[1:0]", []],
    [".list[5:9]", []],
    [".list[-9:9]", [1, [2, 3]]],
    [".list.[0:1]", [1]],
    [".text[1:3]", "\u00e9\ud83d\ude00"],
    [".nul[1:]?", null],
    [".rows[]", [{ x: 1 }, { x: null }]],
    [".rows[].x", [1, null]],
    [".rows[].y?", [null, null]],
    [".rows[][]", [1, null]],
    [".map[]", [1, [2]]],
    [".map[][]?", [2]],
    [".map[][]?[0]?", [null]],
    [".nul[]?", null],
    [".nul[]?.x?", null],
    [".empty[]", []],
    [".mixed[]", [2, 1, 3]],
    [".empty[].x", []],
    [".bytes[0]", 0],
    [".bytes[-1]", 2],
    [".bytes[1:]", { "/": { bytes: "AQI" } }],
    [".bytes[9:]", { "/": { bytes: "" } }],
    ['.notbytes["/"].bytes', "AAEC="],
    ['.other["/"]', 1],
    ['.notbytes[]', [{ bytes: "AAEC=" }]],
  ])("%s", (text, value) => {
    expect(selected(text, VALUE)).toEqual(value);
  });
});

describe("paths that end early select nothing", () => {
  test.each([
    ".none",
    ".none?.deeper",
    ".a.none",
    ".list[2]",
    ".list[-3]",
    ".list.length",
    ".text.length",
    ".text[9]",
    ".nul.a",
    ".nul[0]",
    ".a[0]",
    ".constructor",
    ".a.toString",
    ".nul[1:]",
    ".a[1:]",
    ".nul[]",
    ".text[]",
    ".rows[].y",
    ".rows[][0]",
    ".map[][]",
    ".nul[]?.x",
    ".bytes[]",
    '.bytes["/"]',
    ".bytes[9]",
    ".bytes.bytes",
  ])("%s", (text) => {
    expect(selected(text, VALUE)).toBeUndefined();
  });
});

describe("what is no path is refused", () => {
  test.each([
    ["", "starts with a dot"],
    ["a", "starts with a dot"],
    ["[0]", "starts with a dot"],
    ["..", "path such as"],
    ["..a", "path such as"],
    [".a.", "path such as"],
    [".a b", "path such as"],
    [".9", "path such as"],
    [".[a]", "path such as"],
    [".[0", "path such as"],
    [".[1.5]", "path such as"],
    [".[9999999999999999]", "path such as"],
    ['.["a]', "path such as"],
    ['.["\\x"]', "path such as"],
    [".a\n", "path such as"],
    [".[:]", "path such as"],
    [".a".repeat(65), "at most 64 segments"],
    [".[::]", "path such as"],
    [".[1:2:3]", "path such as"],
    [".[1:a]", "path such as"],
    [".[ 1]", "path such as"],
    [".[]]", "path such as"],
    [".a[]b", "path such as"],
    [".[?]", "path such as"],
    ['.["a:b', "path such as"],
  ])("%j", (text, why) => {
    expect(parseSelector(text)).toContain(why);
  });
});

test("a character of a text costs no more than the text did", () => {
  const reading = new EvaluationBudget();
  const selector = parseSelector(".text[0][0][-1][0]");
  if (typeof selector === "string") throw new Error(selector);
  expect(select(selector, { text: "x".repeat(65536) }, reading)).toBe("x");
  expect(reading.steps).toBe(5 + 65536 + 1);
});

describe("selectors", () => {
  test.each<[string, object]>([
    [".[12]", { kind: "element", index: 12 }],
    [".[-12]", { kind: "element", index: -12 }],
    [".[10:12]", { kind: "slice", start: 10, end: 12 }],
    [".[:-12]", { kind: "slice", start: 0, end: -12 }],
    [".[-12:]", { kind: "slice", start: -12, end: undefined }],
  ])("%s", (text, segment) => {
    expect(parseSelector(text)).toEqual([{ ...segment, optional: false }]);
  });

  test("have 64 segments and not one more", () => {
    expect(parseSelector(".a".repeat(64))).toHaveLength(64);
    expect(parseSelector(".a".repeat(65))).toBe("a selector has at most 64 segments");
  });

  test("putting the members of a map in order is paid for", () => {
    const selector = parseSelector(".[]");
    if (typeof selector === "string") throw new Error(selector);
    const reading = new EvaluationBudget();
    const map = Object.fromEntries([..."hgfedcba"].map((name, index) => [name, index]));
    expect(select(selector, map, reading)).toEqual([7, 6, 5, 4, 3, 2, 1, 0]);
    expect(reading.steps).toBe(1 + 8 + 8 * 4 + 8); // the segment, names, their order, values
  });

  test("walk bytes once for each time they are named", () => {
    const selector = parseSelector(".b[0]");
    if (typeof selector === "string") throw new Error(selector);
    const reading = new EvaluationBudget();
    expect(select(selector, { b: { "/": { bytes: "AAEC" } } }, reading)).toBe(0);
    const first = 2 + 1 + 4 + 3; // segments, the one member's name, base64, bytes
    expect(reading.steps).toBe(first);
    expect(select(selector, { b: { "/": { bytes: "AAEC" } } }, reading)).toBe(0);
    expect(reading.steps).toBe(2 * first);
  });

  test("the same bytes are decoded once", () => {
    const selector = parseSelector(".b[0]");
    if (typeof selector === "string") throw new Error(selector);
    const reading = new EvaluationBudget();
    const value = { b: { "/": { bytes: "AAEC" } } };
    select(selector, value, reading);
    select(selector, value, reading);
    expect(reading.steps).toBe(2 + 1 + 4 + 3 + 2 + 3);
  });
});
