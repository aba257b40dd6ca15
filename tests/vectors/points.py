"""The curve of Ed25519: encodings that are no keys, and signatures that are almost valid.

Signatures here may be made with another domain (RFC 8032, section 5.1: Ed25519ctx, Ed25519ph) or
with a chosen R, which no library offers.
"""

from __future__ import annotations

import hashlib
from typing import Final

P: Final = 2**255 - 19
ORDER: Final = 2**252 + 27742317777372353535851937790883648493
D: Final = -121665 * pow(121666, -1, P) % P

Point = tuple[int, int]

ZERO: Final[Point] = (0, 1)
SIGN: Final = 1 << 255


def on_curve(y: int) -> bool:
    """Euler's criterion for whether y is of a point (RFC 8032, section 5.1.3)."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    return pow(square, (P - 1) // 2, P) == 1


def off_curve() -> bytes:
    return next(y for y in range(2, 100) if not on_curve(y)).to_bytes(32, "little")


def unreduced() -> bytes:
    """A point of large order, encoded with y + p instead of y."""
    return (P + next(y for y in range(2, 19) if on_curve(y))).to_bytes(32, "little")


def point_at(y: int) -> Point:
    """The point with that y and an even x."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0
    return (P - x if x & 1 else x), y


def add(a: Point, b: Point) -> Point:
    (ax, ay), (bx, by) = a, b
    both = D * ax * bx * ay * by % P
    x = (ax * by + bx * ay) * pow(1 + both, -1, P) % P
    y = (ay * by + ax * bx) * pow(1 - both, -1, P) % P
    return x, y


def times(scalar: int, point: Point) -> Point:
    total = ZERO
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point, scalar = add(point, point), scalar >> 1
    return total


def decoded(data: bytes) -> Point:
    """The point of an encoding that has one."""
    y = int.from_bytes(data, "little")
    x, y = point_at(y & (SIGN - 1))
    return (P - x if data[31] >> 7 else x), y


def encoded(point: Point) -> bytes:
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE: Final = point_at(4 * pow(5, -1, P) % P)
ORDER_EIGHT_Y: Final = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
TORSION: Final = point_at(ORDER_EIGHT_Y)
IDENTITY: Final = encoded(ZERO)

SMALL_ORDER: Final = {
    f"{name}{', x negative' if sign else ''}": (y | sign).to_bytes(32, "little")
    for name, y in {
        "the identity": 1,
        "a point of order two": P - 1,
        "a point of order four": 0,
        "a point of order eight": ORDER_EIGHT_Y,
        "the other point of order eight": P - ORDER_EIGHT_Y,
        "order four, written as p": P,
        "the identity, written as p + 1": P + 1,
    }.items()
    for sign in (0, SIGN)
}
"""Every encoding of a point whose order divides 8, those that are not canonical among them."""


def signature(
    seed: str, message: bytes, *, domain: bytes = b"", r: int | None = None, more: Point = ZERO
) -> bytes:
    """Sign as RFC 8032 does; or with a domain, this r, or a point added to R."""
    data = bytes.fromhex(seed)
    if r is None:
        r = number(domain, hashlib.sha512(data).digest()[32:], message)
    commitment = encoded(add(times(r, BASE), more))
    challenge = number(domain, commitment, encoded(times(secret(data), BASE)), message)
    return commitment + ((r + challenge * secret(data)) % ORDER).to_bytes(32, "little")


def secret(seed: bytes) -> int:
    """The scalar of a seed (RFC 8032, section 5.1.5)."""
    scalar = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    return scalar & (2**254 - 8) | 2**254


def domain(flag: int, context: bytes = b"") -> bytes:
    """RFC 8032's dom2: flag 0 is Ed25519ctx, 1 is Ed25519ph."""
    return b"SigEd25519 no Ed25519 collisions" + bytes([flag, len(context)]) + context


def number(*parts: bytes) -> int:
    """The hash of these parts, as a scalar."""
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % ORDER
