"""A folder that the filesystem provider serves, without a PDP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nomos.resources import find_command
from nomos.server.pdp.filesystem import Filesystem
from nomos.server.pdp.request import Rebuilt, rebuild
from nomos.server.pdp.statuses import PdpError
from nomos.server.providers.catalog import load_catalog

CATALOG = load_catalog()


@dataclass
class Workspace:
    """A workspace and, beside it, what must stay out of reach."""

    files: Filesystem
    folder: Path
    outside: Path

    def read(self, path: str) -> dict[str, Any]:
        return self.files.reading(call("read", path))()

    def write(self, path: str, content: str, **more: str) -> dict[str, Any]:
        return self.files.writing(call("write", path, content=content, **more))()

    def list(self, path: str = "") -> dict[str, Any]:
        return self.files.listing(call("list", path))()


def call(what: str, path: str, **args: str) -> Rebuilt:
    name = "/filesystem/dir/list" if what == "list" else f"/filesystem/file/{what}"
    found = find_command(CATALOG, name)
    assert found is not None
    provider, command = found
    made = rebuild(provider, command, query=b"path=") if command.method == "GET" else None
    if made is None:
        made = rebuild(
            provider,
            command,
            body=b'{"path":"","content":""}',
            content_type="application/json",
        )
    resource = {"provider": "filesystem", "path": path}
    return Rebuilt(provider, command, made.call.model_copy(update={"resource": resource}), args)


def names(folder: Path) -> list[str]:
    return sorted(found.name for found in folder.iterdir())


def refused(work: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(PdpError) as raised:
        work()
    return raised.value.status, raised.value.code
