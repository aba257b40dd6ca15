"""Searches and races have a short form, and a long one for `NOMOS_TEST_SLOW=1`.

The short form meets each kind of case; the long one meets each more often.
"""

from __future__ import annotations

import os
from typing import Final

SLOW: Final = os.environ.get("NOMOS_TEST_SLOW") == "1"


def times(long: int, *, short: int) -> int:
    """How often to try."""
    return long if SLOW else short
