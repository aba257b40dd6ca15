/** The persistent loop over bytes in memory. */

import { Buffer } from "node:buffer";

import type { Signer } from "../src/operations.ts";
import { serve, type Pipe } from "../src/serve.ts";
import { signer } from "./tokens.ts";

/** A `read` that hands out these pieces, one a call, and then ends. */
export function reader(pieces: readonly (string | Uint8Array)[]): Pipe["read"] {
  const left = pieces.map(bytesOf).filter(({ length }) => length > 0);
  return (into) => {
    const [piece] = left;
    if (piece === undefined) return 0;
    const size = piece.copy(into);
    if (size === piece.length) left.shift();
    else left[0] = piece.subarray(size);
    return size;
  };
}

/** What the loop answers to these pieces of input. */
export function answers(
  pieces: readonly (string | Uint8Array)[],
  by: Signer = signer(),
): unknown[] {
  const written: Uint8Array[] = [];
  serve({ read: reader(pieces), write: (bytes) => written.push(Uint8Array.from(bytes)) }, by);
  const lines = Buffer.concat(written).toString("utf8").split("\n");
  return lines.slice(0, -1).map((line): unknown => JSON.parse(line));
}

function bytesOf(piece: string | Uint8Array): Buffer {
  return typeof piece === "string" ? Buffer.from(piece) : Buffer.from(piece);
}

export function request(members: object): string {
  return `${JSON.stringify({ id: 1, protocol: 1, ...members })}\n`;
}
