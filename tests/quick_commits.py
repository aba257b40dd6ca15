"""Commits without waiting for the disk, since no test cuts the power.

Servers that tests start as processes of their own do wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy.engine import Engine

from nomos.server.storage import engine

OWN: Final = engine._configure
"""What the engine does for users."""


def configure(made: Engine, *, begin: str, pragmas: tuple[str, ...]) -> None:
    """Do what the engine's own does, with commits that return before the disk has them."""
    quick = tuple(each.replace("synchronous=FULL", "synchronous=OFF") for each in pragmas)
    OWN(made, begin=begin, pragmas=quick)


def fsync(descriptor: int) -> None:
    """Fail where `os.fsync` does for what it is given, and leave the disk alone."""
    os.fstat(descriptor)


def use(replace: Callable[[Any, str, Any], None]) -> None:
    """Put what is here in place of what waits."""
    replace(engine, "_configure", configure)
    replace(os, "fsync", fsync)
