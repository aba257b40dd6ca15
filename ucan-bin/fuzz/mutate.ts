/** Texts made of other texts: by character, by word, and where a text is JSON, by value. */

import type { Json } from "../src/token/canonical.ts";
import type { Random } from "./random.ts";

/** An input may be this long; what is longer is cut, for it only costs time. */
const LONGEST = 6000;

const VALUES: readonly Json[] = [
  ...[null, true, false, 0, -1, 1, 0.5, 1e21, -0, 2 ** 53, 2 ** 53 - 1, 1e-7, 7],
  ...["", ".", "*", "a", "\\*", ".a", ".cmd", ".[]", ".[0]", ".[-1:]", ".a?", '.["a"]', "é"],
  ...["e\u0301", "\u{1f600}", "\ud800", "\0", "/a/b", "a/../b", "__proto__", "toString", "0", "10"],
  ...[[], {}, [[]], [{}], { "/": { bytes: "AAEC" } }, { "/": { bytes: "AA=" } }, { a: 1, b: 2 }],
  ...[["==", ".a", 1], ["any", ".a", ["or", []]], ["not", ["like", ".a", "*"]], ["and", []]],
];

const WORDS: readonly string[] = [
  ...['"', "\\", "{", "}", "[", "]", ",", ":", "-", "0", "9", ".", "e", "E", "+", " ", "\t", "\n"],
  ...["null", "true", '""', "{}", "[]", "1e999", "-0", "1.0", "1e21", "9007199254740993", "\\u"],
  ...["\\ud800", "\\udc00", "\ufeff", "\u2028", "\u0000", "é", "e\u0301", "\u{1f600}", "\ud800"],
  ...["?", "[]", "[0]", "[-1]", "[1:2]", "[:]", '["a"]', ".a", ".", "*", "\\*", "**", "=", "_"],
  ...["/", '"__proto__":1', '"a":', '"0":', '"10":', "[[[[[[[[", '{"a":{"a":', "]]]]]]]]", "z6Mk"],
];

/** A text near to `text`, or made of it and `other`. */
export function mutated(text: string, other: string, random: Random): string {
  let result = text;
  for (let times = 1 + random.below(3); times > 0; times--) {
    const structured = random.below(2) === 0 ? restructured(result, random) : undefined;
    result = structured ?? edited(result, other, random);
  }
  return result.slice(0, LONGEST);
}

function edited(text: string, other: string, random: Random): string {
  const at = random.below(text.length + 1);
  const to = Math.min(text.length, at + random.one([0, 0, 1, 1, 2, 5, 30]));
  switch (random.below(6)) {
    case 0:
      return text.slice(0, at) + text.slice(to);
    case 1:
      return text.slice(0, at) + String.fromCharCode(random.below(128)) + text.slice(to);
    case 2:
      return text.slice(0, at) + text.slice(at, to).repeat(2 + random.below(20)) + text.slice(to);
    case 3: {
      const from = random.below(other.length + 1);
      const piece = other.slice(from, from + random.below(40));
      return text.slice(0, at) + piece + text.slice(to);
    }
    default:
      return text.slice(0, at) + random.one(WORDS) + text.slice(to);
  }
}

/** Each line of an input may be JSON of its own; undefined if the chosen one is not. */
function restructured(text: string, random: Random): string | undefined {
  const lines = text.split("\n");
  const index = random.below(lines.length);
  try {
    const value: Json = JSON.parse(lines[index] ?? "");
    lines[index] = JSON.stringify(revalued(value, random));
  } catch {
    return undefined;
  }
  return lines.join("\n");
}

/** The value with one place in it changed. */
function revalued(value: Json, random: Random): Json {
  if (value === null || typeof value !== "object" || random.below(6) === 0)
    return replaced(value, random);
  if (Array.isArray(value)) {
    const items = [...value];
    const at = random.below(items.length + 1);
    switch (random.below(5)) {
      case 0:
        items.splice(at, 1);
        break;
      case 1:
        items.splice(at, 0, items[random.below(items.length)] ?? random.one(VALUES));
        break;
      default:
        items[at] = revalued(items[at] ?? null, random);
    }
    return items;
  }
  const members = Object.entries(value);
  const at = random.below(members.length + 1);
  const [name, member] = members[at] ?? [random.one(["a", "0", "10", "", "__proto__", "é"]), null];
  switch (random.below(5)) {
    case 0:
      members.splice(at, 1);
      break;
    case 1:
      members.splice(at, 0, [random.one(["a", "b", "1", "path", "meta"]), member]);
      break;
    default:
      members[at] = [name, revalued(member, random)];
  }
  return Object.fromEntries(members);
}

function replaced(value: Json, random: Random): Json {
  if (typeof value === "number" && random.below(2) === 0)
    return value + random.one([-1, 1, 0.5, 60, -3600, 2 ** 40]);
  if (typeof value === "string" && random.below(2) === 0)
    return edited(value, random.one(WORDS), random);
  return random.below(4) === 0 ? [value] : random.one(VALUES);
}
