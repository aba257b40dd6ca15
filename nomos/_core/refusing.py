"""From what the binary says against a token to what is raised, with what would help."""

from __future__ import annotations

from collections.abc import Sequence

from nomos._core import worded
from nomos._core.claimed import Payload
from nomos._core.fixes import MISSING, Part, fix, part_at
from nomos._wire import Refused
from nomos.errors import Denied


def denied(
    code: str,
    message: str,
    field: str | None = None,
    *,
    hop: int | None = None,
    part: Part | None = None,
) -> Denied:
    """Return a refusal with what would help against it."""
    return Denied(message, code=code, hop=hop, field=field, fix=fix(code, field, part))


def refused(answer: Refused, links: Sequence[Payload], *, used: bool, message: str = "") -> Denied:
    """Return the binary's refusal with what would help against it.

    `links` are those that were sent, root first, and `used` is whether a call stands on them. The
    `message` is for people, if there is one better than the binary's.
    """
    part = part_at(answer.code, answer.hop, answer.field, links, used=used)
    if part == "orphan":
        message = MISSING
    if worded.asks_for_more(answer):
        part = "unsigned"
    return Denied(
        message or worded.sentence(answer),
        code=answer.code,
        hop=answer.hop,
        field=answer.field,
        wanted=worded.wanted(answer),
        found=answer.found,
        fix=fix(answer.code, answer.field, part),
    )
