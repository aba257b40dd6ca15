"""The active policies, which another version can replace while the server runs."""

from __future__ import annotations

from nomos.policy.bundle import Bundle


class ActivePolicy:
    """Holds the active bundle, shared by control plane and PDP; a decision reads it once."""

    def __init__(self, bundle: Bundle, version: int = 0, activation: int = 0) -> None:
        self.bundle = bundle
        self.version = version
        self.activation = activation

    def activate(self, bundle: Bundle, version: int, activation: int) -> None:
        """Replace the active bundle, unless a later activation is in place already."""
        if activation > self.activation:
            self.bundle, self.version, self.activation = bundle, version, activation

    def skip(self, activation: int) -> None:
        """Keep the active bundle: the activation has a version that this server cannot use."""
        self.activation = max(self.activation, activation)
