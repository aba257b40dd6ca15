"""Keys and chains from a parent process: read once, then removed."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nomos._core.parent_env import CHAIN_FILE, KEY_FD, KEY_FILE, KEY_HANDOVER, MAX_TEXT
from nomos._io import handover
from nomos._io.handover import key_from_env
from nomos._io.parent_chain_file import parent_from_env, read_chain_file
from nomos.errors import ConfigurationError, MalformedChain
from nomos.models import Secret, chain_of

SEED = "0123456789abcdef" * 4
CHAINS = json.dumps(["a.b.c", "d.e.f"])


def revealed(key: Secret | None) -> str | None:
    return None if key is None else key.reveal()


def refused(variable: str, value: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        key_from_env({variable: value})
    assert error.value.setting == variable
    assert str(error.value).startswith(f"{variable}=")
    assert SEED not in str(error.value)
    return str(error.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a parent makes it for one child."""
    made = tmp_path / "nomos-child-of-all" / "nomos-child-1"
    made.mkdir(mode=0o700, parents=True)
    made.parent.chmod(0o700)
    return made


def left(folder: Path, text: str = SEED, *, name: str = "key", mode: int = 0o600) -> str:
    file = folder / name
    file.write_text(text)
    file.chmod(mode)
    return str(file)


@pytest.fixture
def pipe() -> Iterator[Callable[[bytes], int]]:
    """Makes pipes that hold something and have ended, under numbers that no other test had."""
    made: list[int] = []

    def make(text: bytes) -> int:
        reading, writing = os.pipe()
        os.write(writing, text)
        os.close(writing)
        number = next(_numbers)
        os.dup2(reading, number)
        os.close(reading)
        made.append(number)
        return number

    yield make
    for number in made:
        with suppress(OSError):
            os.close(number)


_numbers = iter(range(300, 1000))


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_no_variable_means_no_key() -> None:
    assert key_from_env({}) is None
    assert key_from_env({KEY_FILE: ""}) is None


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_pipe_is_read_once_closed_and_remembered(pipe: Callable[[bytes], int], end: str) -> None:
    number = pipe((SEED + end).encode())
    assert revealed(key_from_env({KEY_FD: str(number)})) == SEED
    assert not is_open(number)
    other = os.open(os.devnull, os.O_RDONLY)
    os.dup2(other, number)
    try:
        assert revealed(key_from_env({KEY_FD: str(number)})) == SEED
        assert is_open(number)
    finally:
        os.close(number)
        os.close(other)


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"\n", SEED[1:].encode(), SEED.encode() + b"0", SEED.upper().encode()),
        *(b"\xff" * 64, SEED.encode() + b"\n\n", SEED.encode() * 900),
    ],
)
def test_a_pipe_without_a_key_is_read_once_too(pipe: Callable[[bytes], int], text: bytes) -> None:
    number = pipe(text)
    assert "holds no key of 64 hex digits" in refused(KEY_FD, str(number))
    assert not is_open(number)
    other = pipe(SEED.encode())
    os.dup2(other, number)
    assert "holds no key" in refused(KEY_FD, str(number))
    os.close(number)


def test_a_pipe_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "PATIENCE", 0.05)
    reading, writing = os.pipe()
    number = next(_numbers)
    os.dup2(reading, number)
    os.close(reading)
    os.write(writing, SEED.encode())
    try:
        assert "holds no key" in refused(KEY_FD, str(number))
    finally:
        os.close(writing)


@pytest.mark.parametrize(
    "value", ["", "0", "1", "2", "-1", "07", "3.0", "x", "999999", "99999999", "٣"]
)
def test_a_descriptor_that_is_no_inherited_pipe_is_refused(value: str) -> None:
    refused(KEY_FD, value)


def test_a_file_in_place_of_the_pipe_is_refused_and_not_changed(tmp_path: Path) -> None:
    number = os.open(left(tmp_path), os.O_RDONLY)
    try:
        assert "is not a pipe from its parent" in refused(KEY_FD, str(number))
        assert is_open(number)
    finally:
        os.close(number)


def test_a_handed_over_file_is_read_once_removed_with_its_folder_and_remembered(
    folder: Path, tmp_path: Path
) -> None:
    file = left(folder)
    assert revealed(key_from_env({KEY_HANDOVER: file})) == SEED
    assert list(tmp_path.iterdir()) == []
    assert revealed(key_from_env({KEY_HANDOVER: file})) == SEED


def test_other_folders_and_files_are_not_removed(tmp_path: Path, folder: Path) -> None:
    file = left(tmp_path)
    assert key_from_env({KEY_HANDOVER: file}) is not None
    assert not Path(file).exists()
    assert tmp_path.exists()
    chains = left(folder, CHAINS, name="chains.json")
    assert key_from_env({KEY_HANDOVER: left(folder)}) is not None
    assert Path(chains).exists()
    assert parent_from_env({CHAIN_FILE: chains}).chain == chain_of(["a.b.c", "d.e.f"])
    assert not folder.parent.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o644])
def test_a_file_that_others_can_read_is_refused_and_stays(folder: Path, mode: int) -> None:
    file = left(folder, mode=mode)
    message = refused(KEY_HANDOVER, file)
    assert re.search(r"can be read by others \(mode 0\d{3}\): chmod 600", message)
    assert Path(file).exists()


def test_a_path_that_is_no_file_is_refused(folder: Path) -> None:
    file = left(folder)
    link = folder / "link"
    link.symlink_to(file)
    os.mkfifo(folder / "fifo", 0o600)
    for path in (link, folder, folder / "fifo", folder / "nothing", Path("x" * 5000)):
        refused(KEY_HANDOVER, str(path))
    refused(KEY_HANDOVER, "")
    refused(KEY_HANDOVER, "a\0b")
    assert Path(file).read_text() == SEED
    assert "keep that Child" in refused(KEY_HANDOVER, str(folder / "nothing"))


