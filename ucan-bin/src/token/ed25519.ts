/**
 * Ed25519 (RFC 8032) over `node:crypto`, with strict checks of keys and signatures.
 *
 * A platform's `verify` accepts keys of small order, for which one signature is valid for any
 * message, and platforms differ in non-canonical encodings. Both are refused here, by arithmetic
 * on the encodings: y below p, S below L (RFC 8032, sections 5.1.3 and 5.1.7), no point of small
 * order. Whether R is on the curve needs no check here: verification recomputes R from S, the key
 * and the message and compares encodings, so an R that is not a point never matches.
 */

import { Buffer } from "node:buffer";
import {
  createPrivateKey,
  createPublicKey,
  sign as platformSign,
  verify as platformVerify,
  type KeyObject,
} from "node:crypto";

export type { KeyObject };

export const KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const D = 37095705934669439343138083508754565189542113879843219016388785533085940283555n;

/**
 * The y coordinates of the eight points whose order divides 8: one, minus one and zero for
 * orders 1, 2 and 4, and two for order 8. The sign of x is left out: P and −P have one order.
 */
const ORDER_EIGHT_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022n;
const SMALL_ORDER_Y: ReadonlySet<bigint> = new Set([
  0n,
  1n,
  P - 1n,
  ORDER_EIGHT_Y,
  P - ORDER_EIGHT_Y,
]);

/** DER before the raw bytes of a private key (RFC 8410, section 7) and a public one (4). */
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");
const SPKI = Buffer.from("302a300506032b6570032100", "hex");

export interface KeyPair {
  readonly secret: KeyObject;
  readonly publicBytes: Uint8Array;
}

export function keyPair(seed: Uint8Array): KeyPair {
  const der = Buffer.concat([PKCS8, seed]);
  const secret = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  der.fill(0);
  const spki = createPublicKey(secret).export({ format: "der", type: "spki" });
  return { secret, publicBytes: spki.subarray(SPKI.length) };
}

/** The public key, or undefined if the bytes are not one: see `isPoint`. */
export function publicKey(bytes: Uint8Array): KeyObject | undefined {
  if (!isPoint(bytes)) return undefined;
  return createPublicKey({ key: Buffer.concat([SPKI, bytes]), format: "der", type: "spki" });
}

export function sign(message: Uint8Array, secret: KeyObject): Uint8Array {
  return platformSign(null, message, secret);
}

export function verify(message: Uint8Array, signature: Uint8Array, key: KeyObject): boolean {
  return isSignature(signature) && platformVerify(null, message, key, signature);
}

/** Whether R and S are canonical and R is not of small order. */
export function isSignature(signature: Uint8Array): boolean {
  if (signature.length !== SIGNATURE_BYTES) return false;
  const s = littleEndian(signature.subarray(KEY_BYTES));
  return s < L && yCoordinate(signature.subarray(0, KEY_BYTES)) !== undefined;
}

/** Whether the bytes are the canonical encoding of a curve point that is not of small order. */
export function isPoint(bytes: Uint8Array): boolean {
  if (bytes.length !== KEY_BYTES) return false;
  const y = yCoordinate(bytes);
  return y !== undefined && isOnCurve(y);
}

/**
 * The y of a canonical encoding, unless its point is of small order. The other encoding that is
 * not canonical, x = 0 with the sign bit set, has y = ±1 and so is of small order too.
 */
function yCoordinate(bytes: Uint8Array): bigint | undefined {
  const y = littleEndian(bytes) & (2n ** 255n - 1n);
  return y < P && !SMALL_ORDER_Y.has(y) ? y : undefined;
}

/** RFC 8032, section 5.1.3: x² = (y² − 1) / (d y² + 1) must have a root (Euler's criterion). */
function isOnCurve(y: bigint): boolean {
  const numerator = (y * y - 1n) % P;
  const denominator = (D * y * y + 1n) % P;
  // The quotient is a square exactly if the product is. Neither is 0: y is not ±1, −1/d no square.
  return euler((numerator * denominator) % P) === 1n;
}

/**
 * a to the power (p − 1) / 2, which is 2^254 − 10 = 2^4 (2^250 − 1) + 6. Going through powers
 * 2^n − 1 takes eleven products beside the squarings, where bit by bit takes hundreds.
 */
function euler(a: bigint): bigint {
  const ones2 = longer(a, a, 1);
  const ones4 = longer(ones2, ones2, 2);
  const ones5 = longer(ones4, a, 1);
  const ones10 = longer(ones5, ones5, 5);
  const ones20 = longer(ones10, ones10, 10);
  const ones40 = longer(ones20, ones20, 20);
  const ones50 = longer(ones40, ones10, 10);
  const ones100 = longer(ones50, ones50, 50);
  const ones200 = longer(ones100, ones100, 100);
  const ones250 = longer(ones200, ones50, 50);
  return (squared(ones250, 4) * squared(ones2, 1)) % P;
}

/** From powers 2^m − 1 and 2^n − 1, the power 2^(m + n) − 1. */
function longer(power: bigint, by: bigint, n: number): bigint {
  return (squared(power, n) * by) % P;
}

function squared(a: bigint, times: number): bigint {
  let result = a;
  for (let i = 0; i < times; i++) result = (result * result) % P;
  return result;
}

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`);
}
