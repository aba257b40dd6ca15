"""The location of the signing binary.

Two places are searched, in this order: the file that `NOMOS_UCAN_BIN` names, and `nomos/_bin/` of
this installation. `PATH` is not searched, because any program of that name would then be trusted
with keys.
"""

from __future__ import annotations

import os
import platform
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nomos.errors import BinaryNotFound

NAME: Final = "nomos-ucan"
VARIABLE: Final = "NOMOS_UCAN_BIN"
BUNDLED: Final = Path(__file__).resolve().parent.parent / "_bin" / NAME


def find_binary(environ: Mapping[str, str] | None = None, *, bundled: Path = BUNDLED) -> Path:
    """Return the path of an executable `nomos-ucan`.

    Raises `BinaryNotFound` with the places that were searched, this platform, and the command that
    most likely fixes it. A variable that names an unusable file is an error, never skipped.
    """
    named = (os.environ if environ is None else environ).get(VARIABLE)
    candidate = Path(named) if named else bundled
    trouble = _trouble(candidate)
    if trouble is None:
        return candidate.absolute()
    raise BinaryNotFound(_explain(candidate, trouble, named=bool(named)))


def _trouble(candidate: Path) -> str | None:
    if not candidate.exists():
        return "the file does not exist"
    if not candidate.is_file():
        return "it is not a file"
    if not os.access(candidate, os.X_OK):
        return "it is not executable"
    return None


def _explain(candidate: Path, trouble: str, *, named: bool) -> str:
    where = f"{VARIABLE}={candidate}" if named else f"{candidate} ({VARIABLE} is not set)"
    here = f"{platform.system()} {platform.machine()}, wheel tag {sysconfig.get_platform()}"
    if trouble == "it is not executable":
        fix = f"chmod +x {candidate}"
    elif named:
        fix = f"unset {VARIABLE}, or point it at a built nomos-ucan"
    else:
        fix = (
            "pip install --force-reinstall nomos (in a checkout: uv sync --reinstall-package nomos)"
        )
    return (
        f"the signing binary {NAME} cannot be used.\n"
        f"  searched: {where}: {trouble}\n"
        f"  this machine: {here}\n"
        f"  to fix it: {fix}"
    )
