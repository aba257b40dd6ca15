"""Where the signing binary runs: an environment and a folder without anything of the caller's."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nomos.errors import BinaryNotFound

ALLOWED_ENVIRONMENT: Final = ("LANG", "LC_ALL")
"""All that the binary inherits. The Bun runtime inside it obeys variables such as BUN_OPTIONS
and BUN_BE_BUN, which would run other people's code beside our keys."""


class Surroundings:
    """An empty folder of its own, so that no bunfig.toml, .env or package.json is in reach.

    It goes as soon as the binary has started and no longer looks around.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="nomos-ucan-"))

    def start(self, path: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start the binary; raises `BinaryNotFound` for a file that cannot be run."""
        try:
            return subprocess.Popen(
                [path, "serve"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                cwd=self.directory,
                env={name: environ[name] for name in ALLOWED_ENVIRONMENT if name in environ},
            )
        except OSError as error:
            self.remove()
            raise BinaryNotFound(
                f"the signing binary {path} could not be started: {error.strerror}. "
                "It may be built for another platform; `nomos doctor` says more."
            ) from error

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.directory.rmdir()


def pipes(child: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Return the descriptors to write to and to read from."""
    assert child.stdin is not None and child.stdout is not None
    return child.stdin.fileno(), child.stdout.fileno()
