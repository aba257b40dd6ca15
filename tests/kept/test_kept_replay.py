"""A file of used tokens that is deleted or replaced while it is in use."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nomos.server.storage.database import StorageUnavailable
from nomos.server.storage.replay import StoredReplay


def test_a_claim_in_a_file_that_is_gone_is_none(tmp_path: Path) -> None:
    path, end = tmp_path / "used.db", int(time.time()) + 60
    with StoredReplay(path) as replay:
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
