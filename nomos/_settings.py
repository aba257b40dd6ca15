"""What a guard is told: its settings, where they come from, and which are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from nomos.errors import ConfigurationError
from nomos.models import Secret

FailureMode = Literal["closed", "open"]

VARIABLES: Final = {
    "control_plane_url": "NOMOS_CONTROL_URL",
    "api_key": "NOMOS_API_KEY",
    "pdp_url": "NOMOS_PDP_URL",
    "agent_key_file": "NOMOS_AGENT_KEY_FILE",
}

SWARM_VARIABLES: Final = (
    "NOMOS_PARENT_UCAN_CHAIN",
    "NOMOS_PARENT_UCAN_CHAIN_FILE",
    "NOMOS_PARENT_RECEIPT_ID",
    "NOMOS_SWARM_ID",
    "NOMOS_AGENT_KEY_FD",
    "NOMOS_AGENT_KEY_HANDOVER_FILE",
)
"""Set, even to nothing, they say that this process is somebody's child."""

MAX_TIMEOUT: Final = 300.0


class FromEnvironment:
    """The type of `FROM_ENV`: take the parent's chain from the environment."""

    def __repr__(self) -> str:
        return "FROM_ENV"


FROM_ENV: Final = FromEnvironment()


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return a guard's arguments from `NOMOS_…` variables; an empty one counts as not set."""
    refuse_swarm(environ)
    found = {name: environ.get(variable) for name, variable in VARIABLES.items()}
    if not found["control_plane_url"]:
        raise ConfigurationError(
            "NOMOS_CONTROL_URL is not set: it is the URL of the control plane, such as "
            "http://127.0.0.1:8788 (`nomos dev` starts one and prints it)",
            setting="NOMOS_CONTROL_URL",
        )
    return {name: value for name, value in found.items() if value}


def refuse_swarm(environ: Mapping[str, str]) -> None:
    """Raise if a parent handed its authority on: this version cannot act on it.

    A child that ignored its parent's chain would act as a root, with more than it was given.
    """
    found = [name for name in SWARM_VARIABLES if name in environ]
    if found:
        raise ConfigurationError(
            f"{' and '.join(found)} is set: this process was given a parent's authority, and "
            "this version of nomos cannot act under one yet. Unset it, or pass parent=None to "
            "act as a root on purpose.",
            setting=found[0],
        )


def checked_parent(parent: object, environ: Mapping[str, str]) -> None:
    """Raise for any parent but none at all; see `refuse_swarm`."""
    if parent is FROM_ENV:
        refuse_swarm(environ)
    elif parent is not None:
        raise ConfigurationError(
            "parent must be left out, or None to act as a root on purpose: this version of nomos "
            "cannot act under a parent's chain yet",
            setting="parent",
        )


def checked_failure_mode(mode: object) -> FailureMode:
    if mode == "closed":
        return "closed"
    if mode == "open":
        return "open"
    raise ConfigurationError(
        f'failure_mode must be "closed" or "open", not {mode!r}', setting="failure_mode"
    )


def checked_timeout(seconds: float) -> float:
    if isinstance(seconds, int | float) and 0 < seconds <= MAX_TIMEOUT:
        return float(seconds)
    raise ConfigurationError(
        f"timeout must be above 0 and at most {MAX_TIMEOUT:g} seconds, not {seconds!r}",
        setting="timeout",
    )


def checked_api_key(api_key: str | None) -> Secret | None:
    """Return the API key as a `Secret`. Its characters are never repeated in the message."""
    if api_key is None:
        return None
    if isinstance(api_key, str) and api_key.isascii() and api_key.isprintable():
        stripped = api_key.strip()
        if stripped and " " not in stripped:
            return Secret(stripped)
    raise ConfigurationError(
        "api_key must be one word of printable ASCII, such as nomos_<app>_<secret>",
        setting="api_key",
    )
