"""`Denied` errors made from the signing binary's refusals, with a remedy for each."""

from __future__ import annotations

from collections.abc import Sequence

from nomos._core import policy_messages
from nomos._core.remedies import MISSING, Part, part_at, remedy
from nomos._core.unverified import Payload
from nomos._protocol import Refused
from nomos.errors import Denied


def denied(
    code: str,
    message: str,
    field: str | None = None,
    *,
    hop: int | None = None,
    part: Part | None = None,
) -> Denied:
    """Return a `Denied` with the remedy for its code, field or part."""
    return Denied(message, code=code, hop=hop, field=field, fix=remedy(code, field, part))


def denied_from(
    answer: Refused, links: Sequence[Payload], *, used: bool, message: str = ""
) -> Denied:
    """Return the signing binary's refusal as a `Denied` with its remedy.

    `links` are the payloads that were sent, root first. `used` is true for an invocation and false
    for a bare chain. `message` replaces the binary's message, if given.
    """
    part = part_at(answer.code, answer.hop, answer.field, links, used=used)
    if part == "orphan":
        message = MISSING
    if policy_messages.needs_signed_args(answer):
        part = "unsigned"
    return Denied(
        message or policy_messages.message(answer),
        code=answer.code,
        hop=answer.hop,
        field=answer.field,
        wanted=policy_messages.expected_value(answer),
        found=answer.found,
        fix=remedy(answer.code, answer.field, part),
    )
