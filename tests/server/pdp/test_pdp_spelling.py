"""Every listed name can be read, and each entry has one path."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from workspaces import Workspace, call, names, refused

from nomos.server.pdp.context import PdpLimits
from nomos.server.pdp.filesystem import Filesystem

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="needs both spellings on disk")

NFC = unicodedata.normalize("NFC", "Übergrößenträger.txt")
NFD = unicodedata.normalize("NFD", NFC)


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    folder = tmp_path / "workspace"
    folder.mkdir()
    files = Filesystem(folder, PdpLimits(file=4096, entries=5))
    yield Workspace(files, folder, tmp_path)
    anyio.run(files.close)


def test_a_decomposed_name_is_listed_and_read_by_its_composed_spelling(space: Workspace) -> None:
    (space.folder / NFD).mkdir()
    (space.folder / NFD / NFD).write_text("old")
    assert space.list() == {"entries": [{"name": NFC, "type": "directory", "size": 0}]}
    assert space.list(NFC) == {"entries": [{"name": NFC, "type": "file", "size": 3}]}
    assert space.read(f"{NFC}/{NFC}")["content"] == "old"
    space.files.check_target(_write(f"{NFC}/{NFC}"))
    assert space.write(f"{NFC}/{NFC}", "new")["path"] == f"{NFC}/{NFC}"
    assert names(space.folder / NFD) == [NFD]
    assert (space.folder / NFD / NFD).read_text() == "new"


def _write(path: str) -> Any:
    return call("write", path, content="x")


def test_the_composed_spelling_is_used_if_both_exist(space: Workspace) -> None:
    (space.folder / NFC).write_text("composed")
    (space.folder / NFD).write_text("decomposed")
    assert space.read(NFC)["content"] == "composed"
    space.write(NFC, "again")
    assert (space.folder / NFD).read_text() == "decomposed"
    listed = space.list()["entries"]
    assert sorted(entry.get("readable", True) for entry in listed) == [False, True]
    assert {entry["size"]: entry.get("readable", True) for entry in listed} == {5: True, 10: False}


def test_two_decomposed_spellings_of_one_name_are_ambiguous(space: Workspace) -> None:
    composed = "\u1e69"
    for name in ("s\u0323\u0307", "\u1e63\u0307"):
        assert unicodedata.normalize("NFC", name) == composed
        (space.folder / name).write_text("x")
    assert refused(lambda: space.read(composed)) == (400, "invalid_request")
    assert refused(lambda: space.write(composed, "y")) == (400, "invalid_request")
    assert [entry["readable"] for entry in space.list()["entries"]] == [False, False]


def test_another_spelling_beyond_a_truncated_listing_is_considered(space: Workspace) -> None:
    (space.folder / "e\u0301").write_text("x")
    for number in range(6):
        (space.folder / f"f{number}").touch()
    (space.folder / "\u00e9").write_text("composed")
    assert space.list()["entries"][0] == {
        "name": "\u00e9",
        "type": "file",
        "size": 1,
        "readable": False,
    }


@pytest.mark.parametrize("name", ["a\\b", "a%2eb", "a\nb", "a\u202eb", os.fsdecode(b"\xff")])
def test_a_name_that_no_path_can_hold_is_listed_as_unreadable(space: Workspace, name: str) -> None:
    (space.folder / name).write_text("x")
    (entry,) = space.list()["entries"]
    assert entry["readable"] is False


@pytest.mark.parametrize("name", ["plain", "with space", NFC, "日本", "a.b~", "ẞ", "x" * 255])
def test_every_listed_name_can_be_read(space: Workspace, name: str) -> None:
    if len(os.fsencode(name)) > 255:
        pytest.skip("too long for a file system")
    (space.folder / name).write_text("x")
    (entry,) = space.list()["entries"]
    assert "readable" not in entry
    assert space.read(entry["name"])["content"] == "x"


def test_a_new_name_is_made_in_the_composed_spelling(space: Workspace) -> None:
    space.write(NFC, "x")
    assert names(space.folder) == [NFC]


def test_a_file_system_that_ignores_case_gives_an_entry_no_second_path(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (space.folder / "secret").mkdir()
    (space.folder / "secret/key.txt").write_text("hidden")
    real_stat, real_lstat, real_open = os.stat, os.lstat, os.open

    def names_in(folder: int) -> list[str]:
        return os.listdir(folder)

    def actual(path: Any, folder: int | None) -> Any:
        if folder is None or not isinstance(path, str) or path == ".":
            return path
        found = [name for name in names_in(folder) if name.lower() == path.lower()]
        return found[0] if found else path

    def stat(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> Any:
        return real_stat(actual(path, dir_fd), dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    def lstat(path: Any, *, dir_fd: int | None = None) -> Any:
        return real_lstat(actual(path, dir_fd), dir_fd=dir_fd)

    def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        return real_open(actual(path, dir_fd), flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "lstat", lstat)
    monkeypatch.setattr(os, "open", open_)
    for path in ("SECRET/key.txt", "secret/KEY.txt", "Secret/Key.txt"):
        assert refused(partial(space.read, path)) == (404, "not_found")
        assert refused(partial(space.write, path, "x")) == (404, "not_found")
    assert refused(lambda: space.list("SECRET")) == (404, "not_found")
    assert space.read("secret/key.txt")["content"] == "hidden"
    assert space.write("secret/new.txt", "x")["size"] == 1