def test_a_file_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = left(folder)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(file, 1234, 1234)
    assert "belongs to another user" in refused(KEY_HANDOVER, file)


def test_a_handed_over_file_is_read_once_even_if_it_has_no_key(folder: Path) -> None:
    file = left(folder, "hello")
    assert "holds no key" in refused(KEY_HANDOVER, file)
    assert not Path(file).exists()
    folder.mkdir(parents=True)
    left(folder)
    assert "holds no key" in refused(KEY_HANDOVER, file)


def test_one_of_two_readers_of_a_file_gets_the_key(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = left(folder)
    real = Path.unlink

    def faster(self: Path) -> None:
        real(self)
        real(self)

    monkeypatch.setattr(Path, "unlink", faster)
    assert "another process may read it" in refused(KEY_HANDOVER, file)


def test_two_variables_for_one_key_are_refused(folder: Path, pipe: Callable[[bytes], int]) -> None:
    file, number = left(folder), pipe(SEED.encode())
    with pytest.raises(ConfigurationError, match=f"{KEY_FD} and {KEY_HANDOVER} are both set"):
        key_from_env({KEY_FD: str(number), KEY_HANDOVER: file})
    assert Path(file).exists()
    assert is_open(number)


def test_a_users_key_file_is_read_each_time_and_kept(tmp_path: Path) -> None:
    file = left(tmp_path, SEED + "\n")
    for _ in range(2):
        assert revealed(key_from_env({KEY_FILE: file})) == SEED
    assert Path(file).exists()
    Path(file).write_text("f" * 64)
    assert revealed(key_from_env({KEY_FILE: file})) == "f" * 64
    Path(file).chmod(0o644)
    refused(KEY_FILE, file)


def test_a_handed_over_key_is_preferred_to_a_key_file(tmp_path: Path, folder: Path) -> None:
    own = left(tmp_path, "f" * 64)
    assert revealed(key_from_env({KEY_FILE: own, KEY_HANDOVER: left(folder)})) == SEED


def test_concurrent_threads_get_the_same_key(pipe: Callable[[bytes], int]) -> None:
    number = pipe(SEED.encode())
    found: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(revealed(key_from_env({KEY_FD: str(number)}))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [SEED] * 8


def test_a_forked_process_has_what_its_parent_read(pipe: Callable[[bytes], int]) -> None:
    number = pipe(SEED.encode())
    assert key_from_env({KEY_FD: str(number)}) is not None
    child = os.fork()
    if child == 0:
        os._exit(0 if revealed(key_from_env({KEY_FD: str(number)})) == SEED else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_users_chain_file_is_read_each_time_and_kept(tmp_path: Path) -> None:
    file = left(tmp_path, CHAINS)
    assert parent_from_env({CHAIN_FILE: file}).chain == chain_of(["a.b.c", "d.e.f"])
    Path(file).write_text('["g.h.i"]')
    assert parent_from_env({CHAIN_FILE: file}).chain == chain_of(["g.h.i"])


def test_a_chain_file_for_a_child_is_removed_and_remembered(folder: Path) -> None:
    file = left(folder, CHAINS)
    for _ in range(2):
        assert len(parent_from_env({CHAIN_FILE: file}).chain) == 2
    assert not folder.parent.exists()


def test_an_inherited_chain_file_is_read_from_its_beginning_and_closed(tmp_path: Path) -> None:
    descriptor = os.open(left(tmp_path, CHAINS), os.O_RDONLY)
    number = next(_numbers)
    os.dup2(descriptor, number)
    os.close(descriptor)
    os.lseek(number, 5, os.SEEK_SET)
    for _ in range(2):
        assert read_chain_file(f"/dev/fd/{number}") == CHAINS
    assert not is_open(number)


@pytest.mark.parametrize(
    "path", ["", "/dev/fd/", "/dev/fd/0", "/dev/fd/x", "/dev/fd/999", "/nowhere/x"]
)
def test_a_missing_chain_file_names_its_variable(path: str) -> None:
    with pytest.raises(ConfigurationError, match=CHAIN_FILE) as error:
        parent_from_env({CHAIN_FILE: path})
    assert error.value.setting == CHAIN_FILE


def test_a_chain_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = left(tmp_path, CHAINS, mode=0o644)
    with pytest.raises(ConfigurationError, match="can be read by others") as error:
        parent_from_env({CHAIN_FILE: file})
    assert "replace the key" not in str(error.value)
    number = os.open(file, os.O_RDONLY)
    try:
        with pytest.raises(ConfigurationError, match="can be read by others"):
            parent_from_env({CHAIN_FILE: f"/dev/fd/{number}"})
        reading, writing = os.pipe()
        with pytest.raises(ConfigurationError, match="not a regular file"):
            parent_from_env({CHAIN_FILE: f"/dev/fd/{reading}"})
        os.close(reading)
        os.close(writing)
    finally:
        os.close(number)


@pytest.mark.parametrize("text", ["", "\udcff", "[]", "x" * (MAX_TEXT + 10), '["a.b.é"]'])
def test_a_chain_file_that_holds_no_chain_is_malformed(tmp_path: Path, text: str) -> None:
    file = tmp_path / "chains"
    file.write_bytes(text.encode(errors="surrogateescape"))
    file.chmod(0o600)
    with pytest.raises(MalformedChain, match=CHAIN_FILE):
        parent_from_env({CHAIN_FILE: str(file)})
