"""Permissions of key files, and machines without a temporary folder."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from nomos import AuthGuard
from nomos._io import child_files
from nomos._io.keyfile import read_key_file, why_unsafe
from nomos.errors import ConfigurationError

SEED = "00" * 31 + "01"
ME, GROUP = os.geteuid(), os.getegid()
OTHER_GROUP = 54321


def status(mode: int, uid: int, gid: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 1, 1, 1, uid, gid, 64, 0, 0, 0))


@pytest.mark.parametrize("owner", [0, ME])
def test_a_mounted_secret_is_read_by_its_group(owner: int, tmp_path: Path) -> None:
    assert why_unsafe(status(0o440, owner, GROUP), tmp_path, mounted=True) is None
    assert why_unsafe(status(0o400, owner, OTHER_GROUP), tmp_path, mounted=True) is None


def test_a_secret_of_root_may_be_writable_by_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: [2000])
    assert why_unsafe(status(0o640, 0, 2000), tmp_path, mounted=True) is None
    wrong = why_unsafe(status(0o640, 1000, 2000), tmp_path, mounted=True)
    assert wrong is not None
    assert wrong.startswith(f"can be read by others (mode 0640): chmod 600 {tmp_path}")


@pytest.mark.parametrize("mode", [0o444, 0o441, 0o460, 0o450, 0o660, 0o644, 0o604, 0o777])
@pytest.mark.parametrize("owner", [0, ME])
def test_a_file_that_others_can_read_or_change_is_refused(
    mode: int, owner: int, tmp_path: Path
) -> None:
    wrong = why_unsafe(status(mode, owner, GROUP), tmp_path, mounted=True)
    assert wrong is not None
    assert f"mode {mode:04o}" in wrong


def test_the_group_has_to_be_one_of_this_process(tmp_path: Path) -> None:
    assert why_unsafe(status(0o440, 0, OTHER_GROUP), tmp_path, mounted=True) is not None
    assert (
        why_unsafe(status(0o440, 0, GROUP), tmp_path) is not None
    )  # what a parent left is stricter


def test_another_user_is_named(tmp_path: Path) -> None:
    wrong = why_unsafe(status(0o400, 54321, GROUP), tmp_path, mounted=True)
    assert wrong == "belongs to another user (uid 54321): run as that user, or copy the file"


def test_a_secret_volume_is_links_to_links(tmp_path: Path) -> None:
    """Kubernetes: key -> ..data/key, ..data -> a folder with a date for its name."""
    dated = tmp_path / "..2026_05_23"
    dated.mkdir()
    (dated / "key").write_text(SEED + "\n")
    (dated / "key").chmod(0o440)
    (tmp_path / "..data").symlink_to(dated.name)
    (tmp_path / "key").symlink_to("..data/key")
    assert read_key_file(tmp_path / "key", setting="NOMOS_AGENT_KEY_FILE").reveal() == SEED


@pytest.fixture
def no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    for name in ("mkdtemp", "gettempdir", "TemporaryFile"):
        monkeypatch.setattr(tempfile, name, refuse)
    monkeypatch.setattr(child_files, "_place", None)


@pytest.mark.usefixtures("no_temporary_folder")
def test_without_a_temporary_folder_the_error_names_the_variable() -> None:
    for make in (
        child_files.ChildDirectory,
        lambda: AuthGuard.embedded(policies="permit (principal, action, resource);"),
    ):
        with pytest.raises(ConfigurationError, match="Set TMPDIR to a folder") as raised:
            make()
        assert raised.value.setting == "TMPDIR"


@pytest.mark.usefixtures("no_temporary_folder")
def test_an_inherited_chain_needs_no_folder() -> None:
    text = "x" * 200_000
    with child_files.descriptors(None, text) as (key, chains):
        assert key is None
        assert chains is not None
        found = os.fstat(chains)
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert os.pread(chains, len(text) + 1, 0) == text.encode()


@pytest.mark.usefixtures("no_temporary_folder")
def test_without_memfd_a_temporary_folder_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with (
        pytest.raises(ConfigurationError, match="Set TMPDIR"),
        child_files.descriptors(None, "[]"),
    ):
        pass
