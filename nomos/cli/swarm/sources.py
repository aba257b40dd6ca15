"""Swarms from an export of the audit log, and from a control plane's replies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from nomos.audit import record
from nomos.audit.chain import Head
from nomos.audit.export import End, MalformedLine, NumberedLine, read_lines
from nomos.audit.export import read as read_line
from nomos.audit.swarm import Swarm, SwarmModel
from nomos.audit.swarm_builder import SwarmsBuilder
from nomos.errors import ConfigurationError, InvalidResponse, NotFound

SETTING: Final = "--file"

T = TypeVar("T", bound=SwarmModel)


def parsed(kind: type[T], reply: Any) -> T:
    """Return a control plane's reply as `kind`. Raises `InvalidResponse`."""
    try:
        return kind.model_validate(reply)
    except ValidationError:
        raise InvalidResponse(
            "the control plane's reply is not a swarm. Check that its version fits this one"
        ) from None


def latest(file: Path, limit: int) -> list[Swarm]:
    """Return swarms of an export, the one with the latest delegation first."""
    return list(_swarms(file).latest(limit))


def find(file: Path, ident: str) -> tuple[Swarm, Sequence[str]]:
    """Return the swarm with an agent, receipt, cid or label, and the roots of others that match."""
    swarms = _swarms(file)
    roots = swarms.roots_of(ident)
    if not roots:
        message = f"no agent, receipt, delegation or label {ident!a:.80} is in any swarm of {file}"
        raise NotFound(message)
    return swarms.swarm(roots[0]), roots[1:]


def _swarms(file: Path) -> SwarmsBuilder:
    """Read an export row by row. Raises `ConfigurationError` naming the first invalid line."""
    swarms, number, head, ended = SwarmsBuilder(), 0, Head(), False
    try:
        with file.open("rb") as readable:
            for raw in read_lines(readable.readline):
                number += 1
                line = read_line(raw)
                ended = isinstance(line, End)
                if isinstance(line, NumberedLine):
                    if not line.fits or not line.follows(head):
                        raise MalformedLine("the row was changed after the export")
                    head = line.head
                    swarms.add(record.read(line.row))
    except OSError as failure:
        raise _wrong(f"{file}: {failure.strerror}") from failure
    except (ValueError, TypeError, RecursionError) as wrong:  # Malformed is a ValueError
        why = str(wrong) if isinstance(wrong, MalformedLine) else "the row is not a record"
        raise _wrong(f"{file}, line {number}: {why}") from None
    if not ended:
        raise _wrong(f"{file} is incomplete: it ends after line {number}. Export it again")
    return swarms


def _wrong(message: str) -> ConfigurationError:
    return ConfigurationError(message, setting=SETTING)
