/** Bytes in JSON, as IPLD writes them: `{"/": {"bytes": "<base64, unpadded>"}}` (DAG-JSON). */

import { Buffer } from "node:buffer";

import { isObject } from "../token/canonical.ts";
import type { Json } from "../token/canonical.ts";

/** The bytes that `value` stands for; undefined if it is no such form, or not in its one text. */
export function bytesIn(value: Json): Uint8Array | undefined {
  const inner = onlyMember(value, "/");
  const text = inner === undefined ? undefined : onlyMember(inner, "bytes");
  if (typeof text !== "string") return undefined;
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

/** Its one member, if it is an object of one and that is its name. */
function onlyMember(value: Json, name: string): Json | undefined {
  const [member, ...more] = isObject(value) ? Object.entries(value) : [];
  return member?.[0] === name && more.length === 0 ? member[1] : undefined;
}
