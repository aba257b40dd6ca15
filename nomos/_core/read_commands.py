"""Which commands only look. `failure_mode="open"` is for these, and for no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

READS: Final = frozenset({"get", "list", "read", "search", "view", "status", "head", "exists"})


def is_read(command: str) -> bool:
    """Whether the command's last segment names a read; whatever is unknown counts as a write."""
    return command.rsplit("/", 1)[-1] in READS


def is_signed_read(meta: Mapping[str, Any], command: str) -> bool:
    """Whether a service may let a token for `command` be used again.

    `meta` is a proven root's. Its issuer lists in `meta.reads` the commands of the grant that are
    registered with the risk `read`, and the name has to agree: all else works once.
    """
    reads = meta.get("reads")
    return isinstance(reads, list) and command in reads and is_read(command)
