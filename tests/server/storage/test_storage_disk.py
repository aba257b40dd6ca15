"""A disk that is nearly full is reported while there is still space."""

from __future__ import annotations

from pathlib import Path

import pytest

from nomos.server.storage import write_probe
from nomos.server.storage.database import StorageUnavailable
from nomos.server.storage.store import Store

pytestmark = pytest.mark.anyio


async def test_a_store_is_not_ready_without_free_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    try:
        await store.migrate()
        with monkeypatch.context() as patch:
            patch.setattr(write_probe, "LEAST_FREE", 1)
            await store._probe()
        monkeypatch.setattr(write_probe, "LEAST_FREE", 1 << 62)
        with pytest.raises(StorageUnavailable, match="free space"):
            await store._probe()
    finally:
        await store.close()


def test_a_missing_folder_has_no_free_space(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="cannot be examined"):
        write_probe.check_room(tmp_path / "none")
