"""Attacks by links wider than their parent: command, time or resource."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vectors.attack_base import FIELDS, Attack
from vectors.attack_places import RICH_CHAIN, RICH_USE, Place, everywhere
from vectors.making import Forge, saying

ABOUT: Final = "Links that widen the command, the time or the resource of the one before."

WIDER: Final = "chain_attenuation_violation"


def attacks() -> Iterator[Attack]:
    yield from everywhere(FORGERIES, WIDER, at=narrow, read=False)


def narrow(turn: int) -> Iterator[Place]:
    """Below a link that says all that can be widened."""
    yield RICH_CHAIN[3], 2
    if turn % 3 == 0:
        yield RICH_CHAIN[8], 2 + turn // 3 % 6
    elif turn % 6 == 1:
        yield RICH_USE[3], 2


WIDENED: Final[dict[str, Forge]] = {
    "wider: the command above": saying(cmd="/github/issue"),
    "wider: the provider": saying(cmd="/github"),
    "wider: a command beside": saying(cmd="/github/issue/create"),
    "wider: a command that begins alike": saying(cmd="/github/issue/lists"),
    "wider: a command that begins alike, with a dash": saying(cmd="/github/issue/list-all"),
    "wider: the beginning of the command": saying(cmd="/github/issue/lis"),
    "wider: another provider": saying(cmd="/gitlab/issue/list"),
    "wider: the same end, elsewhere": saying(cmd="/aws/github/issue/list"),
    "wider: a later end": lambda m: m.saying(exp=m.payload["exp"] + 2).token,
    "wider: a later end by a year": lambda m: m.saying(exp=m.payload["exp"] + 31536000).token,
    "wider: the last second of all": saying(exp=253402300799),
    "wider: an earlier beginning": lambda m: m.saying(nbf=m.payload["nbf"] - 2).token,
    "wider: from the beginning of time": saying(nbf=0),
}


def _constraint(fields: Any) -> Forge:
    return saying(meta={"resource_constraint": fields})


INSIDE: Final = {**FIELDS, "path": "src/app"}
CONSTRAINTS: Final[dict[str, Forge]] = {
    f"wider: a constraint with {name}": _constraint(fields)
    for name, fields in {
        "no fields": {},
        "no path": FIELDS,
        "no owner": {"provider": "github", "path": "src/app"},
        "no provider": {"owner": "acme", "path": "src/app"},
        "another owner": {**INSIDE, "owner": "evil"},
        "an owner in another case": {**INSIDE, "owner": "Acme"},
        "an owner and a space": {**INSIDE, "owner": "acme "},
        "an owner of a look-alike letter": {**INSIDE, "owner": "\u0430cme"},
        "owners in a list": {**INSIDE, "owner": ["acme", "evil"]},
        "any owner": {**INSIDE, "owner": "*"},
        "an owner that is null": {**INSIDE, "owner": None},
        "another provider": {**INSIDE, "provider": "filesystem"},
        "the path above": {**INSIDE, "path": "src"},
        "the whole tree": {**INSIDE, "path": ""},
        "a path beside": {**INSIDE, "path": "src/lib"},
        "a path that begins alike": {**INSIDE, "path": "src/apple"},
        "the beginning of the path": {**INSIDE, "path": "src/ap"},
        "a path in another case": {**INSIDE, "path": "src/App"},
        "the same path, elsewhere": {**INSIDE, "path": "etc/src/app"},
        "a percent-encoded path": {**INSIDE, "path": "src%2fapp"},
        "a path of a look-alike slash": {**INSIDE, "path": "src\u2215app"},
        "a star after the path": {**INSIDE, "path": "src/app*"},
        "names in another case": {"Provider": "github", "Owner": "acme", "Path": "src/app"},
        "all of it one level down": {"resource": INSIDE},
        "all of it in the prototype": {"__proto__": INSIDE},
    }.items()
}

FORGERIES: Final = {**WIDENED, **CONSTRAINTS}
