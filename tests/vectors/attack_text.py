"""Attacks on a token's text: other encodings that some decoders accept."""

# ruff: noqa: ARG005 - the functions of a table have one shape

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Final

from vectors.attack_base import Attack
from vectors.attack_places import CHAIN, everywhere
from vectors.forge import b64, canonical, unb64
from vectors.making import Forge, Making

ABOUT: Final = "One token, one text: padding, alphabets, whitespace, segments, look-alikes."
ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def attacks() -> Iterator[Attack]:
    yield from everywhere(FORGERIES, "malformed_ucan")
    yield from everywhere(LONG, "malformed_ucan", at=lambda _: [(CHAIN[1], 0)])


def text(change: Callable[[str], str]) -> Forge:
    return lambda making: change(making.token)


def parts(change: Callable[[str, str, str], str]) -> Forge:
    def forge(making: Making) -> str:
        header, payload, signature = making.token.split(".")
        return change(header, payload, signature)

    return forge


def signed(change: Callable[[str, str], tuple[str, str]]) -> Forge:
    """Change the first two segments, and sign what came out."""

    def forge(making: Making) -> str:
        header, payload, _ = making.token.split(".")
        return making.segments(*change(header, payload))

    return forge


def spare(letter: str, bits: int = 1) -> str:
    """Another letter, equal but for the low bits that stand for nothing."""
    return ALPHABET[ALPHABET.index(letter) ^ bits]


def longer(making: Making) -> Making:
    """One character more, which changes length and signature."""
    name = "nonce" if "nonce" in making.payload else "cmd"
    return making.saying(**{name: making.payload[name] + "-"})


def spare_in_payload(making: Making) -> str:
    """A payload whose length leaves spare bits, with one of them set."""
    while len(canonical(making.payload)) % 3 != 1:
        making = longer(making)
    header, payload, _ = making.token.split(".")
    return making.segments(header, payload[:-1] + spare(payload[-1]))


def in_other_alphabet(making: Making) -> str:
    """A payload whose text has a dash or underscore, in the alphabet that has + and /."""
    assert "nonce" in making.payload
    making = making.saying(nonce="n-~~~???>>>")
    header, payload, _ = making.token.split(".")
    other = base64.b64encode(unb64(payload)).decode().rstrip("=")
    assert other != payload
    return making.segments(header, other)


def signature_in_other_alphabet(making: Making) -> str:
    while not set("-_") & set(making.token.rpartition(".")[2]):
        making = longer(making)
    signed, _, signature = making.token.rpartition(".")
    return f"{signed}.{signature.replace('-', '+').replace('_', '/')}"


def flattened(header: str, payload: str, signature: str) -> str:
    return json.dumps({"protected": header, "payload": payload, "signature": signature})


def general(header: str, payload: str, signature: str) -> str:
    signatures = [{"protected": header, "signature": signature}]
    return json.dumps({"payload": payload, "signatures": signatures})


