"""Attacks by holders who request more than their chain has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from vectors.attack_base import FIELDS, LIST, RESOURCE, Attack, Good
from vectors.attack_places import RICH_CHAIN, RICH_USE
from vectors.forge import NOW, PLANNER, UNRELATED, Payload, flip, with_signature
from vectors.making import Forge, Making, holding, saying

ABOUT: Final = "Asking to be given a command or a resource that the chain does not cover."


def attacks() -> Iterator[Attack]:
    for length in (2, 3, 8):
        yield from _beyond(_asking(RICH_CHAIN[length]))
        yield from _not_theirs(_asking(RICH_CHAIN[length]))
    for length in (2, 3):
        yield from _by_others(_asking(RICH_USE[length]))


def _asking(good: Good) -> Good:
    requested = {"cmd": LIST, "resource": RESOURCE}
    return replace(good, name=f"{good.name}, asking", asked={"requested": requested})


COMMANDS: Final = {
    "the command above": "/github/issue",
    "the provider": "/github",
    "a command beside": "/github/issue/read",
    "a command that begins alike": f"{LIST}s",
    "another provider": "/gitlab/issue/list",
}

RESOURCES: Final[dict[str, Payload]] = {
    "no fields": {},
    "no path": FIELDS,
    "no owner": {"provider": "github", "path": RESOURCE["path"]},
    "another owner": {**RESOURCE, "owner": "evil"},
    "an owner in another case": {**RESOURCE, "owner": "Acme"},
    "the path above": {**RESOURCE, "path": "src"},
    "the whole tree": {**RESOURCE, "path": ""},
    "a path outside": {**RESOURCE, "path": "secrets"},
    "a path that begins alike": {**RESOURCE, "path": "src/apple"},
    "a path with a way up": {**RESOURCE, "path": "src/app/../../etc"},
    "a path that is a list": {**RESOURCE, "path": ["src", "app"]},
}


def _beyond(good: Good) -> Iterator[Attack]:
    last = good.last
    attempts: dict[str, tuple[str, dict[str, Any]]] = {
        name: ("chain_attenuation_violation", {"cmd": cmd}) for name, cmd in COMMANDS.items()
    }
    for name, fields in RESOURCES.items():
        attempts[f"a resource with {name}"] = "resource_out_of_scope", {"resource": fields}
    for name, (code, changes) in attempts.items():
        request = good.request(requested={**good.asked["requested"], **changes})
        yield good.attack(f"requested: {name}", "the leaf", code, last, request)


def _not_theirs(good: Good) -> Iterator[Attack]:
    """An approval is for one call; a chain belongs to its last audience."""
    for hop in (0, good.last):
        # Below it there is a broken link; at the leaf, nothing else may be asked.
        at = min(hop + 1, good.last)
        request = good.request({hop: holding("approval", None)})
        yield good.attack(
            "requested: more of an approval", f"hop {hop}", "chain_invalid", at, request
        )
    other = good.request(audience=PLANNER.did)
    yield good.attack("requested: by another", "the leaf", "audience_mismatch", good.last, other)
    unknown = good.request(trusted_issuers=[UNRELATED.did])
    yield good.attack("requested: of a stranger", "hop 0", "untrusted_issuer", 0, unknown)


def _by_another_holder(making: Making) -> str:
    return Making(making.header, {**making.payload, "iss": UNRELATED.did}, UNRELATED).token


BY_OTHERS: Final[dict[str, tuple[str, Forge]]] = {
    "for another service": ("audience_mismatch", saying(aud=UNRELATED.did)),
    "about another root": ("chain_invalid", saying(sub=UNRELATED.did)),
    "by a command of its own": ("chain_attenuation_violation", saying(cmd="/github/issue/read")),
    "for longer than the chain": ("chain_attenuation_violation", saying(exp=NOW + 300)),
    "by a thief of the chain": ("chain_invalid", _by_another_holder),
    "by nobody": ("bad_signature", lambda m: with_signature(m.token, flip)),
}


def _by_others(good: Good) -> Iterator[Attack]:
    for name, (code, forge) in BY_OTHERS.items():
        request = good.request({good.last: forge})
        yield good.attack(f"requested: {name}", "the invocation", code, good.last, request)
    call = {"cmd": LIST, "resource": RESOURCE, "args": {}}
    both = good.request(call=call)
    yield good.attack(
        "requested: and a call beside it", "the question", "invalid_request", None, both
    )
