"""The policies that decide now; another version can take their place while the server runs."""

from __future__ import annotations

from nomos.policy.bundle import Bundle


class Live:
    """Holds the active bundle. Whoever decides takes it once and uses it to the end."""

    def __init__(self, bundle: Bundle, version: int = 0) -> None:
        self.bundle = bundle
        self.version = version

    def activate(self, bundle: Bundle, version: int) -> None:
        """Decide with another bundle from now on."""
        self.bundle, self.version = bundle, version
