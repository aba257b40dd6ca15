"""
Lines that are almost requests.

A mutation starts from a request that is answered with yes, or from a known attack, and changes
its text, its members, or its tokens. A changed token keeps the old signature, or is signed again
by the key that it names: the first must never be accepted, the second leads behind the signature.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from vectors import (
    attacks,
    cases_checkpoints,
    cases_fork,
    cases_protocol,
    cases_reasons,
    cases_reasons_of_text,
    cases_reasons_of_use,
    cases_receipts,
    cases_requested,
    cases_signing,
    cases_verification,
    forge,
)
from vectors.attack_base import PEOPLE, Attack
from vectors.cases import case, refused
from vectors.catalogue import FORGERIES, REARRANGEMENTS, forged
from vectors.making import Making

Json = Any
Object = dict[str, Any]

GROUPS: Final = tuple(FORGERIES)
HUGE: Final = 1 << 20
BY_DID: Final = {party.did: party for party in (*forge.PARTIES, *PEOPLE)}

SECRETS: Final = ("seed",)
"""Members that hold a key. What is in them is never moved to where it may be shown."""

SEED: Final = b'"seed": "'

ODD: Final[tuple[Json, ...]] = (
    *(None, True, False, 0, -1, 1, 7.5, 1e300, 2**31, 2**53 - 1, 2**53, -(2**63), 10**40),
    *("", ".", "*", "\0", "\ufeff", "é", "e\u0301", "\U0001f600", "a" * 300, "/a/b", "/", "."),
    *("did:key:z6Mk", forge.PLANNER.did, forge.ISSUER.did, "0" * 64, "__proto__", "constructor"),
    *([], {}, [[]], {"": {}}, [None] * 40, {"__proto__": {"a": 1}}, {"toString": 1}),
    *({"path": ".."}, {"path": ""}, {"path": "a/b"}, {"/": {"bytes": "AAA"}}, ["==", ".cmd", "/a"]),
    [["any", ".args[]", ["or", []]], ["not", ["like", ".cmd", "*"]], ["!=", ".a?", None]],
)

BYTES: Final = (b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\r", b"\t", b" ", b"\0", b"\xff")
TEXTS: Final = (b"null", b"1e999", b"-0", b"1.0", b"\\ud800", b"\xef\xbb\xbf", b"NaN", b"\xc0\x80")


@functools.cache
def known() -> list[tuple[bytes, Object]]:
    """Return the lines of our own vectors, each with what is answered but for the sentence."""
    rows = [
        *_attacks(),
        *cases_checkpoints.checkpoints(),
        *cases_fork.forking(),
        *cases_protocol.protocol(),
        *cases_reasons.reasons(),
        *cases_reasons_of_text.reasons_of_text(),
        *cases_reasons_of_use.reasons_of_use(),
        *cases_receipts.receipts(),
        *cases_signing.signing(),
        *cases_verification.verification(),
        *cases_requested.wants(),
        *cases_requested.depths(),
    ]
    # Whether a key is loaded depends on the lines before, of which there are many here.
    held = [row for row in rows if row.get("refused", {}).get("code") != "unknown_key"]
    return [(_bytes(row), row) for row in held if b"\n" not in _bytes(row)]


@functools.cache
def all_attacks() -> list[Attack]:
    return [row for _, rows in attacks.GROUPS.values() for row in rows()]


def _attacks() -> list[Object]:
    """What is asked to cheat, and what each of these was made of."""
    table = all_attacks()
    bases = {row.base.name: row.base for row in table}.values()
    good = [case(base.name, base.request, answer=base.answer) for base in bases]
    bad = [case("", row.request, refused=refused(row.code, row.hop)) for row in table]
    return good + bad


def _bytes(row: Object) -> bytes:
    return bytes.fromhex(row["hex"]) if "hex" in row else row["line"].encode()


class Mutator:
    """Makes lines out of lines, the same for the same `random`."""

    def __init__(self, random: Random, lines: list[bytes]) -> None:
        self._random = random
        self._lines = lines
        self._requests = [request for line in lines if (request := _object(line)) is not None]
        self._tokens = sorted({token for request in self._requests for token in _tokens(request)})
        self._public = [line for line in lines if SEED not in line]

    def line(self) -> bytes:
        """Return one line, without its end."""
        make: Callable[[], bytes] = self._random.choices(
            (self._garbage, self._edited, self._changed, self._reencoded, self._odd),
            (2, 25, 40, 40, 0.2),
        )[0]
        return make().replace(b"\n", b" ")

    def _garbage(self) -> bytes:
        return self._random.randbytes(self._random.randrange(200))

    def _edited(self) -> bytes:
        """Change bytes of a line, as one who knows nothing of its meaning."""
        whole = self._random.choice(self._lines)
        line = bytearray(whole)
        for _ in range(self._random.choice((1, 1, 1, 2, 5))):
            at = self._random.randrange(len(line) + 1)
            to = min(len(line), at + self._random.choice((0, 1, 1, 2, 8, 40)))
            line[at:to] = self._bytes()
        # A key stays the value of its own member; as the name of one it would be shown.
        return bytes(line) if line.count(SEED) == whole.count(SEED) else whole

    def _bytes(self) -> bytes:
        match self._random.randrange(5):
            case 0:
                return b""
            case 1:
                return self._random.choice(BYTES)
            case 2:
                return self._random.choice(TEXTS)
            case 3:
                return self._random.randbytes(1)
            case _:
                other = self._random.choice(self._public)
                start = self._random.randrange(len(other) + 1)
                return other[start : start + self._random.randrange(60)]

    def _changed(self) -> bytes:
        """Change members of a request, at any depth."""
        request = copy.deepcopy(self._random.choice(self._requests))
        for _ in range(self._random.choice((1, 1, 2, 3))):
            self._change(request)
        return self._written(request)

    def _change(self, root: Object) -> None:
        """Change one member of one container; a place deep down is as likely as one above."""
        places = [place for place in _places(root) if place[1] not in SECRETS]
        if not places:
            return
        container, name = self._random.choice(places)
        match self._random.randrange(6):
            case 0:
                del container[name]
            case 1:
                container[name] = self._near(container[name])
            case 2:
                other = self._random.choice(self._requests)
                container[name] = copy.deepcopy(_without_secrets(other).get(str(name)))
            case 3 if isinstance(container, dict):
                container[self._random.choice(("", "x", "kid", "sub", "__proto__"))] = self._value()
            case 3:
                container.insert(self._random.randrange(len(container) + 1), self._value())
            case _:
                container[name] = self._value()

    def _value(self) -> Json:
        if self._random.randrange(6) == 0:
            return self._random.choice(self._tokens)
        return copy.deepcopy(self._random.choice(ODD))

    def _near(self, value: Json) -> Json:
        """A value that differs little from this one."""
        match value:
            case bool():
                return not value
            case int():
                return value + self._random.choice((-3600, -60, -1, 1, 60, 3600))
            case str() if value:
                at = self._random.randrange(len(value))
                more = self._random.choice(("", "/", "-", "a", value[at], value[at].upper()))
                return value[:at] + more + value[at + self._random.randrange(2) :]
            case list() if value:
                rearrange = self._random.choice([*REARRANGEMENTS.values()])
                return rearrange(value, self._random.randrange(len(value)))
            case _:
                return self._value()

    def _reencoded(self) -> bytes:
        """Change what one of the tokens of a request says."""
        request = copy.deepcopy(self._random.choice(self._requests))
        places = [place for place in _places(request) if is_token(place[0][place[1]])]
        if not places:
            return self._written(request)
        container, name = self._random.choice(places)
        container[name] = self._token(container[name])
        return self._written(request)

    def _token(self, token: str) -> str:
        match self._random.randrange(7):
            case 0:
                return str(self._near(token))
            case 1:
                return self._forged(token) or token
            case 2:
                pair = (token.split("."), self._random.choice(self._tokens).split("."))
                return ".".join(self._random.choice(pair)[index] for index in range(3))
            case 3:
                more = ("=", ".", "A", "\n", " ", token[token.rindex(".") :])
                return token + self._random.choice(more)
            case _:
                return self._said_otherwise(token) or token

    def _forged(self, token: str) -> str | None:
        """Have a forger of the catalogue make the token anew, if its issuer's key is known."""
        header, payload, _ = token.split(".")
        forgers = FORGERIES[self._random.choice(GROUPS)]
        forger = forgers[self._random.choice([*forgers])]
        try:
            head, claims = json.loads(forge.unb64(header)), json.loads(forge.unb64(payload))
            return forged(forger, Making(head, claims, BY_DID[claims["iss"]]))
        except (ValueError, RecursionError, LookupError, TypeError):
            return None

    def _said_otherwise(self, token: str) -> str | None:
        """Change the claims of a token, if it has any; with the old signature, or a good one."""
        header, payload, signature = token.split(".")
        try:
            claims, head = json.loads(forge.unb64(payload)), forge.unb64(header)
            self._change(claims)
            for container, name in _places(claims):
                if is_token(container[name]) and self._random.randrange(2):
                    container[name] = self._token(container[name])
            said = forge.canonical(claims)
        except (ValueError, OverflowError, RecursionError, AttributeError, TypeError):
            return None
        party = BY_DID.get(str(claims.get("iss"))) if isinstance(claims, dict) else None
        if party is None or self._random.randrange(4) == 0:
            return f"{header}.{forge.b64(said)}.{signature}"
        return forge.sign_raw(head, said, party)

    def _written(self, request: Object) -> bytes:
        """Write a request the way one of many clients would."""
        if self._random.randrange(8) == 0:
            members = list(request.items())
            self._random.shuffle(members)
            request = dict(members)
        spaces = self._random.choice(((",", ":"), (", ", ": "), (" ,\t", " :\r")))
        return json.dumps(
            request, separators=spaces, ensure_ascii=bool(self._random.randrange(2))
        ).encode("utf-8", "surrogatepass")

    def _odd(self) -> bytes:
        """Long and deep lines, which are rare because each costs as much as a hundred others."""
        match self._random.randrange(6):
            case 0:
                return b'{"id": 5, "x": "' + b"a" * (HUGE + self._random.randrange(-40, 9)) + b'"}'
            case 1:
                return self._random.choice((b"[", b'{"a":', b'{"":[')) * self._random.randrange(
                    9000
                )
            case 2:
                return b'{"id":5,"op":"verify","a":' + b"9" * self._random.randrange(40_000) + b"}"
            case 3:
                return b" " * (HUGE - 70) + self._random.choice(self._lines)
            case 4:
                request = copy.deepcopy(self._random.choice(self._requests))
                request["chain"] = [self._random.choice(self._tokens)] * self._random.randrange(600)
                return self._written(request)
            case _:
                pol: Json = ["==", ".args.a", 1]
                for _ in range(self._random.randrange(40)):
                    pol = ["all", ".args[]", pol]
                payload = forge.delegation(forge.ISSUER, forge.PLANNER, pol=[pol] * 9)
                return self._written(
                    {
                        "id": 1,
                        "protocol": 1,
                        "op": "delegate",
                        "key": payload["iss"],
                        "payload": payload,
                        "allow_vacuous": True,
                    }
                )


def _object(line: bytes) -> Object | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value else None


def _places(root: Json) -> list[tuple[Any, Any]]:
    """Every container within, with every name or index in it."""
    found: list[tuple[Any, Any]] = []
    left = [root]
    while left:
        container = left.pop()
        inner = container.items() if isinstance(container, dict) else enumerate(container)
        for name, value in inner:
            found.append((container, name))
            if isinstance(value, dict | list):
                left.append(value)
    return found


def is_token(value: Json) -> bool:
    return isinstance(value, str) and value.count(".") == 2 and value.startswith("eyJ")


def _tokens(request: Object) -> list[str]:
    return [container[name] for container, name in _places(request) if is_token(container[name])]


def _without_secrets(request: Object) -> Object:
    return {name: value for name, value in request.items() if name not in SECRETS}
