"""Commands that run the server need its extra; this says so in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nomos.errors import ConfigurationError


@contextmanager
def server_extra(command: str) -> Iterator[None]:
    """Turn a missing dependency of `nomos.server` into the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] == "nomos":
            raise
        raise ConfigurationError(
            f"`nomos {command}` needs {missing.name}: pip install 'nomos[cli,server]'",
            setting="installation",
        ) from missing
