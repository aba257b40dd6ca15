"""The `filesystem` provider: reads, writes and lists within the workspace.

The workspace is held by one descriptor from its first use on, so replacing the folder's parents
changes nothing. System calls that may wait run in a thread.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import heapq
import logging
import os
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from nomos.errors import InvalidRequest
from nomos.reserved import is_reserved
from nomos.resources import FILESYSTEM, CommandSpec, canonical_resource
from nomos.server.pdp import openat, scratch
from nomos.server.pdp.context import Action, PdpLimits
from nomos.server.pdp.request import Rebuilt
from nomos.server.pdp.statuses import PdpError, invalid, unavailable

log = logging.getLogger(__name__)

_NOT_MADE: Final = ", and /filesystem/file/write does not make folders"


class Filesystem:
    """The provider `filesystem` of this PDP."""

    def __init__(self, workspace: Path, limits: PdpLimits) -> None:
        self._workspace = workspace
        self._limits = limits
        self._root: int | None = None
        self._opening = threading.Lock()

    def serves(self, command: CommandSpec) -> bool:
        return command.name in _OPERATIONS

    async def open(self) -> None:
        """Remove files that killed writers left. A missing workspace is not an error."""
        try:
            await anyio.to_thread.run_sync(self._clear)
        except (OSError, PdpError) as failure:
            log.warning("unfinished files in the workspace are not removed: %s", failure)

    async def prepare(self, call: Rebuilt) -> Action:
        """Return the call, ready to be performed; nothing is changed before that.

        A write that is impossible at present is rejected here, before its token is used up.
        """
        operation = _OPERATIONS[call.command.name](self, call)
        if call.command.risk != "read":
            await anyio.to_thread.run_sync(self.check_target, call)
        return functools.partial(anyio.to_thread.run_sync, operation)

    async def close(self) -> None:
        """Close the workspace. Idempotent."""
        with self._opening:
            if self._root is not None:
                os.close(self._root)
                self._root = None

    def reading(self, call: Rebuilt) -> Callable[[], dict[str, Any]]:
        path, parents, name = _file_path(call)

        def read() -> dict[str, Any]:
            with self._folder(parents) as parent:
                content = openat.read_file(parent, name, self._limits.file)
            text, encoding = _as_text(content)
            return {"path": path, "content": text, "encoding": encoding, **_facts(content)}

        return read

    def check_target(self, call: Rebuilt) -> None:
        """Reject a write whose folder is missing, or whose target is not a file."""
        _, parents, name = _file_path(call)
        with self._folder(parents, _NOT_MADE) as parent:
            openat.check_target(parent, name)

    def writing(self, call: Rebuilt) -> Callable[[], dict[str, Any]]:
        path, parents, name = _file_path(call)
        content = _content(call)
        if len(content) > self._limits.file:
            message = f"the content is larger than {self._limits.file} bytes"
            raise PdpError("too_large", message, fields=("args.content",))

        def write() -> dict[str, Any]:
            with self._workspace_root() as root, openat.folder(root, parents, _NOT_MADE) as parent:
                openat.write_file(root, parent, name, content)
            return {"path": path, **_facts(content)}

        return write

    def listing(self, call: Rebuilt) -> Callable[[], dict[str, Any]]:
        segments = _segments(call)

        def list_() -> dict[str, Any]:
            with self._folder(segments) as found:
                return _entries(found, self._limits.entries)

        return list_

    def _clear(self) -> None:
        with self._workspace_root() as root:
            scratch.clear(root)

    @contextmanager
    def _folder(self, segments: Sequence[str], hint: str = "") -> Iterator[int]:
        with self._workspace_root() as root, openat.folder(root, segments, hint) as found:
            yield found

    @contextmanager
    def _workspace_root(self) -> Iterator[int]:
        with openat.os_errors_as_refusals():
            # A copy, so that closing the workspace cannot take a descriptor from a running call.
            with self._opening:
                root = os.dup(self._held())
            try:
                yield root
            finally:
                os.close(root)

    def _held(self) -> int:
        """Return the workspace's descriptor; it is opened again if the folder was replaced."""
        if self._root is not None and os.fstat(self._root).st_nlink == 0:
            os.close(self._root)
            self._root = None
        if self._root is None:
            try:
                self._root = os.open(self._workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                raise unavailable(
                    "the workspace cannot be opened: the operator must make the folder that the "
                    "setting `workspace` names, and let the PDP read it"
                ) from None
        return self._root


_OPERATIONS: Final[dict[str, Callable[[Filesystem, Rebuilt], Callable[[], dict[str, Any]]]]] = {
    "/filesystem/file/read": Filesystem.reading,
    "/filesystem/file/write": Filesystem.writing,
    "/filesystem/dir/list": Filesystem.listing,
}


def _segments(call: Rebuilt) -> list[str]:
    path = str(call.call.resource["path"])
    segments = path.split("/") if path else []
    # Canonical paths have none of these. The walk relies on it, so it is checked again.
    if any(each in ("", ".", "..") or "\0" in each or is_reserved(each) for each in segments):
        raise invalid("the path is not canonical", "resource.path")
    return segments


def _file_path(call: Rebuilt) -> tuple[str, list[str], str]:
    segments = _segments(call)
    if not segments:
        raise invalid("this path is the workspace itself, not a file", "resource.path")
    return "/".join(segments), segments[:-1], segments[-1]


def _content(call: Rebuilt) -> bytes:
    text = str(call.values["content"])
    match call.values.get("encoding", "utf-8"):
        case "utf-8":
            return text.encode("utf-8")
        case "base64":
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                raise invalid("the content is not base64", "args.content") from None
        case _:
            raise invalid("the encoding is `utf-8` or `base64`", "args.encoding")


def _as_text(content: bytes) -> tuple[str, str]:
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(content).decode("ascii"), "base64"


def _facts(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _entries(found: int, cap: int) -> dict[str, Any]:
    """List a folder by the names that paths use; reserved names are left out.

    An entry that no path can name, and two entries whose names have the same composed form, are
    listed with `readable` false.
    """
    chosen = heapq.nsmallest(cap + 1, _visible(found), key=os.fsencode)
    shared = _shared(found, {_composed(name) for name in chosen if not name.isascii()})
    listed = [
        described
        for name in chosen[:cap]
        if (described := _entry(name, found, alone=_composed(name) not in shared))
    ]
    return {"entries": listed} | ({"truncated": True} if len(chosen) > cap else {})


def _visible(found: int) -> Iterator[str]:
    with os.scandir(found) as entries:
        yield from (entry.name for entry in entries if not is_reserved(entry.name))


def _shared(found: int, names: Collection[str]) -> set[str]:
    """Return those of `names` that are the composed form of more than one entry."""
    if not names:
        return set()
    counted = Counter(name for name in map(_composed, _visible(found)) if name in names)
    return {name for name, count in counted.items() if count > 1}


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _entry(entry: str, found: int, *, alone: bool) -> dict[str, Any] | None:
    try:
        facts = os.lstat(entry, dir_fd=found)
    except FileNotFoundError:
        return None
    name = _composed(entry)
    what = openat.kind(facts.st_mode)
    described: dict[str, Any] = {
        "name": os.fsencode(name).decode("utf-8", "replace"),
        "type": what,
        "size": facts.st_size if what == "file" else 0,
    }
    readable = (alone or name == entry) and _can_be_named(name)
    return described if readable else described | {"readable": False}


def _can_be_named(name: str) -> bool:
    """Return whether a path can have this name as one segment."""
    try:
        resource = canonical_resource(FILESYSTEM, {"provider": "filesystem", "path": name})
    except InvalidRequest:
        return False
    return bool(resource["path"] == name)
