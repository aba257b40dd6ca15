"""All routes of a control plane: its own, and those of its pages."""

from __future__ import annotations

from typing import Final

from nomos.server.control import routes as control
from nomos.server.pages import routes as pages

ROUTES: Final = (*control.ROUTES, *pages.ROUTES)
