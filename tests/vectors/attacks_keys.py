"""Attacks on who signed, and when: keys that are none, signatures that are not theirs, time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vectors.cases import Row, verify, verify_use
from vectors.forge import (
    DELEGATION,
    INVOCATION,
    ISSUER,
    NOW,
    PLANNER,
    RESEARCHER,
    STRANGER,
    b64,
    child,
    cid,
    delegation,
    did,
    flip,
    invocation,
    malleable,
    root,
    sign,
    unb64,
    use,
    with_signature,
)

P: Final = 2**255 - 19
IDENTITY: Final = (1).to_bytes(32, "little")


def keys() -> Iterator[Row]:
    def key(name: str, public: str) -> Iterator[Row]:
        yield f"key: issuer, {name}", verify(chain=[root(iss=public)]), "malformed_ucan", 0
        yield f"key: audience, {name}", verify(chain=[root(aud=public)]), "malformed_ucan", 0

    x25519 = did(ISSUER.public, b"\xec\x01")
    p256 = did(b"\2" + ISSUER.public, b"\x80\x24")
    yield from key("did:web", "did:web:example.com")
    yield from key("a fragment", f"{ISSUER.did}#{ISSUER.did[8:]}")
    yield from key("X25519", x25519)
    yield from key("P-256", p256)
    yield from key("a leading zero digit", ISSUER.did.replace("z6Mk", "z16Mk"))
    yield from key("another multibase", ISSUER.did.replace(":z", ":f"))
    yield from key("the identity", did(IDENTITY))
    yield from key("a point of order two", did((P - 1).to_bytes(32, "little")))
    yield from key("a point of order four", did(bytes(32)))
    yield from key("a point of order four, x odd", did(bytes(31) + b"\x80"))
    order_eight = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
    yield from key("a point of order eight", did(bytes.fromhex(order_eight)))
    yield from key("the identity, not canonical", did((P + 1).to_bytes(32, "little")))
    yield from key("a point whose y is not canonical", did(unreduced()))
    yield from key("no point", did(off_curve()))
    anything = with_signature(root(iss=did(IDENTITY)), lambda _: IDENTITY + bytes(32))
    yield (
        "key: the identity, with the signature that fits any message",
        verify(chain=[anything], trusted_issuers=[did(IDENTITY)]),
        "malformed_ucan",
        0,
    )
    yield (
        "key: the agent of an invocation",
        verify_use(use([root()], iss=did(IDENTITY))),
        "malformed_ucan",
        1,
    )


def signatures() -> Iterator[Row]:
    first = root()
    second = child(first)
    token = use([first, second])

    def bad(name: str, chain: list[str], hop: int) -> Row:
        return f"signature: {name}", verify(chain=chain), "bad_signature", hop

    def spelled(old: str, new: str, token: str) -> str:
        header, payload, signature = token.split(".")
        changed = unb64(payload).replace(old.encode(), new.encode())
        assert changed != unb64(payload)
        return f"{header}.{b64(changed)}.{signature}"

    yield bad("a flipped bit", [with_signature(first, flip)], 0)
    yield bad("a flipped bit in the second", [first, with_signature(second, flip)], 1)
    yield bad("all zero", [with_signature(first, lambda _: bytes(64))], 0)
    yield bad("S is not canonical", [with_signature(first, malleable)], 0)
    yield bad("R is the identity", [with_signature(first, lambda s: IDENTITY + s[32:])], 0)
    yield bad("R is not canonical", [with_signature(first, lambda s: unreduced() + s[32:])], 0)
    yield bad("R is no point", [with_signature(first, lambda s: off_curve() + s[32:])], 0)
    yield bad("R and S swapped", [with_signature(first, lambda s: s[32:] + s[:32])], 0)
    yield bad("of another token", [with_signature(first, lambda _: unb64(second.split(".")[2]))], 0)
    yield bad("a wider command", [spelled("/github/issue", "/github", first)], 0)
    yield bad("a later end", [spelled("1700000300", "1700009300", first)], 0)
    yield bad("another audience", [spelled(PLANNER.did, STRANGER.did, first)], 0)
    yield bad("another issuer", [spelled(ISSUER.did, STRANGER.did, first)], 0)
    yield bad("by a stranger", [sign(DELEGATION, delegation(ISSUER, PLANNER), STRANGER)], 0)
    by_issuer = sign(DELEGATION, delegation(PLANNER, RESEARCHER, prf=[cid(first)]), ISSUER)
    yield bad("the second by the issuer of the first", [first, by_issuer], 1)
    stolen = sign(INVOCATION, invocation(RESEARCHER, [first, second]), STRANGER)
    yield "signature: an invocation by a thief", verify_use(stolen), "bad_signature", 2
    yield (
        "signature: other arguments",
        verify_use(spelled('"repo":"app"', '"repo":"spy"', token)),
        "bad_signature",
        2,
    )
    yield (
        "signature: a flipped bit in an invocation",
        verify_use(with_signature(token, flip)),
        "bad_signature",
        2,
    )
    yield (
        "signature: a flipped bit within an invocation's chain",
        verify_use(use([with_signature(first, flip), second])),
        "bad_signature",
        0,
    )


def times() -> Iterator[Row]:
    first = root()

    def at(name: str, now: int, code: str, **more: object) -> Row:
        return f"time: {name}", verify(chain=[first], now=now, **more), code, 0

    yield at("a second early", NOW - 61, "not_yet_valid")
    yield at("the second it ends", NOW + 300, "expired")
    yield at("long after", NOW + 10**6, "expired")
    yield at("earlier than the leeway", NOW - 121, "not_yet_valid", leeway=60)
    yield at("later than the leeway", NOW + 360, "expired", leeway=60)
    brief = child(first, exp=NOW)
    yield "time: the second link ended", verify(chain=[first, brief]), "expired", 1
    late = child(first, nbf=NOW + 1)
    yield "time: the second link has not begun", verify(chain=[first, late]), "not_yet_valid", 1
    ended = use([first, child(first)], iat=NOW - 70, exp=NOW)
    yield "time: the invocation ended", verify_use(ended), "expired", 2
    early = use([first, child(first)], iat=NOW + 1)
    yield "time: the invocation has not begun", verify_use(early), "not_yet_valid", 2


def on_curve(y: int) -> bool:
    """Euler's criterion for whether y is of a point (RFC 8032, section 5.1.3)."""
    d = -121665 * pow(121666, -1, P)
    square = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
    return pow(square, (P - 1) // 2, P) == 1


def off_curve() -> bytes:
    return next(y for y in range(2, 100) if not on_curve(y)).to_bytes(32, "little")


def unreduced() -> bytes:
    """A point of large order, encoded with y + p instead of y."""
    return (P + next(y for y in range(2, 19) if on_curve(y))).to_bytes(32, "little")
