"""Whether a chain's policies exclude every call of a question, evaluated early. Pure.

It serves to deny at once, and on record, what no call could ever satisfy: a command that a
statement excludes, or an argument that must have another value. What is unknown, such as an
argument that is not bound, is left to the verifier: grants have all statements of their chain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomos._json import same
from nomos.server.domain.authorization import CanonicalRequest

_PATH: Final = re.compile(r'\.(cmd|resource|args)(?:\.([A-Za-z_][A-Za-z0-9_]*)|\["([^"\\]+)"\])?')


@dataclass(frozen=True)
class KnownCall:
    """What is certain of every call that a grant would allow.

    `members` has the members of `resource` and `args` that are certain each by themselves; `args`
    is None if there may be others.
    """

    command: str
    members: Mapping[tuple[str, str], Any]
    args: Mapping[str, Any] | None = None


def known(question: CanonicalRequest, command: str) -> KnownCall:
    """Return what is certain of calls: not what is under a path, nor a field that was left out."""
    types = {name: field.type for name, field in question.provider.fields.items()}
    members = {
        ("resource", name): value
        for name, value in question.resource.items()
        if types.get(name) != "path"
    }
    members |= {("args", name): value for name, value in (question.args or {}).items()}
    changes = question.spec is None or question.spec.risk != "read"
    return KnownCall(command, members, question.args if changes else None)


def first_false(pol: Sequence[Any], known: KnownCall) -> Any | None:
    """Return the first statement that no such call can satisfy, None if there is none."""
    return next((each for each in pol if holds(each, known) is False), None)


def holds(statement: Any, known: KnownCall) -> bool | None:
    """Return whether a statement holds for every such call, or for none; None if that depends."""
    match statement:
        case ["==", str(selector), value]:
            return _equals(selector, value, known)
        case ["and", [*of]]:
            return _all([holds(each, known) for each in of])
        case ["or", [*of]] if of:
            return _any([holds(each, known) for each in of])
    return None


def _all(found: Sequence[bool | None]) -> bool | None:
    return False if False in found else None if None in found else True


def _any(found: Sequence[bool | None]) -> bool | None:
    return True if True in found else None if None in found else False


def _equals(selector: str, value: object, known: KnownCall) -> bool | None:
    match = _PATH.fullmatch(selector)
    if match is None:
        return None
    place, name = match[1], match[2] or match[3]
    if place == "cmd":
        return same(known.command, value) if name is None else None
    if name is None:
        return None if place == "resource" or known.args is None else same(known.args, value)
    if (place, name) in known.members:
        return same(known.members[place, name], value)
    return False if place == "args" and known.args is not None else None
