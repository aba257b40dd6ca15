"""The location of the binary, and errors if it is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nomos._io.binary_location import BUNDLED, find_binary
from nomos.errors import BinaryNotFound


def script(path: Path, mode: int = 0o755) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_the_bundled_binary_is_found() -> None:
    assert find_binary({}) == BUNDLED
    assert os.access(BUNDLED, os.X_OK)


def test_the_variable_comes_first(tmp_path: Path) -> None:
    mine = script(tmp_path / "mine")
    assert find_binary({"NOMOS_UCAN_BIN": str(mine)}) == mine


def test_an_empty_variable_counts_as_not_set() -> None:
    assert find_binary({"NOMOS_UCAN_BIN": ""}) == BUNDLED


def test_a_variable_that_names_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BinaryNotFound) as missing:
        find_binary({"NOMOS_UCAN_BIN": str(tmp_path / "gone")})
    for part in ("NOMOS_UCAN_BIN=", "does not exist", "unset NOMOS_UCAN_BIN"):
        assert part in str(missing.value)


def test_a_binary_without_its_exec_bit_is_named_with_the_fix(tmp_path: Path) -> None:
    where = script(tmp_path / "nomos-ucan", 0o644)
    with pytest.raises(BinaryNotFound, match=f"chmod \\+x {where}"):
        find_binary({"NOMOS_UCAN_BIN": str(where)})


def test_a_folder_is_not_a_binary(tmp_path: Path) -> None:
    with pytest.raises(BinaryNotFound, match="not a file"):
        find_binary({"NOMOS_UCAN_BIN": str(tmp_path)})


def test_a_missing_binary_names_path_platform_and_fix(
    tmp_path: Path,
) -> None:
    with pytest.raises(BinaryNotFound) as missing:
        find_binary({}, bundled=tmp_path / "nomos-ucan")
    text = str(missing.value)
    assert str(tmp_path / "nomos-ucan") in text
    assert os.uname().machine in text
    assert "pip install" in text


def test_path_is_never_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "nomos-ucan")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BinaryNotFound):
        find_binary({}, bundled=tmp_path / "elsewhere")
