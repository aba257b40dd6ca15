"""Checks of a reply's content: that it is about what was requested, and that its URLs are safe.

The reply's `callId` shows that it belongs to its request. These checks show that its content does:
if a control plane or a proxy returned another approval, app or service, the operator would confirm
something else than was requested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from nomos._core import replies
from nomos.errors import InvalidResponse
from nomos.models import web_address

ADDRESSES: Final = ("approvalUrl", "url")
"""Members of replies, and of objects in their lists, that are shown to people as URLs."""


def check(answer: Any, about: Mapping[str, object] | None = None) -> None:
    """Raise `InvalidResponse` unless a reply has the members (`row.id`) and valid URLs."""
    for path, requested in (about or {}).items():
        received = answer
        for name in path.split("."):
            received = received.get(name) if isinstance(received, dict) else None
        replies.check_id(_as_text(requested), _as_text(received))
    for each in _objects(answer):
        for name in ADDRESSES:
            if name in each:
                _check_address(name, each[name])


def check_contains(requested: str, received: Sequence[str]) -> None:
    """Raise `InvalidResponse` unless `requested` is in `received`."""
    if requested not in received:
        replies.check_id(requested, received[0] if received else "nothing")


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    return ", ".join(map(str, value)) if isinstance(value, Sequence) else str(value)


def _objects(answer: Any) -> Iterator[dict[str, Any]]:
    """Yield the reply and the objects in its lists. Data that agents sent is nested deeper."""
    if isinstance(answer, dict):
        yield answer
        for value in answer.values():
            if isinstance(value, list):
                yield from (each for each in value if isinstance(each, dict))


def _check_address(name: str, url: object) -> None:
    """Reject what the SDK rejects. An empty URL is allowed: an embedded service has none."""
    try:
        if url != "":
            web_address(url if isinstance(url, str) else "")
    except ValueError as wrong:
        raise InvalidResponse(
            f"the control plane sent an unsafe URL ({name}): {wrong}. Its reply is not shown. "
            "Check --control-url, and any proxy between this machine and the control plane"
        ) from None
