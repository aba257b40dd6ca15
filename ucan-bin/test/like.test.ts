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
