"""What a guard is told: its settings, where they come from, and which are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from nomos._core.parent_env import KEY_FD, KEY_HANDOVER, SWARM_VARIABLES
from nomos.errors import ConfigurationError
from nomos.models import Secret

FailureMode = Literal["closed", "open"]

VARIABLES: Final = {
    "control_plane_url": "NOMOS_CONTROL_URL",
    "api_key": "NOMOS_API_KEY",
    "pdp_url": "NOMOS_PDP_URL",
    "agent_key_file": "NOMOS_AGENT_KEY_FILE",
}

MAX_TIMEOUT: Final = 300.0


class FromEnvironment:
    """The type of `FROM_ENV`: take what a parent handed over from variables."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.environ = environ

    def __repr__(self) -> str:
        return "FROM_ENV"


FROM_ENV: Final = FromEnvironment()
"""Variables of this process, as they are when a guard is made."""


def read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return a guard's arguments from `NOMOS_…` variables; an empty one counts as not set.

    Not so those of a swarm: set to nothing, they raise when the guard reads them.
    """
    found = {name: environ.get(variable) for name, variable in VARIABLES.items()}
    if not found["control_plane_url"]:
        raise ConfigurationError(
            "NOMOS_CONTROL_URL is not set: it is the URL of the control plane, such as "
            "http://127.0.0.1:8788 (`nomos dev` starts one and prints it)",
            setting="NOMOS_CONTROL_URL",
        )
    if any(variable in environ for variable in (KEY_FD, KEY_HANDOVER)):
        del found["agent_key_file"]  # the key that was handed over is the one the chain is for
    parent = FromEnvironment(environ)
    return {name: value for name, value in found.items() if value} | {"parent": parent}


def refuse_swarm(environ: Mapping[str, str]) -> None:
    """Raise if a parent handed its authority on: a system of its own knows nothing of it.

    A child that started one would be a root there, with more than it was given.
    """
    found = [name for name in SWARM_VARIABLES if name in environ]
    if found:
        raise ConfigurationError(
            f"{' and '.join(found)} {'is' if len(found) == 1 else 'are'} set: this process was "
            "given a parent's authority, which an embedded control plane of its own does not "
            "know. Ask the parent's control plane (AuthGuard.from_env()), or unset them to act as "
            "a root on purpose.",
            setting=found[0],
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
        "api_key must be one word of printable ASCII, such as nomos_<app>_<secret>"
        f"{stray(api_key)}",
        setting="api_key",
    )


def stray(api_key: object) -> str:
    """Say what is there beside the key, of what is easily copied with it; none of its text."""
    if not isinstance(api_key, str):
        return f", not {type(api_key).__name__}"
    words = api_key.split()
    if not words:
        return "; it is empty"
    if words[0].lower() == "bearer":
        return ": leave off `Bearer `"
    if len(words) == 1 and api_key != words[0] and words[0].isascii():
        return ". There is a line break before or after it: .strip() what is read from a file"
    if len(words) > 1 and len(api_key.splitlines()) > 1:
        return ". There is more than one line: the key stands alone"
    return ""
