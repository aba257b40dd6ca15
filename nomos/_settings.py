"""Settings of a guard: arguments, environment variables, and which values are refused."""

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
"""The environment variable of each argument of a guard."""

MAX_TIMEOUT: Final = 300.0
"""The largest `timeout` of a guard, in seconds."""


class FromEnvironment:
    """The type of `FROM_ENV`: the parent's chain is read from environment variables."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.environ = environ

    def __repr__(self) -> str:
        return "FROM_ENV"


FROM_ENV: Final = FromEnvironment()
"""The variables of this process at the time when a guard is made."""


def read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return a guard's arguments from `NOMOS_…` variables; an empty one counts as not set.

    The variables of a swarm are an exception: set to nothing, they raise when the guard reads them.
    """
    found = {name: environ.get(variable) for name, variable in VARIABLES.items()}
    if not found["control_plane_url"]:
        raise ConfigurationError(
            "NOMOS_CONTROL_URL is not set: it is the URL of the control plane, such as "
            "http://127.0.0.1:8788 (`nomos dev` starts one and prints it)",
            setting="NOMOS_CONTROL_URL",
        )
    if any(variable in environ for variable in (KEY_FD, KEY_HANDOVER)):
        del found["agent_key_file"]  # the inherited key is the audience of the chain
    parent = FromEnvironment(environ)
    return {name: value for name, value in found.items() if value} | {"parent": parent}


def refuse_swarm(environ: Mapping[str, str]) -> None:
    """Raise if this process inherited a parent's authority: an embedded system would ignore it.

    A child that started an embedded system would be a root there, with more authority than it
    inherited.
    """
    found = [name for name in SWARM_VARIABLES if name in environ]
    if found:
        raise ConfigurationError(
            f"{' and '.join(found)} {'is' if len(found) == 1 else 'are'} set: this process "
            "inherited a parent's authority, which an embedded control plane does not know. Use "
            "the parent's control plane (AuthGuard.from_env()), or unset them to act as a root "
            "on purpose.",
            setting=found[0],
        )


def checked_failure_mode(mode: object) -> FailureMode:
    """Return the failure mode. Raises `ConfigurationError` for an unknown one."""
    if mode == "closed":
        return "closed"
    if mode == "open":
        return "open"
    raise ConfigurationError(
        f'failure_mode must be "closed" or "open", not {mode!r}', setting="failure_mode"
    )


def checked_timeout(seconds: float) -> float:
    """Return the timeout in seconds. Raises `ConfigurationError` if it is out of bounds."""
    if isinstance(seconds, int | float) and 0 < seconds <= MAX_TIMEOUT:
        return float(seconds)
    raise ConfigurationError(
        f"timeout must be above 0 and at most {MAX_TIMEOUT:g} seconds, not {seconds!r}",
        setting="timeout",
    )


def checked_api_key(api_key: str | None) -> Secret | None:
    """Return the API key as a `Secret`, None for None. No message contains any part of it."""
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
    """Return a hint about a common copying mistake around an API key, without any of its text."""
    if not isinstance(api_key, str):
        return f", not {type(api_key).__name__}"
    words = api_key.split()
    if not words:
        return "; it is empty"
    if words[0].lower() == "bearer":
        return ": leave off `Bearer `"
    if len(words) == 1 and api_key != words[0] and words[0].isascii():
        return ". There is a line break before or after it: .strip() text that is read from a file"
    if len(words) > 1 and len(api_key.splitlines()) > 1:
        return ". There is more than one line: pass the key alone"
    return ""
