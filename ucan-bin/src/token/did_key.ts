/**
 * did:key for Ed25519: `did:key:z` + base58btc(0xed 0x01 ‖ public key) (W3C CCG did:key).
 *
 * Only the canonical text of a key is accepted. Refused are another codec, spare digits, bytes that
 * are not a curve point, and points of small order.
 */

import { Buffer } from "node:buffer";

import { publicKey, type KeyObject } from "./ed25519.ts";
import { LruCache } from "./lru.ts";

const PREFIX = "did:key:z";
const DID = /^did:key:z6Mk[1-9A-HJ-NP-Za-km-z]{44}$/;
const CODEC = Buffer.from([0xed, 0x01]);
const ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const BASE = BigInt(ALPHABET.length);

/** Keys whose encoding and point were checked, which costs as much as verifying a signature. */
const checked = new LruCache<KeyObject>(1024);

/** The key that `did` names, or undefined if it names none. */
export function keyOf(did: string): KeyObject | undefined {
  const known = checked.get(did);
  if (known !== undefined) return known;
  const bytes = publicBytesOf(did);
  const key = bytes && publicKey(bytes);
  if (key !== undefined) checked.set(did, key);
  return key;
}

export function didOf(publicBytes: Uint8Array): string {
  return PREFIX + base58(Buffer.concat([CODEC, publicBytes]));
}

function publicBytesOf(did: string): Uint8Array | undefined {
  if (!DID.test(did)) return undefined;
  let number = 0n;
  for (const digit of did.slice(PREFIX.length)) {
    number = number * BASE + BigInt(ALPHABET.indexOf(digit));
  }
  // The first digits fix the first byte to 0xed, so the hex text has its full length.
  const bytes = Buffer.from(number.toString(16), "hex");
  return bytes.subarray(0, CODEC.length).equals(CODEC) ? bytes.subarray(CODEC.length) : undefined;
}

/** The codec's first byte is not zero, so there are no leading zeros to encode. */
function base58(bytes: Uint8Array): string {
  let text = "";
  for (let rest = BigInt(`0x${Buffer.from(bytes).toString("hex")}`); rest > 0n; rest /= BASE) {
    text = ALPHABET.charAt(Number(rest % BASE)) + text;
  }
  return text;
}
