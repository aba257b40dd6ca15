"""Whether an answer is about what was asked, and whether a person may be sent where it says.

That a reply belongs to its request is checked by its `callId`; here, that its content does. A
control plane or a proxy that answers with another approval, app or service is not believed: the
operator would read, and confirm, something else than was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from nomos._core import replies
from nomos.errors import Unintelligible
from nomos.models import web_address

ADDRESSES: Final = ("approvalUrl", "url")
"""Members of answers, and of what they list, that are shown to people as addresses."""


def check(answer: Any, about: Mapping[str, object] | None = None) -> None:
    """Raise `Unintelligible` unless the answer has the members of `about`, and fit addresses.

    A member of a member is named with a dot: `row.id`.
    """
    for path, asked in (about or {}).items():
        told = answer
        for name in path.split("."):
            told = told.get(name) if isinstance(told, dict) else None
        replies.check_id(_word(asked), _word(told))
    for each in _objects(answer):
        for name in ADDRESSES:
            if name in each:
                _check_address(name, each[name])


def holds(asked: str, told: Sequence[str]) -> None:
    """Raise `Unintelligible` unless what was asked for is among what came."""
    if asked not in told:
        replies.check_id(asked, told[0] if told else "nothing")


def _word(value: object) -> str:
    if isinstance(value, str):
        return value
    return ", ".join(map(str, value)) if isinstance(value, Sequence) else str(value)


def _objects(answer: Any) -> Iterator[dict[str, Any]]:
    """The answer, and the objects of its lists. What an agent sent is deeper, and its own."""
    if isinstance(answer, dict):
        yield answer
        for value in answer.values():
            if isinstance(value, list):
                yield from (each for each in value if isinstance(each, dict))


def _check_address(name: str, url: object) -> None:
    """Refuse what the SDK refuses; nothing is the address of a service inside a program."""
    try:
        if url != "":
            web_address(url if isinstance(url, str) else "")
    except ValueError as wrong:
        raise Unintelligible(
            f"the control plane names an address ({name}) that nobody should open: {wrong}. "
            "Nothing of its answer is shown; is it, or a proxy on the way, what you think it is?"
        ) from None
