"""What every test of the server shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import quick_migrations

from nomos.server.storage import store


@pytest.fixture(autouse=True, scope="session")
def _quick_migrations() -> Iterator[None]:
    """Hundreds of tests open a database of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "upgrade", quick_migrations.upgrade)
        yield
