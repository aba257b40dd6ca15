"""The policies that decide now; another version can take their place while the server runs."""

from __future__ import annotations

from nomos.policy.bundle import Bundle


class ActivePolicy:
    """Holds the active bundle. Whoever decides takes it once and uses it to the end.

    Control plane and PDP of one server share it, so both decide by the same version.
    """

    def __init__(self, bundle: Bundle, version: int = 0, activation: int = 0) -> None:
        self.bundle = bundle
        self.version = version
        self.activation = activation

    def activate(self, bundle: Bundle, version: int, activation: int) -> None:
        """Decide with another bundle from now on, unless a later activation was quicker."""
        if activation > self.activation:
            self.bundle, self.version, self.activation = bundle, version, activation

    def skip(self, activation: int) -> None:
        """Go on as before, though another version was activated: this server cannot use it."""
        self.activation = max(self.activation, activation)
