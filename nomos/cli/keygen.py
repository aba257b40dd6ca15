"""`nomos keygen`: a persistent signing key for an agent or a service, in a new file."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from nomos._io.keyfile import sealed
from nomos._io.signer import Signer, shared
from nomos._protocol import ForgetKey, LoadKey, LoadKeyAnswer
from nomos.cli.console import stderr
from nomos.cli.errors import reports_errors
from nomos.errors import ConfigurationError, SignerError


@reports_errors
def keygen(
    file: Annotated[
        Path, typer.Argument(help="File to create; an existing file is never replaced.")
    ],
) -> None:
    """Create a signing key in a new file (mode 0600), and print its DID.

    An agent that keeps its key has the same DID after a restart, so its approvals stay usable. A
    service is identified by its DID, and can sign receipts with the key. The file is encrypted if
    NOMOS_KEY_ENCRYPTION_KEY_FILE names a file with a key of 64 hex digits.
    """
    seed = secrets.token_hex(32)
    signer = Signer(shared())
    answer = signer.ask(LoadKey(seed=seed))
    if not isinstance(answer, LoadKeyAnswer):
        raise SignerError("the signing binary rejected the new key")
    signer.ask(ForgetKey(key=answer.key))
    _write(file, sealed(seed))
    stderr.print(Text.assemble(("created ", "bold green"), f"{file}; its DID:"))
    print(answer.key)
    for use, how in _uses(file.absolute()):
        stderr.print(Text.assemble((f"  {use:<22}", "dim"), how))


def _uses(file: Path) -> Iterator[tuple[str, str]]:
    """Yield each possible owner of a key, and how the owner uses it."""
    yield "an agent", f"export NOMOS_AGENT_KEY_FILE={shlex.quote(str(file))}"
    yield "a service", "nomos services add NAME DID URL"
    yield "a service's receipts", f"Verifier(..., receipt_key={str(file)!r})"


def _write(file: Path, seed: str) -> None:
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(file, flags, 0o600)
    except OSError as failure:
        what = ""
        if isinstance(failure, FileExistsError):
            what = ", and existing files are not replaced; name another file"
        elif isinstance(failure, FileNotFoundError):
            what = f"; create the folder {file.parent} first"
        raise ConfigurationError(f"{file}: {failure.strerror}{what}", setting="FILE") from failure
    with os.fdopen(descriptor, "w") as opened:
        opened.write(f"{seed}\n")
