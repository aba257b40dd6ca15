"""Commands that count as reads, for `failure_mode="open"` and for tokens used repeatedly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

READS: Final = frozenset({"get", "list", "read", "search", "view", "status", "head", "exists"})
"""Last segments of commands that count as reads."""


def is_read(command: str) -> bool:
    """Whether the command's last segment names a read; an unknown name counts as a write."""
    return command.rsplit("/", 1)[-1] in READS


def is_signed_read(meta: Mapping[str, Any], command: str) -> bool:
    """Whether a service may accept a token for `command` more than once.

    `meta` is a verified root's. Its issuer lists in `meta.reads` the commands of the grant that are
    registered with the risk `read`; the command's name must be that of a read, too. All other
    tokens work once.
    """
    reads = meta.get("reads")
    return isinstance(reads, list) and command in reads and is_read(command)
