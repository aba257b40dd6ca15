"""Forgotten keys leave no trace in Python or in the binary's memory."""

from __future__ import annotations

import array
import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nomos import AuthGuard, ConfigurationError
from nomos._io.binary_location import find_binary
from nomos._io.process import Waiter
from nomos._io.signer import Signer, SignerConnection
from nomos._protocol import ForgetKey, GenerateKey, GenerateKeyAnswer, Hello, LoadKey, LoadKeyAnswer
from nomos.models import Secret

PAGE = 4096
PRESENT = 1 << 63
"""The bit of a page's entry in /proc/PID/pagemap that says that it is in memory."""


def copies(pid: int, needle: bytes) -> int:
    """How often some bytes are in the writable memory of a process."""
    proc = Path(f"/proc/{pid}")
    with (
        (proc / "maps").open() as maps,
        (proc / "pagemap").open("rb", buffering=0) as pages,
        (proc / "mem").open("rb", buffering=0) as memory,
    ):
        spans = [line.split()[:2] for line in maps]
        return sum(
            _read(memory, start, end).count(needle)
            for span, mode in spans
            if mode.startswith("rw")
            for start, end in _present(pages, *(int(each, 16) for each in span.split("-")))
        )


def _present(pages: Any, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of a mapping that are in memory; much of it is only reserved."""
    pages.seek(start // PAGE * 8)
    entries = array.array("Q", pages.read((end - start) // PAGE * 8))
    here = (index for index, entry in enumerate(entries) if entry & PRESENT)
    first = last = -1
    for index in here:
        if index != last:
            if last > first:
                yield start + first * PAGE, start + last * PAGE
            first = index
        last = index + 1
    if last > first:
        yield start + first * PAGE, start + last * PAGE


def _read(memory: Any, start: int, end: int) -> bytes:
    try:
        memory.seek(start)
        return bytes(memory.read(end - start))
    except OSError:
        return b""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes are Linux's")
def test_the_binary_writes_no_core_file_and_this_program_keeps_its_limit() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_CORE)
    link = SignerConnection(find_binary())
    try:
        process = link.start()
        limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
        (core,) = (line for line in limits if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
        assert resource.getrlimit(resource.RLIMIT_CORE) == before
    finally:
        link.close()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/PID/mem is Linux's")
def test_a_forgotten_seed_is_not_in_the_binarys_memory() -> None:
    link = SignerConnection(find_binary())
    try:
        signer, seed, other = Signer(link), secrets.token_bytes(32), secrets.token_bytes(32)
        loaded = signer.ask(LoadKey(seed=seed.hex()))
        assert isinstance(loaded, LoadKeyAnswer)
        assert copies(link.start().pid, seed.hex().encode()) == 0
        # Both kinds of copy are found where they are: the key that is held, a seed in a string.
        assert copies(link.start().pid, seed) > 0
        held = {"op": "load_key", "seed": other.hex(), "protocol": 1, "id": 2**40}
        line, waiter = json.dumps(held).encode() + b"\n", Waiter()
        assert link.start().exchange(2**40, line, waiter, 10)
        assert copies(link.start().pid, other.hex().encode()) > 0
        signer.ask(ForgetKey(key=loaded.key))
        signer.ask(Hello())
        assert copies(link.start().pid, seed) == 0
        assert copies(link.start().pid, seed.hex().encode()) == 0
        assert not link.holds(loaded.key)
    finally:
        link.close()


def test_a_forgotten_key_is_wiped_in_python() -> None:
    link = SignerConnection(find_binary())
    try:
        made = Signer(link).ask(GenerateKey())
        assert isinstance(made, GenerateKeyAnswer)
        kept = link._keys[made.key]
        assert kept.reveal() == made.seed
        Signer(link).ask(ForgetKey(key=made.key))
        assert not link.holds(made.key)
        with pytest.raises(ConfigurationError, match="wiped"):
            kept.reveal()
    finally:
        link.close()


def test_all_keys_are_wiped_at_once() -> None:
    link = SignerConnection(find_binary())
    try:
        kept = [Signer(link).ask(GenerateKey()) for _ in range(3)]
        link.wipe()
        assert not any(link.holds(each.key) for each in kept if isinstance(each, GenerateKeyAnswer))
    finally:
        link.close()


def test_a_closed_guard_has_no_key() -> None:
    guard = AuthGuard(control_plane_url="http://127.0.0.1:1", api_key="k", parent=None)
    seed, did = guard._standing.seed, guard.did()
    link = guard._link
    assert link.holds(did)
    guard.close()
    assert not link.holds(did)
    with pytest.raises(ConfigurationError, match="wiped"):
        seed.reveal()


def test_a_closed_guard_with_a_dead_binary_has_no_key() -> None:
    guard = AuthGuard(control_plane_url="http://127.0.0.1:1", api_key="k", parent=None)
    did, link = guard.did(), guard._link
    link.close()
    guard.close()
    assert not link.holds(did)


def test_a_secret_is_wiped_once_and_its_copy_is_another() -> None:
    secret = Secret("k\u00e9y")
    copy = secret.copy()
    secret.wipe()
    secret.wipe()
    assert copy.reveal() == "k\u00e9y"
    with pytest.raises(ConfigurationError, match="wiped"):
        secret.reveal()
