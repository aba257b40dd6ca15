/**
 * Glob patterns of UCAN 1.0: `*` is any number of characters, `\*` a star; nothing else is special.
 *
 * A pattern is split into the pieces between its stars. The text must begin with the first and end
 * with the last; the others must occur between them, in order, each at its first match, which is
 * never worse than a later one. Each piece is searched by the algorithm of Knuth, Morris and Pratt,
 * so the cost is linear in the lengths of text and pattern.
 */

import type { EvaluationBudget } from "./budget.ts";

/** The texts between the stars; there is always one, and a star between any two. */
export type Pattern = readonly string[];

export function parsePattern(glob: string): Pattern {
  const pieces: string[] = [""];
  for (const [token] of glob.matchAll(/\\\*|[^]/g)) {
    if (token === "*") pieces.push("");
    else pieces[pieces.length - 1] += token === "\\*" ? "*" : token;
  }
  return pieces;
}

export function matches(pattern: Pattern, text: string, budget: EvaluationBudget): boolean {
  const [head = "", ...more] = pattern;
  const tail = more.pop();
  budget.charge(text.length + pattern.reduce((sum, piece) => sum + piece.length + 1, 0));
  if (tail === undefined) return text === head;
  if (!text.startsWith(head) || !text.endsWith(tail)) return false;
  const end = text.length - tail.length;
  let at = head.length;
  for (const piece of more) {
    at = endOf(piece, text, at);
    if (at > end) return false;
  }
  return at <= end;
}

/** The end of the first `piece` at or after `start`; infinity if there is none. */
function endOf(piece: string, text: string, start: number): number {
  if (piece === "") return start;
  const borders = bordersOf(piece);
  let fits = 0;
  for (let at = start; at < text.length; at++) {
    while (fits > 0 && text[at] !== piece[fits]) fits = Number(borders[fits - 1]);
    if (text[at] === piece[fits]) fits++;
    if (fits === piece.length) return at + 1;
  }
  return Infinity;
}

/** For each beginning of `piece`, the length of the longest shorter beginning that ends it. */
function bordersOf(piece: string): number[] {
  const borders = [0];
  let fits = 0;
  for (let at = 1; at < piece.length; at++) {
    while (fits > 0 && piece[at] !== piece[fits]) fits = Number(borders[fits - 1]);
    if (piece[at] === piece[fits]) fits++;
    borders.push(fits);
  }
  return borders;
}
