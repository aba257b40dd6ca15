"""The workspace: nothing outside of it is read or written, also in races."""

from __future__ import annotations

import base64
import contextlib
import errno
import gc
import hashlib
import os
import socket
import stat
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from long_runs import times
from workspaces import Workspace, call, names, refused

from nomos.server.pdp.context import PdpLimits
from nomos.server.pdp.filesystem import Filesystem
from nomos.server.pdp.statuses import PdpError

ROUNDS = times(300, short=60)
CAP = 4096


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    folder, outside = tmp_path / "workspace", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "f").write_text("out of reach")
    files = Filesystem(folder, PdpLimits(file=CAP, entries=5))
    yield Workspace(files, folder, outside)
    anyio.run(files.close)


def test_a_file_is_read_with_its_size_and_hash(space: Workspace) -> None:
    (space.folder / "a").mkdir()
    (space.folder / "a/b.txt").write_bytes("hé\r\n".encode())
    assert space.read("a/b.txt") == {
        "path": "a/b.txt",
        "content": "hé\r\n",
        "encoding": "utf-8",
        "size": 5,
        "sha256": hashlib.sha256("hé\r\n".encode()).hexdigest(),
    }


def test_binary_content_is_read_as_base64(space: Workspace) -> None:
    (space.folder / "b").write_bytes(b"\xff\x00")
    said = space.read("b")
    assert (said["encoding"], base64.b64decode(said["content"])) == ("base64", b"\xff\x00")


def test_a_file_is_written_and_replaced_keeping_its_mode(space: Workspace) -> None:
    assert space.write("new", "one")["sha256"] == hashlib.sha256(b"one").hexdigest()
    (space.folder / "new").chmod(0o640)
    assert space.write("new", "dHdv", encoding="base64") == {
        "path": "new",
        "size": 3,
        "sha256": hashlib.sha256(b"two").hexdigest(),
    }
    assert (space.folder / "new").read_text() == "two"
    assert stat.S_IMODE((space.folder / "new").stat().st_mode) == 0o640
    assert names(space.folder) == ["new"]


@pytest.mark.parametrize(
    ("content", "encoding", "field"),
    [
        ("a", "base64", "args.content"),
        ("YQ=!", "base64", "args.content"),
        ("é", "base64", "args.content"),
        ("a", "utf-16", "args.encoding"),
    ],
)
def test_a_content_that_cannot_be_decoded_is_refused(
    space: Workspace, content: str, encoding: str, field: str
) -> None:
    with pytest.raises(PdpError) as raised:
        space.write("f", content, encoding=encoding)
    assert (raised.value.status, raised.value.fields) == (400, (field,))
    assert names(space.folder) == []


def test_a_file_over_the_limit_is_neither_read_nor_written(space: Workspace) -> None:
    (space.folder / "big").write_bytes(b"x" * (CAP + 1))
    (space.folder / "fits").write_bytes(b"x" * CAP)
    assert refused(lambda: space.read("big")) == (413, "too_large")
    assert space.read("fits")["size"] == CAP
    assert refused(lambda: space.write("w", "x" * (CAP + 1))) == (413, "too_large")
    assert space.write("w", "x" * CAP)["size"] == CAP


