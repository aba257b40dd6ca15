"""Files that are being written cannot be named by callers, and leave nothing behind."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from workspaces import Workspace, call, names, refused

from nomos.errors import InvalidRequest
from nomos.reserved import SCRATCH, is_reserved
from nomos.resources import FILESYSTEM, GITHUB, canonical_resource
from nomos.server.pdp import scratch
from nomos.server.pdp.context import PdpLimits
from nomos.server.pdp.filesystem import Filesystem
from nomos.server.pdp.statuses import PdpError

SPELLINGS = [
    ".nomos-scratch",
    ".NOMOS-Scratch",
    ".nomos-0123456789abcdef0123456789abcdef.tmp",
    ".nom\u00f6s-x",
    ".nomo\u017f-x",
    ".no\u200dmos-x",
    ".n\uff4fmos-x",
    "\u200b.nomos-x",
    ".nomos\u00ad-x",
]


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    folder = tmp_path / "workspace"
    folder.mkdir()
    files = Filesystem(folder, PdpLimits(file=4096, entries=100))
    yield Workspace(files, folder, tmp_path)
    anyio.run(files.close)


@pytest.mark.parametrize("name", SPELLINGS)
def test_reserved_names_are_refused_in_any_spelling(space: Workspace, name: str) -> None:
    name = unicodedata.normalize("NFC", name)
    assert is_reserved(name)
    for path in (name, f"{name}/f", f"a/{name}", f"a/{name}/f"):
        with pytest.raises(InvalidRequest):
            canonical_resource(FILESYSTEM, {"provider": "filesystem", "path": path})
        for what in (space.read, space.list):
            assert refused(partial(what, path)) == (400, "invalid_request")
        assert refused(partial(space.write, path, "x")) == (400, "invalid_request")
    assert names(space.folder) == []


@pytest.mark.parametrize("name", ["nomos-scratch", ".nomos", ".nomosx", "a.nomos-b", "nomos"])
def test_other_names_are_accepted(space: Workspace, name: str) -> None:
    assert not is_reserved(name)
    assert space.write(name, "x")["size"] == 1
    assert space.read(name)["content"] == "x"


def test_other_providers_may_have_such_paths() -> None:
    resource = {"provider": "github", "owner": "a", "repo": "b", "path": ".nomos-x/y"}
    assert canonical_resource(GITHUB, resource)["path"] == ".nomos-x/y"


def test_a_file_being_written_is_not_in_its_folder_or_listed(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (space.folder / "a").mkdir()
    (space.folder / "a/f").write_text("old")
    seen: list[Any] = []
    fsync = os.fsync

    def look(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            seen.append((names(space.folder / "a"), space.list("a"), space.list("")))
            seen.append([found.read_text() for found in (space.folder / SCRATCH).iterdir()])
            seen.append(space.read("a/f")["content"])
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    space.write("a/f", "new")
    listed = [
        {"entries": [{"name": "f", "type": "file", "size": 3}]},
        {"entries": [{"name": "a", "type": "directory", "size": 0}]},
    ]
    assert seen == [(["f"], *listed), ["new"], "old"]
    assert space.read("a/f")["content"] == "new"
    assert names(space.folder) == ["a"]


KILLED = """
import os, sys
from nomos.server.pdp import scratch
root = os.open(sys.argv[1], os.O_RDONLY)
def fill(made):
    os.write(made, b"half of a secret")
    print("writing", flush=True)
    sys.stdin.read()
