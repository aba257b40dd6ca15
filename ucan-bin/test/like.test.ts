import { describe, expect, test } from "vitest";

import { matches, parsePattern } from "../src/verify/like.ts";
import { EvaluationBudget } from "../src/verify/budget.ts";

function like(glob: string, text: string): boolean {
  return matches(parsePattern(glob), text, new EvaluationBudget());
}

describe("a text fits", () => {
  test.each([
    ["", ""],
    ["a", "a"],
    ["*", ""],
    ["*", "a\nb"],
    ["**", "ab"],
    ["a*", "a"],
    ["*a", "ba"],
    ["a*c", "abc"],
    ["a*b*c", "a-b-b-c"],
    ["*aab*", "aaaab"],
    ["*abab*c", "abaabababc"],
    ["a*a", "aa"],
    ["\\*", "*"],
    ["a\\**", "a*b"],
    ["\\", "\\"],
    ["\\a", "\\a"],
    ["*\u{1f600}*", "x\u{1f600}y"],
    ["?.[a]", "?.[a]"],
  ])("%j %j", (glob, text) => {
    expect(like(glob, text)).toBe(true);
  });
});

describe("a text does not fit", () => {
  test.each([
    ["", "a"],
    ["a", ""],
    ["a", "A"],
    ["a*a", "a"],
    ["ab*ba", "aba"],
    ["a*b*c", "acb"],
    ["*a*", "b"],
    ["*aa*aa*", "aaa"],
    ["a*", "ba"],
    ["*a", "ab"],
    ["\\*", "a"],
    ["*xy*z", "xyxy"],
    ["*b*b", "ab"],
    ["?", "a"],
  ])("%j %j", (glob, text) => {
    expect(like(glob, text)).toBe(false);
  });
});

/** What a pattern means, said as a regular expression. */
function asRegExp(pieces: readonly string[]): RegExp {
  return new RegExp(`^${pieces.map((piece) => piece.replace(/[*\\]/g, "\\$&")).join("[^]*")}$`);
}

test("every short pattern fits what its regular expression matches", { timeout: 60_000 }, () => {
  let count = 0;
  const texts = words("ab", 6);
  for (const glob of words("ab*", 5)) {
    const expression = asRegExp(parsePattern(glob));
    for (const text of texts) {
      expect(like(glob, text), `${glob} ${text}`).toBe(expression.test(text));
      count++;
    }
  }
  expect(count).toBe(364 * 127);
});

function words(alphabet: string, longest: number): string[] {
  const all = [""];
  let last = all;
  for (let length = 1; length <= longest; length++) {
    last = last.flatMap((word) => Array.from(alphabet, (letter) => word + letter));
    all.push(...last);
  }
  return all;
}

describe("a pattern", () => {
  test("takes the text's length, each piece's, and one for each piece", () => {
    const reading = new EvaluationBudget();
    expect(matches(parsePattern("ab*c"), "ab-c", reading)).toBe(true);
    expect(reading.steps).toBe(4 + 3 + 2);
  });

  test("whose pieces repeat themselves fits what includes them", () => {
    const pieces = Array.from({ length: 128 }, (_, bits) => spelled(bits + 128));
    const texts = Array.from({ length: 128 }, (_, index) => spelled((index * 2_654_435) % 2 ** 16));
    let fitting = 0;
    for (const piece of pieces) {
      const pattern = parsePattern(`*${piece}*`);
      const nearly = [4, 6].map((length) => `${piece.slice(0, length)}${piece}`);
      for (const text of [...texts, ...nearly]) {
        const fits = matches(pattern, text, new EvaluationBudget());
        expect(fits, `${piece} in ${text}`).toBe(text.includes(piece));
        fitting += Number(fits);
      }
    }
    expect(fitting).toBeGreaterThan(256);
  });

  /** The bits below the highest, as letters. */
  function spelled(bits: number): string {
    return bits.toString(2).slice(1).replaceAll("0", "a").replaceAll("1", "b");
  }
});
