"""Attacks on a payload: members that are missing, wrong, too many or too long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vectors.attack_base import FIELDS, Attack
from vectors.attack_places import (
    CHAIN,
    RICH_CHAIN,
    RICH_USE,
    USE,
    Place,
    everywhere,
)
from vectors.forge import NOW
from vectors.making import Forge, Making, holding, saying

ABOUT: Final = "Claims that are missing, of another type, unknown, out of range."

END: Final = 253402300800
"""The first second of the year 10000."""


def attacks() -> Iterator[Attack]:
    yield from everywhere(OF_LINKS, MALFORMED, at=links)
    yield from everywhere(OF_BOTH, MALFORMED, at=both)
    yield from everywhere(OF_USES, MALFORMED, at=uses)


MALFORMED: Final = "malformed_ucan"


def links(turn: int) -> Iterator[Place]:
    yield CHAIN[1], 0
    good = (CHAIN[2], RICH_CHAIN[3], CHAIN[8], RICH_USE[2])[turn % 4]
    yield good, turn // 4 % len(good.links)


def uses(turn: int) -> Iterator[Place]:
    yield USE[1], 1
    if turn % 4 == 0:
        good = (USE[2], RICH_USE[1], RICH_USE[2])[turn // 4 % 3]
        yield good, good.last


def both(turn: int) -> Iterator[Place]:
    yield CHAIN[1], 0
    yield USE[1], 1
    if turn % 4 == 0:
        good = (CHAIN[2], RICH_CHAIN[3], CHAIN[8], RICH_USE[2])[turn // 4 % 4]
        yield good, turn // 16 % (good.last + 1)


VALUES: Final[dict[str, Any]] = {
    "null": None,
    "true": True,
    "a number": 7,
    "a fraction": NOW + 0.5,
    "a text": "7",
    "a list": [],
    "an object": {},
}

BOTH: Final = {
    **dict.fromkeys(("iss", "aud", "cmd", "nonce"), "a text"),
    "exp": "a number",
}
LINK: Final = {"pol": "a list", "nbf": "a number", "meta": "an object", "prf": "a list"}
USED: Final = {"sub": "a text", "args": "an object", "iat": "a number", "prf": "a list"}
OPTIONAL: Final = ("meta", "prf")
"""May be missing as far as the payload goes; what a chain needs is checked later."""


def _wrong(members: dict[str, str]) -> dict[str, Forge]:
    """Each member, missing and of each type but its own."""
    found: dict[str, Forge] = {}
    for member, right in members.items():
        if member not in OPTIONAL:
            found[f"no {member}"] = saying(**{member: ...})
        for name, value in VALUES.items():
            if name != right:
                found[f"{member} is {name}"] = saying(**{member: value})
    return found


ANY: Final[dict[str, Forge]] = {
    "an empty nonce": saying(nonce=""),
    "a nonce of 257 letters": saying(nonce="n" * 257),
    "a nonce of 257 emoji": saying(nonce="\U0001f600" * 257),
    "exp in milliseconds": saying(exp=(NOW + 300) * 1000),
    "exp after the year 9999": saying(exp=END),
    "exp beyond all integers": saying(exp=1e300),
    "exp negative": saying(exp=-1),
    "exp as text": saying(exp=str(NOW + 300)),
    "exp as a date": saying(exp="2033-05-18T03:33:20Z"),
    "aud as a list": lambda m: m.saying(aud=[m.payload["aud"]]).token,
    "iss as an object": lambda m: m.saying(iss={"id": m.payload["iss"]}).token,
    "sub as did:web": saying(sub="did:web:example.com"),
    "prf of numbers": saying(prf=[1]),
    "prf of null": saying(prf=[None]),
    "prf of lists": saying(prf=[[]]),
}


def _unknown() -> dict[str, Forge]:
    """Members of other standards, and some that are never anybody's."""
    names = [
        *("att", "fct", "jti", "scope", "kid", "alg", "admin", "Iss", "ISS", "iss ", "", "exp\0"),
        *("__proto__", "constructor", "toString", "nbf\u200b", "\u0456ss"),
    ]
    found: dict[str, Forge] = {f"an unknown member {name!a}": saying(**{name: 1}) for name in names}
    found["a member of the other kind"] = lambda m: (
        m.saying(**({"args": {}} if m.is_link else {"pol": []})).token
    )
    found["times of the other kind"] = lambda m: (
        m.saying(**({"iat": NOW} if m.is_link else {"nbf": NOW})).token
    )
    return found


def _commands() -> dict[str, Forge]:
    commands = {
        "the root": "/",
        "nothing": "",
        "no slash": "github/issue/list",
        "a slash after": "/github/issue/list/",
        "two slashes": "/github//issue",
        "two slashes first": "//github/issue",
        "upper case": "/github/issue/List",
        "a way up": "/github/issue/../repo",
        "a dot": "/github/./issue",
        "a space": "/github/issue/list all",
        "a space after": "/github/issue/list ",
        "a newline after": "/github/issue/list\n",
        "a NUL": "/github/issue/list\0",
        "a percent-encoded slash": "/github/issue%2flist",
        "a backslash": "\\github\\issue",
        "a star": "/github/issue/*",
        "two stars": "/**",
        "a question": "/github/issue?x",
        "a fragment": "/github/issue#x",
        "a colon": "github:issue",
        "a look-alike letter": "/github/\u0456ssue/list",
        "a look-alike slash": "/github\u2215issue",
        "an accent": "/github/\u00e9",
        "257 letters": "/" + "a" * 256,
    }
    return {f"cmd with {name}": saying(cmd=command) for name, command in commands.items()}