scratch.replace(root, root, "f", fill)
"""


def _writer(folder: Path) -> subprocess.Popen[str]:
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    return writer


def _kill(writer: subprocess.Popen[str]) -> None:
    writer.send_signal(signal.SIGKILL)
    writer.communicate()


def test_a_start_removes_files_of_killed_writers_and_keeps_those_of_live_ones(
    space: Workspace,
) -> None:
    dead, live = _writer(space.folder), _writer(space.folder)
    try:
        assert len(names(space.folder / SCRATCH)) == 2
        _kill(dead)
        assert space.list() == {"entries": []}
        anyio.run(space.files.open)
        assert len(names(space.folder / SCRATCH)) == 1
        assert live.communicate("")[0] == ""
        assert (space.folder / "f").read_text() == "half of a secret"
        assert names(space.folder) == ["f"]
    finally:
        _kill(live)


def test_starting_without_a_workspace_or_leftovers_is_no_error(
    space: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    anyio.run(space.files.open)
    assert caplog.records == []
    missing = Filesystem(tmp_path / "none", PdpLimits())
    anyio.run(missing.open)
    assert "are not removed" in caplog.text


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EACCES, errno.EROFS])
def test_a_folder_on_another_file_system_has_a_scratch_folder_of_its_own(
    space: Workspace, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (space.folder / "mounted").mkdir()
    (space.folder / "mounted" / SCRATCH).mkdir()
    (space.folder / "mounted" / SCRATCH / "left").write_text("by a killed writer")
    rename, mounted = os.rename, (space.folder / "mounted").stat()

    def move(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        of_root = os.path.samestat(os.stat("..", dir_fd=src_dir_fd), space.folder.stat())
        if of_root and os.path.samestat(os.fstat(dst_dir_fd), mounted):
            raise OSError(number, os.strerror(number))
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", move)
    assert space.write("mounted/f", "x")["size"] == 1
    assert names(space.folder) == ["mounted"]
    assert names(space.folder / "mounted") == ["f"]


def test_a_root_that_is_not_writable_does_not_stop_writes_under_it(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (space.folder / "a").mkdir()
    mkdir = os.mkdir

    def make(path: Any, mode: int = 0o777, *, dir_fd: int) -> None:
        if os.path.samestat(os.fstat(dir_fd), space.folder.stat()):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        mkdir(path, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", make)
    assert space.write("a/f", "x")["size"] == 1
    assert names(space.folder / "a") == ["f"]
    assert refused(lambda: space.write("f", "x")) == (403, "forbidden")


def test_a_link_in_the_place_of_the_scratch_folder_is_not_followed(space: Workspace) -> None:
    outside = space.outside / "elsewhere"
    outside.mkdir()
    (outside / "mine").write_text("kept")
    (space.folder / SCRATCH).symlink_to(outside)
    anyio.run(space.files.open)
    with pytest.raises(PdpError):
        space.write("f", "x")
    assert names(outside) == ["mine"]
    assert not (space.folder / "f").exists()


def test_many_writers_share_the_folder(space: Workspace) -> None:
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for turn in range(20):
                space.write(f"f{number}", str(turn))
                scratch_root = os.open(space.folder, os.O_RDONLY)
                scratch.clear(scratch_root)
                os.close(scratch_root)
        except (OSError, PdpError) as failure:
            failures.append(failure)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert names(space.folder) == sorted(f"f{number}" for number in range(8))
    assert all((space.folder / f"f{number}").read_text() == "19" for number in range(8))


def test_a_leftover_is_locked_while_it_is_removed(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file that was made and is not locked yet looks like a leftover; its writer waits for the
    # lock, and then sees that the file is gone.
    unlink, seen = os.unlink, []

    def removing(name: str, *, dir_fd: int) -> None:
        writer = os.open(name, os.O_RDWR, dir_fd=dir_fd)
        with pytest.raises(BlockingIOError):
            fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlink(name, dir_fd=dir_fd)
        os.close(writer)
        seen.append(name)

    (space.folder / SCRATCH).mkdir()
    (space.folder / SCRATCH / "made").touch()
    root = os.open(space.folder, os.O_RDONLY)
    monkeypatch.setattr(os, "unlink", removing)
    scratch.clear(root)
    monkeypatch.undo()
    os.close(root)
    assert seen == ["made"]


def test_without_locks_only_old_files_are_leftovers(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    folder = space.folder / SCRATCH
    folder.mkdir()
    for name, age in (("old", 2 * scratch.UNLOCKED_SECONDS), ("young", 0)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age,) * 2)
    anyio.run(space.files.open)
    assert names(folder) == ["young"]
    assert space.write("f", "x")["size"] == 1


def test_the_workspace_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files = Filesystem(tmp_path / "link", PdpLimits())
    anyio.run(files.open)
    files.writing(call("write", "f", content="x"))()
    assert names(tmp_path / "real") == ["f"]
    anyio.run(files.close)
