"""Attacks on signed statements, which are no delegations: checkpoints and receipts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from vectors import attack_header, attack_keys, attack_signatures, attack_text
from vectors.attack_base import Accepted, Attack
from vectors.catalogue import forged
from vectors.forge import DELEGATION, UNRELATED, Payload, cid, flip, with_signature
from vectors.making import Forge, Making, saying

MALFORMED: Final = "malformed_ucan"
LONGER: Final = "a" * (64 * 1024 + 1)

Spell = Callable[[bytes], bytes]


def reversed_members(payload: bytes) -> bytes:
    return json.dumps(dict(reversed(json.loads(payload).items()))).encode()


SPELLINGS: Final[dict[str, Spell]] = {
    "a space": lambda p: p.replace(b":", b": ", 1),
    "another order": reversed_members,
    "a list": lambda p: b"[" + p + b"]",
    "nothing": lambda _: b"",
}


@dataclass(frozen=True)
class Statement:
    """A kind of statement: an honest one, and how a reader asks about one."""

    kind: str
    honest: Making
    ask: Callable[[str, list[str] | None], Payload]

    @property
    def accepted(self) -> Accepted:
        token = self.honest.token
        answer = {self.kind: self.honest.payload, "cid": cid(token)}
        return Accepted(self.kind, self.ask(token, None), answer)

    def row(
        self, name: str, request: Payload, code: str = MALFORMED, base: Accepted | None = None
    ) -> Attack:
        mutation = f"{self.kind}: {name}"
        return Attack(mutation, "the token", base or self.accepted, request, code, None)

    def attacks(
        self, spellings: Mapping[str, Spell], members: Mapping[str, Payload], edits: Payload
    ) -> Iterator[Attack]:
        """Every forgery of the catalogue that fits, and those of this kind of payload."""
        text, made = attack_text, attack_signatures
        texts = {**text.AROUND, **text.WITHIN, **text.SEGMENTS, **text.ENCODINGS}
        yield from self._forged("text", {**texts, "longer than 64 KiB": lambda _: LONGER})
        spelled = {name: _spelled(how) for name, how in {**SPELLINGS, **spellings}.items()}
        yield from self._forged("JSON", spelled)
        typ = self.honest.header["typ"]
        headers = {
            name: attack_header.header(**changes)
            for name, changes in attack_header.MEMBERS.items()
            if changes not in ({"typ": typ}, {"ucv": ...})
        }
        headers |= {
            "typ in upper case": attack_header.header(typ=typ.upper()),
            "typ with its own media type": attack_header.header(typ=f"application/{typ}"),
            "ucv of the other kinds": attack_header.header(ucv=DELEGATION["ucv"]),
            "spaces": lambda making: making.headed(json.dumps(making.header).encode()),
        }
        unsigned = {name.removeprefix("header: "): it for name, it in attack_header.FORGED.items()}
        yield from self._forged("header", {**headers, **unsigned})
        said = {name: saying(**changes) for name, changes in members.items()}
        yield from self._forged("payload", said)
        yield from self._forged("issuer", ISSUERS)
        others = {**made.OF_OTHERS, **made.OF_OTHER_TEXTS}
        signatures = {**made.BITS, **made.FORMS, **made.CHOSEN_R, **others}
        yield from self._forged("signature", signatures, "bad_signature")
        edited = {f"another {name}": made.edited(**{name: value}) for name, value in edits.items()}
        yield from self._forged("edited", edited, "bad_signature")

    def _forged(
        self, what: str, forgeries: Mapping[str, Forge], code: str = MALFORMED
    ) -> Iterator[Attack]:
        for name, forge in forgeries.items():
            token = forged(forge, self.honest)
            if token != self.honest.token:
                yield self.row(f"{what}, {name}", self.ask(token, None), code)

    def trust(self, by_another_key: str) -> Iterator[Attack]:
        """Whose word is not accepted; `strangers` is a right statement by another key."""
        issuer = self.honest.party.did
        trusted: dict[str, tuple[str, list[str], str]] = {
            "by someone else": (by_another_key, [issuer], "untrusted_issuer"),
            "no issuer is trusted": (self.honest.token, [], "untrusted_issuer"),
            "others are trusted": (self.honest.token, [UNRELATED.did], "untrusted_issuer"),
            "forged, by someone else": (
                with_signature(by_another_key, flip),
                [issuer],
                "bad_signature",
            ),
        }
        for name, (token, issuers, code) in trusted.items():
            yield self.row(f"trust, {name}", self.ask(token, issuers), code)


ISSUERS: Final[dict[str, Forge]] = {
    **{name: attack_keys.named_by("iss", how) for name, how in attack_keys.SPELLED.items()},
    **{name: attack_keys.key("iss", point) for name, point in attack_keys.POINTS.items()},
}


def _spelled(how: Spell) -> Forge:
    return lambda making: making.spelled(how)
