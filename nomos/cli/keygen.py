"""`nomos keygen`: a lasting signing key for an agent, in a file of its own."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from nomos._io.signer import Signer, shared
from nomos._wire import ForgetKey, LoadKey, LoadKeyAnswer
from nomos.cli.console import stdout, told
from nomos.errors import ConfigurationError, SignerError


@told
def keygen(
    file: Annotated[Path, typer.Argument(help="The new file; an existing one is never replaced.")],
) -> None:
    """Make a lasting signing key for an agent, in a new file that only you can read.

    An agent with a lasting key is the same agent after a restart: its approvals still fit.
    """
    seed = secrets.token_hex(32)
    signer = Signer(shared())
    answer = signer.ask(LoadKey(seed=seed))
    if not isinstance(answer, LoadKeyAnswer):
        raise SignerError("the signing binary did not take the new key")
    signer.ask(ForgetKey(key=answer.key))
    _write(file, seed)
    stdout.print(Text.assemble(("made ", "bold green"), f"{file}\n"))
    stdout.print(Text.assemble(("  export ", "dim"), f"NOMOS_AGENT_KEY_FILE={file.absolute()}"))
    stdout.print(Text.assemble(("  agent  ", "dim"), answer.key))


def _write(file: Path, seed: str) -> None:
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(file, flags, 0o600)
    except OSError as failure:
        raise ConfigurationError(f"{file}: {failure.strerror}", setting="FILE") from failure
    with os.fdopen(descriptor, "w") as opened:
        opened.write(f"{seed}\n")
