"""What the text of a chain covers, and which of several chains covers a call.

Signatures are not checked here. The results choose a chain and word messages; the signing binary
verifies the chain where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nomos._core.tokens import decode_unverified
from nomos._json import mapping, same
from nomos.errors import InvalidResponse, MalformedChain
from nomos.models import Capability


def within(command: str, ancestor: str) -> bool:
    """Whether a command is `ancestor` or under it, by whole segments."""
    return command == ancestor or command.startswith(f"{ancestor}/")


def covers(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> bool:
    """Whether the resource `inner` is within `outer`.

    Every field of `outer` must be in `inner` with an equal value; a `path` covers itself and all
    paths under it.
    """
    return all(
        name in inner
        and (is_path_within(inner[name], value) if name == "path" else same(inner[name], value))
        for name, value in outer.items()
    )


def effective_capability(chain: Sequence[str]) -> Capability:
    """Return a chain's last command and constraint, and all statements. Raises `MalformedChain`."""
    command, resource, pol = "", dict[str, Any](), list[Any]()
    for link in payloads(chain):
        statements, constraint = link.get("pol"), mapping(link.get("meta"))
        command = str(link.get("cmd"))
        resource = dict(mapping(constraint.get("resource_constraint")) or resource)
        pol += statements if isinstance(statements, list) else []
    return Capability(command, resource, tuple(pol))


def permits(held: Capability, command: str, resource: Mapping[str, Any]) -> bool:
    """Whether `held` covers `command`, or all under it, on `resource`; calls are not evaluated."""
    return (
        within(command, held.command)
        and covers(held.resource, resource)
        and all(_leaves(statement, command) for statement in held.pol)
    )


def payloads(chain: Sequence[str]) -> list[dict[str, Any]]:
    """Return the payload of each link; raise `MalformedChain` for one that is not a delegation."""
    if not chain:
        raise MalformedChain("a chain must have at least one link", code="malformed_ucan")
    found = []
    for hop, link in enumerate(chain):
        try:
            found.append(decode_unverified(link))
        except InvalidResponse as error:
            raise MalformedChain(
                f"link {hop} of the chain is not a delegation", code="malformed_ucan", hop=hop
            ) from error
    return found


def chain_audience(chain: Sequence[str]) -> str:
    """Return the key that a chain is delegated to: the audience of its last link."""
    return str(payloads(chain)[-1].get("aud"))


def _leaves(statement: object, command: str) -> bool:
    """Whether a statement about the command permits this one; True for any other statement."""
    match statement:
        case ["==", ".cmd", named]:
            return isinstance(named, str) and within(named, command)
        case ["or", [_, *_] as either] if all(_names_command(each) for each in either):
            return any(_leaves(each, command) for each in either)
    return True


def _names_command(statement: object) -> bool:
    match statement:
        case ["==", ".cmd", _]:
            return True
    return False


def is_path_within(path: object, ancestor: object) -> bool:
    """Whether a path is `ancestor` or within it, by whole segments."""
    inner, outer = _segments(path), _segments(ancestor)
    return inner is not None and outer is not None and inner[: len(outer)] == outer


def _segments(path: object) -> list[str] | None:
    """Return the segments of a normalised path, none for the root; None if it is not normalised."""
    if not isinstance(path, str):
        return None
    segments = path.split("/") if path else []
    plain = all(one not in ("", ".", "..") and not {"\\", "\0"} & {*one} for one in segments)
    return segments if plain else None
