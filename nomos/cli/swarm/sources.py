"""Swarms out of an export of the audit log, and out of what a control plane answers."""

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
from nomos.errors import ConfigurationError, NotFound, Unintelligible

SETTING: Final = "--file"

T = TypeVar("T", bound=SwarmModel)


def parsed(kind: type[T], reply: Any) -> T:
    """What a control plane answered. Raises `Unintelligible`."""
    try:
        return kind.model_validate(reply)
    except ValidationError:
        raise Unintelligible(
            "the control plane answered something that is no swarm: is it of another version?"
        ) from None


def latest(file: Path, most: int) -> list[Swarm]:
    """The families of an export in which something was handed on, the latest first."""
    return list(_families(file).latest(most))


def find(file: Path, ident: str) -> tuple[Swarm, Sequence[str]]:
    """The family of an agent, a receipt, a cid or a label, and the roots of others that fit."""
    families = _families(file)
    roots = families.roots_of(ident)
    if not roots:
        message = f"no agent, receipt, delegation or label {ident!a:.80} is in any swarm of {file}"
        raise NotFound(message)
    return families.swarm(roots[0]), roots[1:]


def _families(file: Path) -> SwarmsBuilder:
    """Read an export row by row. Raises `ConfigurationError` naming the line that is none."""
    families, number, head, ended = SwarmsBuilder(), 0, Head(), False
    try:
        with file.open("rb") as readable:
            for raw in read_lines(readable.readline):
                number += 1
                line = read_line(raw)
                ended = isinstance(line, End)
                if isinstance(line, NumberedLine):
                    if not line.fits or not line.follows(head):
                        raise MalformedLine("the row is not as it was exported")
                    head = line.head
                    families.add(record.read(line.row))
    except OSError as failure:
        raise _wrong(f"{file}: {failure.strerror}") from failure
    except (ValueError, TypeError, RecursionError) as wrong:  # Malformed is a ValueError
        why = str(wrong) if isinstance(wrong, MalformedLine) else "the row is not a record"
        raise _wrong(f"{file}, line {number}: {why}") from None
    if not ended:
        raise _wrong(f"{file} stops after line {number}, without its end: export it again")
    return families


def _wrong(message: str) -> ConfigurationError:
    return ConfigurationError(message, setting=SETTING)
