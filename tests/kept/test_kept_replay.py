"""A file of used tokens that is deleted or replaced while it is in use."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nomos._core.feed_state import Floor
from nomos.audit.chain import Head
from nomos.server.storage.database import StorageUnavailable
from nomos.server.storage.replay import SqlReplayStore


def test_a_claim_in_a_deleted_file_fails(tmp_path: Path) -> None:
    path, end = tmp_path / "used.db", int(time.time()) + 60
    with SqlReplayStore(path) as replay:
        assert replay.claim("issuer", "audience", "first", end)
        path.rename(tmp_path / "aside.db")
        with pytest.raises(StorageUnavailable, match=r"used\.db is gone"):
            replay.claim("issuer", "audience", "second", end)
        path.touch()
        with pytest.raises(StorageUnavailable, match=r"used\.db is another file"):
            replay.claim("issuer", "audience", "third", end)
        (tmp_path / "aside.db").rename(path)
        assert not replay.claim("issuer", "audience", "first", end)
        assert replay.claim("issuer", "audience", "fourth", end)


def test_a_file_that_was_emptied_is_refused_and_one_that_is_gone_is_made(tmp_path: Path) -> None:
    path, end = tmp_path / "used.db", int(time.time()) + 60
    with SqlReplayStore(path) as replay:
        assert replay.claim("issuer", "audience", "first", end)
    path.write_bytes(b"")
    with SqlReplayStore(path) as replay:
        for nonce in ("first", "second"):
            with pytest.raises(StorageUnavailable, match="was emptied, so it is unknown which"):
                replay.claim("issuer", "audience", nonce, end)
        path.unlink()
        assert replay.claim("issuer", "audience", "first", end)


def test_the_position_in_a_feed_is_shared_and_never_decreases(tmp_path: Path) -> None:
    path = tmp_path / "used.db"
    with SqlReplayStore(path) as one, SqlReplayStore(path) as other:
        for seq in (2, 1):
            one.keep_floor("did:key:i", "revocations", Head(seq, f"{seq}"))
        other.keep_floor("did:key:i", "keys", Head(1, "k"))
        assert one.floor("did:key:i") == Floor(Head(2, "2"), Head(1, "k"))
        assert other.floor("did:key:j") == Floor()