def test_a_file_that_grows_while_it_is_read_is_refused(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, fstat = space.folder / "f", os.fstat
    target.write_bytes(b"small")

    def fstat_then_grow(descriptor: int) -> os.stat_result:
        found = fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            target.write_bytes(b"x" * (CAP + 1))
        return found

    monkeypatch.setattr(os, "fstat", fstat_then_grow)
    assert refused(lambda: space.read("f")) == (413, "too_large")


def test_a_folder_is_listed_in_order_with_what_each_entry_is(space: Workspace) -> None:
    (space.folder / "z").write_text("zz")
    (space.folder / "d").mkdir()
    (space.folder / "l").symlink_to(space.outside / "f")
    os.mkfifo(space.folder / "p")
    assert space.list() == {
        "entries": [
            {"name": "d", "type": "directory", "size": 0},
            {"name": "l", "type": "link", "size": 0},
            {"name": "p", "type": "other", "size": 0},
            {"name": "z", "type": "file", "size": 2},
        ]
    }


def test_a_long_listing_is_marked_as_truncated(space: Workspace) -> None:
    for number in range(7):
        (space.folder / f"f{number}").touch()
    said = space.list()
    assert [entry["name"] for entry in said["entries"]] == ["f0", "f1", "f2", "f3", "f4"]
    assert said["truncated"] is True


def test_a_name_that_is_not_unicode_can_be_listed(space: Workspace) -> None:
    name = os.fsdecode(b"\xff")
    try:
        (space.folder / name).touch()
    except OSError:
        assert sys.platform == "darwin", "only macOS has no such names"
    else:
        assert space.list()["entries"][0]["name"] == "\N{REPLACEMENT CHARACTER}"


def test_the_root_can_be_listed_by_many_at_once(space: Workspace) -> None:
    for number in range(5):
        (space.folder / f"f{number}").touch()
    seen: list[int] = []

    def look() -> None:
        seen.extend(len(space.list()["entries"]) for _ in range(50))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [5] * 200


@pytest.mark.parametrize("path", ["missing", "missing/f", "file/f", "file/f/g"])
def test_a_missing_path_is_not_found(space: Workspace, path: str) -> None:
    (space.folder / "file").touch()
    assert refused(lambda: space.read(path)) == (404, "not_found")
    assert refused(lambda: space.list(path)) == (404, "not_found")
    if "/" in path:
        assert refused(lambda: space.write(path, "x")) == (404, "not_found")


def said(work: Callable[[], object]) -> str:
    with pytest.raises(PdpError) as raised:
        work()
    return raised.value.message


def test_a_missing_folder_is_named(space: Workspace) -> None:
    (space.folder / "a").mkdir()
    missing = "there is no folder 'a/b'"
    assert said(lambda: space.read("a/b/c/f")) == missing
    assert said(lambda: space.list("a/b")) == missing
    made = f"{missing}, and /filesystem/file/write does not make folders"
    assert said(lambda: space.write("a/b/c/f", "x")) == made


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("missing/f", (404, "not_found")),
        ("file/f", (404, "not_found")),
        ("folder", (400, "invalid_request")),
        ("link/f", (403, "resource_out_of_scope")),
        ("link", (403, "resource_out_of_scope")),
        ("x" * 300, (400, "invalid_request")),
        (f"{'x' * 300}/f", (400, "invalid_request")),
    ],
)
def test_a_write_that_cannot_be_done_is_refused_before_it_is_tried(
    space: Workspace, path: str, expected: tuple[int, str]
) -> None:
    (space.folder / "file").touch()
    (space.folder / "folder").mkdir()
    (space.folder / "link").symlink_to("folder")
    before = names(space.folder)
    prepare = partial(anyio.run, space.files.prepare, call("write", path, content="x"))
    assert refused(prepare) == expected
    assert names(space.folder) == before


def test_making_a_write_ready_changes_nothing(space: Workspace) -> None:
    (space.folder / "old").write_text("old")
    for name in ("old", "new"):
        anyio.run(space.files.prepare, call("write", name, content="x"))
    assert names(space.folder) == ["old"]
    assert (space.folder / "old").read_text() == "old"


@pytest.mark.parametrize("what", ["open", "dup", "scandir", "lstat", "fstat", "read", "write"])
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EACCES, (403, "forbidden")),
        (errno.EIO, (503, "unavailable")),
        (errno.EMFILE, (503, "unavailable")),
    ],
)
def test_no_operation_raises_an_os_error(
    space: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    number: int,
    expected: tuple[int, str],
) -> None:
    (space.folder / "f").write_text("content")
    space.list()

    genuine, here = getattr(os, what), threading.get_ident()

    def fail(*args: Any, **named: Any) -> Any:
        if threading.get_ident() != here:  # another system of this process is at work
            return genuine(*args, **named)
        raise OSError(number, os.strerror(number))

    operations: tuple[Callable[[], object], ...] = (
        lambda: space.read("f"),
        lambda: space.write("f", "x"),
        space.list,
    )
    seen = []
    for operation in operations:
        with monkeypatch.context() as patch:
            patch.setattr(os, what, fail)
            try:
                operation()
            except PdpError as refusal:
                seen.append((refusal.status, refusal.code))
    assert set(seen) == {expected}


def test_a_folder_is_no_file_and_a_file_no_folder(space: Workspace) -> None:
    (space.folder / "d").mkdir()
    (space.folder / "f").touch()
    assert refused(lambda: space.read("d")) == (400, "invalid_request")
    assert refused(lambda: space.write("d", "x")) == (400, "invalid_request")
    assert refused(lambda: space.read("")) == (400, "invalid_request")
    assert refused(lambda: space.write("", "x")) == (400, "invalid_request")
    assert refused(lambda: space.list("f")) == (404, "not_found")


@pytest.mark.parametrize("path", ["..", "../outside/f", "a/../../outside/f", "a//b", "./f", "a\0b"])
def test_a_path_that_is_not_canonical_is_refused(space: Workspace, path: str) -> None:
    assert refused(lambda: space.read(path)) == (400, "invalid_request")
    assert refused(lambda: space.write(path, "x")) == (400, "invalid_request")
    assert refused(lambda: space.list(path)) == (400, "invalid_request")


