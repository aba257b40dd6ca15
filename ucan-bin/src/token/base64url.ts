/** base64url without padding (RFC 4648, section 5), in its canonical form only. */

import { Buffer } from "node:buffer";

export function encode(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64url");
}

export function encodeText(text: string): string {
  return Buffer.from(text, "utf8").toString("base64url");
}

/**
 * The bytes, or undefined if `text` is not their canonical encoding: padding, the other alphabet,
 * whitespace and spare bits in the last sextet all decode, but do not encode back.
 */
export function decode(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64url");
  return bytes.toString("base64url") === text ? bytes : undefined;
}
