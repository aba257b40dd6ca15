/**
 * The keys of one process, each under its DID. They leave it only in the answer that made them.
 *
 * A `KeyObject` keeps the key in the platform's memory, outside the JavaScript heap. The hex text
 * it came from is a string, and the runtime offers no way to erase one.
 */

import { Buffer } from "node:buffer";

import { Refusal, tooLarge, unknownKey } from "./refusal.ts";
import { didOf } from "./token/did_key.ts";
import { keyPair, type KeyObject } from "./token/ed25519.ts";

/** Keys held at once: far more than the apps of one server, far less than memory. */
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
}

export function seedFromHex(seed: string): Uint8Array {
  return Buffer.from(seed, "hex");
}