def test_a_name_too_long_for_the_file_system_is_refused(space: Workspace) -> None:
    assert refused(lambda: space.read("x" * 300)) == (400, "invalid_request")
    assert refused(lambda: space.write("x" * 300, "x")) == (400, "invalid_request")


LINKS = {
    "file": "../outside/f",
    "folder": "../outside",
    "inside": "real",
    "absolute": "/etc/passwd",
    "dangling": "nowhere",
    "itself": "itself",
}


@pytest.mark.parametrize("name", sorted(LINKS))
def test_no_link_is_followed_even_when_it_stays_inside(space: Workspace, name: str) -> None:
    (space.folder / "real").write_text("inside")
    (space.folder / name).symlink_to(LINKS[name])
    for path in (name, f"{name}/f"):
        assert refused(partial(space.read, path)) == (403, "resource_out_of_scope")
        assert refused(partial(space.write, path, "x")) == (403, "resource_out_of_scope")
        assert refused(partial(space.list, path)) == (403, "resource_out_of_scope")
    assert (space.outside / "f").read_text() == "out of reach"
    assert names(space.outside) == ["f"]


def test_a_pipe_or_a_socket_is_not_opened_and_does_not_block(space: Workspace) -> None:
    os.mkfifo(space.folder / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    with listener, working_in(space.folder):
        listener.bind("socket")
    for name in ("pipe", "socket"):
        assert refused(partial(space.read, name)) == (403, "resource_out_of_scope")
        assert refused(partial(space.write, name, "x")) == (403, "resource_out_of_scope")
    assert stat.S_ISFIFO((space.folder / "pipe").lstat().st_mode)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(space: Workspace) -> None:
    (space.folder / "f").write_text("old")
    write = os.write

    def full(descriptor: int, data: Any) -> int:
        write(descriptor, b"half")
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nomos.server.pdp.openat.os.write", full)
        assert refused(lambda: space.write("f", "new content")) == (503, "unavailable")
    assert (space.folder / "f").read_text() == "old"
    assert names(space.folder) == ["f"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EACCES, (403, "forbidden")),
        (errno.EROFS, (403, "forbidden")),
        (errno.EISDIR, (400, "invalid_request")),
        (errno.ELOOP, (403, "resource_out_of_scope")),
        (errno.EINVAL, (400, "invalid_request")),
        (errno.EIO, (503, "unavailable")),
        (errno.EDQUOT, (503, "unavailable")),
    ],
)
def test_a_failed_rename_is_reported_and_leaves_no_file(
    space: Workspace, monkeypatch: pytest.MonkeyPatch, number: int, expected: tuple[int, str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "rename", fail)
    assert refused(lambda: space.write("f", "x")) == expected
    assert names(space.folder) == []


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.EINVAL, None), (errno.EIO, (503, "unavailable"))]
)
def test_a_failed_flush_of_a_folder_is_an_error_only_for_disk_errors(
    space: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    expected: tuple[int, str] | None,
) -> None:
    fsync = os.fsync

    def fail_for_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    if expected is None:
        assert space.write("f", "x")["size"] == 1
    else:
        assert refused(lambda: space.write("f", "x")) == expected
    assert (space.folder / "f").read_text() == "x"


