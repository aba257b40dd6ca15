/**
 * The keys of one process, each under its DID. A key is sent only in the answer that made it.
 *
 * A `KeyObject` keeps the key in the platform's memory, outside the JavaScript heap, and erases it
 * when it is collected; deleting a key therefore collects at once. A received seed is removed from
 * its line before the line becomes a string, because strings cannot be erased (`takeSeed`). A seed
 * that is made here is sent as a string, whose memory is freed without being erased.
 */

import { Buffer } from "node:buffer";

import { Refusal, tooLarge, unknownKey } from "./refusal.ts";
import { didOf } from "./token/did_key.ts";
import { keyPair, type KeyObject } from "./token/ed25519.ts";

/** Keys held at once: more than a server has apps, and small in memory. */
export const MAX_KEYS = 65_536;

export class Keys {
  readonly #secrets = new Map<string, KeyObject>();
  readonly #limit: number;

  constructor(limit = MAX_KEYS) {
    this.#limit = limit;
  }

  /** Hold a key and return its DID. The seed's bytes are erased. */
  add(seed: Uint8Array): string | Refusal {
    const { secret, publicBytes } = keyPair(seed);
    seed.fill(0);
    const did = didOf(publicBytes);
    if (this.#secrets.size >= this.#limit && !this.#secrets.has(did)) {
      return tooLarge(`${this.#limit} keys are loaded already; forget some first`);
    }
    this.#secrets.set(did, secret);
    return did;
  }

  secretOf(did: string): KeyObject | Refusal {
    return this.#secrets.get(did) ?? unknownKey(`the key ${did} is not loaded; load it first`);
  }

  forget(did: string): boolean {
    return this.#secrets.delete(did);
  }

  /** Delete all keys. */
  clear(): void {
    this.#secrets.clear();
  }
}

const LOADS = Buffer.from('"op":"load_key","seed":"');
const ENDS = Buffer.from('"}');
const SEED_DIGITS = 64;
const ZERO = 0x30;

/**
 * Take the seed out of a line that loads a key, and replace it by zeros; undefined for any other
 * line. In a string quotes would be escaped, and in a nested object another brace would follow, so
 * these are members of the request itself, or the line is not JSON.
 */
export function takeSeed(line: Uint8Array): Uint8Array | undefined {
  const end = line.length - ENDS.length;
  const start = end - SEED_DIGITS;
  if (start < LOADS.length || !ENDS.equals(line.subarray(end))) return undefined;
  if (!LOADS.equals(line.subarray(start - LOADS.length, start))) return undefined;
  const digits = line.subarray(start, end);
  const seed = new Uint8Array(SEED_DIGITS / 2);
  for (const [index, digit] of digits.entries()) {
    const value = valueOf(digit);
    if (value === undefined) return undefined;
    seed[index >> 1] = ((seed[index >> 1] as number) << 4) | value;
  }
  digits.fill(ZERO);
  return seed;
}

/** A lower-case hex digit's value. */
function valueOf(digit: number): number | undefined {
  if (digit >= 0x30 && digit <= 0x39) return digit - 0x30;
  return digit >= 0x61 && digit <= 0x66 ? digit - 0x57 : undefined;
}

export function seedFromHex(seed: string): Uint8Array {
  return Buffer.from(seed, "hex");
}
