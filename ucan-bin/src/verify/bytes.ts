/** Bytes in JSON, as IPLD writes them: `{"/": {"bytes": "<base64, unpadded>"}}` (DAG-JSON). */

import { Buffer } from "node:buffer";

import { isObject } from "../token/canonical.ts";
import type { Json } from "../token/canonical.ts";

/** The base64 in what a member `/` holds; undefined if it holds anything else. */
export function bytesText(inner: Json | undefined): string | undefined {
  if (!isObject(inner) || !Object.hasOwn(inner, "bytes")) return undefined;
  const { bytes } = inner;
  return typeof bytes === "string" && isAlone(inner) ? bytes : undefined;
}

/** The bytes of a base64 text; undefined if it is not their canonical encoding. */
export function bytesFrom(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, "base64");
  return textOf(bytes) === text ? bytes : undefined;
}

/** The form of these bytes, each a number from 0 to 255. */
export function bytesOf(bytes: readonly Json[]): Json {
  return { "/": { bytes: textOf(Buffer.from(bytes.map(Number))) } };
}

function textOf(bytes: Buffer): string {
  return bytes.toString("base64").replace(/=+$/, "");
}

function isAlone(value: object): boolean {
  return Object.keys(value).length === 1;
}