def test_a_file_that_goes_away_while_it_is_listed_is_left_out(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (space.folder / "f").touch()
    lstat = os.lstat

    def gone(path: str, *, dir_fd: int | None = None) -> os.stat_result:
        if path == "f":
            (space.folder / "f").unlink()
        return lstat(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "lstat", gone)
    assert space.list() == {"entries": []}


def test_a_reader_sees_the_old_file_or_the_new_one(space: Workspace) -> None:
    texts = {"a" * CAP, "b" * CAP}
    space.write("f", "a" * CAP)
    seen = set()
    with repeating(lambda: space.write("f", "b" * CAP), lambda: space.write("f", "a" * CAP)):
        for _ in range(ROUNDS):
            seen.add(space.read("f")["content"])
    assert seen <= texts


# Swaps during a call


@contextmanager
def repeating(*steps: Callable[[], object]) -> Iterator[None]:
    """Do `steps` again and again in another thread, and end with the last of them."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            for step in steps:
                step()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Socket paths are short, so this one is named from its own folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def test_a_folder_swapped_for_a_link_is_not_followed(space: Workspace) -> None:
    inside, parked = space.folder / "d", space.folder / "parked"
    inside.mkdir()
    (inside / "f").write_text("inside")

    def out() -> None:
        inside.rename(parked)
        inside.symlink_to(space.outside)

    def back() -> None:
        inside.unlink()
        parked.rename(inside)

    results = []
    with repeating(out, back):
        for _ in range(ROUNDS):
            results.append(outcome(lambda: space.read("d/f")["content"]))
            results.append(outcome(lambda: space.write("d/w", "mine")["size"]))
            results.append(outcome(lambda: sorted(e["name"] for e in space.list("d")["entries"])))
    listed = {"['f']", "['f', 'w']"}
    assert {str(result) for result in results} <= {"inside", "4", *listed, "403", "404"}
    assert names(space.outside) == ["f"]
    assert (space.outside / "f").read_text() == "out of reach"


def test_a_file_swapped_for_a_link_or_a_pipe_is_not_opened(space: Workspace) -> None:
    target = space.folder / "f"
    target.write_text("inside")

    def replace(make: Callable[[Path], object]) -> Callable[[], None]:
        def step() -> None:
            made = space.folder / "made"
            make(made)
            made.replace(target)

        return step

    results = []
    with repeating(
        replace(lambda made: made.symlink_to(space.outside / "f")),
        replace(os.mkfifo),
        replace(lambda made: made.write_text("inside")),
    ):
        for _ in range(ROUNDS):
            results.append(outcome(lambda: space.read("f")["content"]))
            results.append(outcome(lambda: space.write("f", "inside")["size"]))
    assert {str(result) for result in results} <= {"inside", "6", "403", "404"}
    assert (space.outside / "f").read_text() == "out of reach"


@pytest.mark.parametrize(
    ("swap", "expected"),
    [
        (lambda space, path: path.symlink_to(space.outside / "f"), (403, "resource_out_of_scope")),
        (lambda _, path: os.mkfifo(path), (403, "resource_out_of_scope")),
        (lambda _, path: path.mkdir(), (400, "invalid_request")),
        (lambda *_: None, (404, "not_found")),
    ],
    ids=["link", "pipe", "folder", "gone"],
)
def test_a_file_swapped_between_looking_and_opening_is_not_read(
    space: Workspace, monkeypatch: pytest.MonkeyPatch, swap: Any, expected: tuple[int, str]
) -> None:
    target, lstat = space.folder / "f", os.lstat
    target.write_text("inside")

    def look_then_swap(path: str, *, dir_fd: int | None = None) -> os.stat_result:
        found = lstat(path, dir_fd=dir_fd)
        if stat.S_ISREG(found.st_mode):
            target.unlink()
            swap(space, target)
        return found

    monkeypatch.setattr(os, "lstat", look_then_swap)
    assert refused(lambda: space.read("f")) == expected


def test_a_file_swapped_for_a_link_before_it_is_replaced_is_not_followed(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, rename = space.folder / "f", os.rename

    def swap_then_rename(*args: Any, **more: Any) -> None:
        target.symlink_to(space.outside / "f")
        rename(*args, **more)

    monkeypatch.setattr(os, "rename", swap_then_rename)
    assert space.write("f", "inside")["size"] == 6
    assert target.read_text() == "inside"
    assert not target.is_symlink()
    assert (space.outside / "f").read_text() == "out of reach"


def outcome(work: Callable[[], object]) -> object:
    try:
        return work()
    except PdpError as refusal:
        return refusal.status


def test_a_workspace_moved_away_stays_the_one_that_is_served(space: Workspace) -> None:
    (space.folder / "f").write_text("mine")
    assert space.read("f")["content"] == "mine"
    space.folder.rename(space.folder.with_name("moved"))
    space.folder.symlink_to(space.outside)
    assert space.read("f")["content"] == "mine"


def test_a_workspace_removed_and_made_again_is_served_again(space: Workspace) -> None:
    assert space.list() == {"entries": []}
    space.folder.rmdir()
    assert refused(space.list) == (503, "unavailable")
    space.folder.mkdir()
    (space.folder / "f").write_text("again")
    assert space.read("f")["content"] == "again"


def test_a_missing_workspace_names_the_setting(tmp_path: Path) -> None:
    files = Filesystem(tmp_path / "none", PdpLimits())
    with pytest.raises(PdpError, match="`workspace`"):
        files.listing(call("list", ""))()


def descriptors() -> Counter[str]:
    """What the descriptors of this process lead to; sockets and pipes have a number each."""
    found: Counter[str] = Counter()
    for name in names(Path("/proc/self/fd")):
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found[str(Path("/proc/self/fd", name).readlink())] += 1
    return found


def test_closing_twice_is_harmless_and_no_descriptor_is_left(space: Workspace) -> None:
    (space.folder / "d").mkdir()
    space.write("d/f", "x")
    anyio.run(space.files.close)
    gc.collect()  # what earlier tests left is closed now, or later
    before = descriptors()
    for path in ("d/f", "d/none", "none/f", "d"):
        outcome(partial(space.read, path))
        outcome(partial(space.write, path, "x"))
        outcome(partial(space.list, path))
    anyio.run(space.files.close)
    anyio.run(space.files.close)
    assert descriptors() - before == Counter()