def lengthened(making: Making) -> str:
    """64 KiB and one character, and nothing else wrong with it."""
    room = 64 * 1024 - len(making.token)
    making = making.holding("x" * (room * 3 // 4))
    while len(making.token) <= 64 * 1024:
        place = "meta" if making.is_link else "args"
        making = making.holding(making.payload[place]["x"] + "x")
    return making.token


AROUND: Final[dict[str, Forge]] = {
    "a newline after": text(lambda t: f"{t}\n"),
    "a carriage return and a newline after": text(lambda t: f"{t}\r\n"),
    "a newline before": text(lambda t: f"\n{t}"),
    "a space before": text(lambda t: f" {t}"),
    "a space after": text(lambda t: f"{t} "),
    "a tab after": text(lambda t: f"{t}\t"),
    "a vertical tab after": text(lambda t: f"{t}\v"),
    "a no-break space after": text(lambda t: f"{t}\u00a0"),
    "a zero-width space after": text(lambda t: f"{t}\u200b"),
    "a line separator after": text(lambda t: f"{t}\u2028"),
    "a NUL after": text(lambda t: f"{t}\0"),
    "a NUL before": text(lambda t: f"\0{t}"),
    "a byte order mark before": text(lambda t: f"\ufeff{t}"),
    "right to left": text(lambda t: f"\u202e{t}"),
    "a combining accent after": text(lambda t: f"{t}\u0301"),
    "an emoji after": text(lambda t: f"{t}\U0001f600"),
    "the scheme before": text(lambda t: f"Bearer {t}"),
    "quotes around": text(lambda t: f'"{t}"'),
    "angle brackets around": text(lambda t: f"<{t}>"),
    "a comma and itself after": text(lambda t: f"{t},{t}"),
    "itself after": text(lambda t: t + t),
    "a tilde after, as in SD-JWT": text(lambda t: f"{t}~"),
    "a fragment after": text(lambda t: f"{t}#x"),
    "padding after the signature": text(lambda t: f"{t}=="),
    "percent-encoded padding after": text(lambda t: f"{t}%3D%3D"),
}

WITHIN: Final[dict[str, Forge]] = {
    "a space in the payload": signed(lambda h, p: (h, f"{p[:8]} {p[8:]}")),
    "a newline in the payload": signed(lambda h, p: (h, f"{p[:76]}\r\n{p[76:]}")),
    "a tab in the header": signed(lambda h, p: (f"{h[:4]}\t{h[4:]}", p)),
    "a newline in the signature": parts(lambda h, p, s: f"{h}.{p}.{s[:64]}\n{s[64:]}"),
    "a NUL in the payload": signed(lambda h, p: (h, f"{p[:8]}\0{p[8:]}")),
    "a NUL in the signature": parts(lambda h, p, s: f"{h}.{p}.{s[:8]}\0{s[8:]}"),
    "a letter of no alphabet in the header": signed(lambda h, p: (f"{h[:4]}*{h[4:]}", p)),
    "a letter of no alphabet in the payload": signed(lambda h, p: (h, f"{p[:8]}*{p[8:]}")),
    "a letter of no alphabet in the signature": parts(lambda h, p, s: f"{h}.{p}.{s[:8]}!{s[8:]}"),
    "padding after the header": signed(lambda h, p: (f"{h}=", p)),
    "padding after the payload": signed(lambda h, p: (h, f"{p}=")),
    "padding within the payload": signed(lambda h, p: (h, f"{p[:8]}=={p[8:]}")),
    "spare bits in the header": signed(lambda h, p: (h[:-1] + spare(h[-1]), p)),
    "spare bits in the payload": spare_in_payload,
    "spare bits in the signature": text(lambda t: t[:-1] + spare(t[-1])),
    "all spare bits in the signature": text(lambda t: t[:-1] + spare(t[-1], 15)),
    "the other alphabet in the payload": in_other_alphabet,
    "the other alphabet in the signature": signature_in_other_alphabet,
    "a Cyrillic letter in the header": signed(lambda h, p: (h.replace("e", "\u0435", 1), p)),
    "a full-width letter in the payload": signed(lambda h, p: (h, p.replace("e", "\uff45", 1))),
    "a Kelvin sign in the header": signed(lambda h, p: (h.replace("J", "\u212a", 1), p)),
    "a soft hyphen in the payload": signed(lambda h, p: (h, f"{p[:8]}\u00ad{p[8:]}")),
    "the header in upper case": signed(lambda h, p: (h.upper(), p)),
    "the payload in lower case": signed(lambda h, p: (h, p.lower())),
    "the signature in upper case": parts(lambda h, p, s: f"{h}.{p}.{s.upper()}="),
}

SEGMENTS: Final[dict[str, Forge]] = {
    "nothing": text(lambda t: ""),
    "a dot": text(lambda t: "."),
    "two dots": text(lambda t: ".."),
    "one segment": parts(lambda h, p, s: p),
    "two segments": parts(lambda h, p, s: f"{h}.{p}"),
    "two segments, without the header": parts(lambda h, p, s: f"{p}.{s}"),
    "four segments": parts(lambda h, p, s: f"{h}.{p}.{s}.{s}"),
    "five segments, as in JWE": parts(lambda h, p, s: f"{h}.{p}.{p}.{p}.{s}"),
    "an empty segment before": text(lambda t: f".{t}"),
    "an empty segment after": text(lambda t: f"{t}."),
    "an empty segment within": text(lambda t: t.replace(".", "..", 1)),
    "an empty header": parts(lambda h, p, s: f".{p}.{s}"),
    "an empty payload": signed(lambda h, p: (h, "")),
    "an empty signature": parts(lambda h, p, s: f"{h}.{p}."),
    "the payload twice": parts(lambda h, p, s: f"{h}.{p}{p}.{s}"),
    "payload before header": parts(lambda h, p, s: f"{p}.{h}.{s}"),
    "signature before payload": parts(lambda h, p, s: f"{h}.{s}.{p}"),
    "a detached payload": parts(lambda h, p, s: f"{h}..{s}"),
    "the first letter missing": text(lambda t: t[1:]),
    "the last letter missing": text(lambda t: t[:-1]),
    "one letter more": text(lambda t: f"{t}A"),
    "the end missing": text(lambda t: t[: len(t) // 2]),
    "a full-width full stop": text(lambda t: t.replace(".", "\uff0e")),
    "a one-dot leader": text(lambda t: t.replace(".", "\u2024")),
    "an ideographic full stop": text(lambda t: t.replace(".", "\u3002")),
    "a percent-encoded dot": text(lambda t: t.replace(".", "%2E")),
    "a colon for a dot": text(lambda t: t.replace(".", ":")),
}

ENCODINGS: Final[dict[str, Forge]] = {
    "JSON serialization, flattened": parts(flattened),
    "JSON serialization, general": parts(general),
    "the payload as it is, not encoded": signed(lambda h, p: (h, unb64(p).decode("latin1"))),
    "the payload in hex": signed(lambda h, p: (h, unb64(p).hex())),
    "the payload encoded twice": signed(lambda h, p: (h, b64(p.encode()))),
    "the payload in base32": signed(lambda h, p: (h, base64.b32encode(unb64(p)).decode())),
    "the whole in base64url": text(lambda t: b64(t.encode())),
    "the whole in hex": text(lambda t: t.encode().hex()),
    "a signature of 63 bytes": parts(lambda h, p, s: f"{h}.{p}.{b64(unb64(s)[:63])}"),
    "a signature of 65 bytes": parts(lambda h, p, s: f"{h}.{p}.{b64(unb64(s) + bytes(1))}"),
    "a signature of 32 bytes": parts(lambda h, p, s: f"{h}.{p}.{b64(unb64(s)[:32])}"),
    "a signature twice as long": parts(lambda h, p, s: f"{h}.{p}.{b64(unb64(s) * 2)}"),
    "a signature in hex": parts(lambda h, p, s: f"{h}.{p}.{unb64(s).hex()}"),
    "a signature in DER": parts(lambda h, p, s: f"{h}.{p}.{b64(bytes.fromhex('0440') + unb64(s))}"),
}

FORGERIES: Final = {**AROUND, **WITHIN, **SEGMENTS, **ENCODINGS}

LONG: Final[dict[str, Forge]] = {"longer than 64 KiB": lengthened}