def _paths() -> dict[str, Forge]:
    paths: dict[str, Any] = {
        "up": "..",
        "up within": "a/../b",
        "up at the end": "a/..",
        "two slashes": "a//b",
        "a dot": "./a",
        "a dot within": "a/./b",
        "a slash after": "a/",
        "a slash first": "/a",
        "a backslash": "a\\b",
        "a NUL": "a\0b",
        "a number": 7,
        "null": None,
        "a list": ["a"],
        "an object": {},
    }
    return {
        f"a constraint's path: {name}": saying(meta={"resource_constraint": {**FIELDS, "path": p}})
        for name, p in paths.items()
    }


def _depths() -> dict[str, Forge]:
    depths: dict[str, Any] = {
        "negative": {"depth": -7},
        "a fraction": {"depth": 0.5},
        "a text": {"depth": "0"},
        "null": {"depth": None},
        "true": {"depth": True},
        "a list": {"depth": [0]},
        "beyond all integers": {"depth": 1e300},
    }
    lineages = {"a list": [], "a text": "0", "a number": 0, "null": None}
    return {
        **{f"lineage depth {name}": holding("lineage", value) for name, value in depths.items()},
        **{f"lineage is {name}": holding("lineage", value) for name, value in lineages.items()},
    }


def _ends_as_it_begins(making: Making) -> str:
    return making.saying(exp=making.payload["nbf" if making.is_link else "iat"]).token


def _ends_before_it_begins(making: Making) -> str:
    return making.saying(exp=making.payload["nbf" if making.is_link else "iat"] - 1).token


LINKS: Final[dict[str, Forge]] = {
    "sub is null": saying(sub=None),
    "sub is a list": saying(sub=[]),
    "nbf negative": saying(nbf=-1),
    "nbf in milliseconds": saying(nbf=(NOW - 60) * 1000),
    "nbf after the year 9999": saying(nbf=END, exp=END + 1),
    "exp equals nbf": _ends_as_it_begins,
    "exp before nbf": _ends_before_it_begins,
    "prf of no cids": saying(prf=["bafyreigh2akiscaildc"]),
    "prf of a cid in upper case": saying(prf=["AB" * 32]),
    "prf of a short cid": saying(prf=["ab" * 31]),
    "prf of a long cid": saying(prf=["ab" * 33]),
    "prf of a cid and a newline": saying(prf=["ab" * 32 + "\n"]),
    "prf of a token": lambda m: m.saying(prf=[m.token]).token,
    "a constraint that is null": saying(meta={"resource_constraint": None}),
    "a constraint that is a list": saying(meta={"resource_constraint": []}),
    "a constraint that is a text": saying(meta={"resource_constraint": "*"}),
    "a constraint that is true": saying(meta={"resource_constraint": True}),
}

USES: Final[dict[str, Forge]] = {
    "a nonce of one letter": saying(nonce="n"),
    "a nonce of seven letters": saying(nonce="n" * 7),
    "a nonce of seven emoji": saying(nonce="\U0001f600" * 7),
    "exp equals iat": _ends_as_it_begins,
    "exp before iat": _ends_before_it_begins,
    "longer than an hour": saying(iat=NOW, exp=NOW + 3661),
    "longer than an hour, from long ago": saying(iat=0),
    "iat negative": saying(iat=-1),
    "iat in milliseconds": saying(iat=NOW * 1000, exp=NOW * 1000 + 60),
    "no resource": saying(args={"owner": "acme"}),
    "a resource that is null": saying(args={"resource": None}),
    "a resource that is a list": saying(args={"resource": [FIELDS]}),
    "a resource that is a text": saying(args={"resource": "github://acme/app"}),
    "a resource under another name": saying(args={"Resource": FIELDS}),
    "a resource beside args": saying(args={}, resource=FIELDS),
    "a resource that only the prototype has": saying(args={"__proto__": {"resource": FIELDS}}),
    "prf with a hole": lambda m: m.saying(prf=[*m.payload["prf"], None]).token,
    "prf of objects": lambda m: m.saying(prf=[{"jwt": t} for t in m.payload["prf"]]).token,
    "no prf": saying(prf=...),
    "prf as one text": lambda m: m.saying(prf=" ".join(m.payload["prf"])).token,
}

OF_LINKS: Final = {**_wrong(LINK), **LINKS, **_paths(), **_depths()}
OF_BOTH: Final = {**_wrong(BOTH), **_commands(), **ANY, **_unknown()}
OF_USES: Final = {**_wrong(USED), **USES}
FORGERIES: Final = {**OF_LINKS, **OF_BOTH, **OF_USES}
