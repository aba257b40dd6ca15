import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";

import { isPoint, isSignature, keyPair, publicKey, sign, verify } from "../src/token/ed25519.ts";

const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const D = 37095705934669439343138083508754565189542113879843219016388785533085940283555n;

function bytes(number: bigint): Buffer {
  return Buffer.from(number.toString(16).padStart(64, "0"), "hex").reverse();
}

function number(encoded: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(encoded).reverse().toString("hex")}`);
}

const pair = keyPair(Buffer.alloc(32, 1));
const key = publicKey(pair.publicBytes)!;
const message = Buffer.from("message");
const signature = sign(message, pair.secret);
const [r, s] = [signature.subarray(0, 32), signature.subarray(32)];

test("a signature verifies with its key and its message alone", () => {
  const other = publicKey(keyPair(Buffer.alloc(32, 2)).publicBytes)!;
  expect(verify(message, signature, key)).toBe(true);
  expect(verify(Buffer.from("massage"), signature, key)).toBe(false);
  expect(verify(message, signature, other)).toBe(false);
});

describe("signatures with another text for the same bytes of meaning are refused", () => {
  test.each([
    ["63 bytes", signature.subarray(1)],
    ["65 bytes", Buffer.concat([signature, Buffer.alloc(1)])],
    ["S plus L", Buffer.concat([r, bytes(number(s) + L)])],
    ["S equal to L", Buffer.concat([r, bytes(L)])],
    ["R of order one", Buffer.concat([bytes(1n), s])],
    ["R of order two", Buffer.concat([bytes(P - 1n), s])],
    ["R of order four", Buffer.concat([bytes(0n), s])],
    ["R with y equal to p", Buffer.concat([bytes(P), s])],
    ["R with y beyond p", Buffer.concat([bytes(P + 3n), s])],
  ])("%s", (_, forged) => {
    expect(isSignature(forged)).toBe(false);
    expect(verify(message, forged, key)).toBe(false);
  });

  test("S below L and R of large order pass, for what they are worth", () => {
    const plausible = Buffer.concat([r, bytes(L - 1n)]);
    expect(isSignature(plausible)).toBe(true);
    expect(verify(message, plausible, key)).toBe(false);
  });
});

describe("points", () => {
  test("honest keys are points", () => {
    for (let seed = 0; seed < 16; seed++) {
      expect(isPoint(keyPair(Buffer.alloc(32, seed)).publicBytes)).toBe(true);
    }
  });

  test("about half of all numbers are the y of a point, and the platform agrees which", () => {
    let points = 0;
    for (let y = 2n; y < 66n; y++) if (isPoint(bytes(y))) points++;
    expect(points).toBeGreaterThan(20);
    expect(points).toBeLessThan(44);
  });

  test("a number is the y of a point if there is a root for its x", () => {
    const numbers = Array.from({ length: 64 }, (_, n) => power(BigInt(n + 2), 2n ** 200n + 7n));
    const seen = numbers.map((y) => {
      const square = mod((y * y - 1n) * inverse(D * y * y + 1n));
      expect(isPoint(bytes(y))).toBe(root(square) !== undefined);
      return isPoint(bytes(y));
    });
    expect(new Set(seen).size).toBe(2);
  });

  test("the eight points of small order are refused, and they are all there are", () => {
    for (const y of smallOrderYs()) {
      expect(isPoint(bytes(y))).toBe(false);
      expect(isPoint(bytes(y + 2n ** 255n))).toBe(false);
      expect(isSignature(Buffer.concat([bytes(y), s]))).toBe(false);
    }
    expect(smallOrderYs().size).toBe(5);
  });

  test("an encoding beyond p is refused, even of a good point", () => {
    const small = [2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n].find((y) => isPoint(bytes(y)))!;
    expect(isPoint(bytes(P + small))).toBe(false);
    expect(isPoint(bytes(P))).toBe(false);
    expect(publicKey(bytes(P + small))).toBeUndefined();
  });

  test("31 bytes are no point", () => {
    expect(isPoint(pair.publicBytes.subarray(1))).toBe(false);
  });
});

test("RFC 8032, test 1", () => {
  const seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
  const { secret, publicBytes } = keyPair(Buffer.from(seed, "hex"));
  expect(Buffer.from(publicBytes).toString("hex")).toBe(
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
  );
  const signature = sign(Buffer.alloc(0), secret);
  expect(Buffer.from(signature).toString("hex")).toMatch(/^e5564300c360ac729086e2cc806e828a/);
  expect(verify(Buffer.alloc(0), signature, publicKey(publicBytes)!)).toBe(true);
});

test("the key's bytes outlive the seed's", () => {
  const seed = Buffer.alloc(32, 1);
  keyPair(seed);
  expect(seed).toEqual(Buffer.alloc(32, 1));
});

/** Found by arithmetic: multiply points by L until eight times the result is the identity. */
function smallOrderYs(): Set<bigint> {
  const found = new Set<bigint>();
  for (let y = 2n; found.size < 5 && y < 200n; y++) {
    const x = root(((y * y - 1n) * inverse(D * y * y + 1n)) % P);
    if (x === undefined) continue;
    for (let point = times([x, y], L), n = 0; n < 8; n++) {
      const multiple = times(point, BigInt(n));
      found.add(multiple[1]);
    }
  }
  return found;
}

type Point = readonly [bigint, bigint];

/** The addition law of edwards25519: −x² + y² = 1 + d x² y². */
function add([x1, y1]: Point, [x2, y2]: Point): Point {
  const product = (D * x1 * x2 * y1 * y2) % P;
  const x = (x1 * y2 + x2 * y1) * inverse(1n + product);
  const y = (y1 * y2 + x1 * x2) * inverse(1n - product);
  return [mod(x), mod(y)];
}

function times(point: Point, factor: bigint): Point {
  let [result, square]: [Point, Point] = [[0n, 1n], point];
  for (let rest = factor; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = add(result, square);
    square = add(square, square);
  }
  return result;
}

function root(square: bigint): bigint | undefined {
  const candidate = power(square, (P + 3n) / 8n);
  for (const x of [candidate, (candidate * power(2n, (P - 1n) / 4n)) % P]) {
    if ((x * x - square) % P === 0n) return x;
  }
  return undefined;
}

function inverse(value: bigint): bigint {
  return power(mod(value), P - 2n);
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let square = base, rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % P;
    square = (square * square) % P;
  }
  return result;
}

function mod(value: bigint): bigint {
  return ((value % P) + P) % P;
}
