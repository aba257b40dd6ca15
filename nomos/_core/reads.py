"""Which commands only look. `failure_mode="open"` is for these, and for no others."""

from __future__ import annotations

from typing import Final

READS: Final = frozenset({"get", "list", "read", "search", "view", "status", "head", "exists"})


def is_read(command: str) -> bool:
    """Whether the command's last segment names a read; whatever is unknown counts as a write."""
    return command.rsplit("/", 1)[-1] in READS
