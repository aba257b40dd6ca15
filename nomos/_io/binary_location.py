"""Where the signing binary is.

Two places, in this order: the file that `NOMOS_UCAN_BIN` names, and `nomos/_bin/` of this
installation. `PATH` is not searched: a program that signs should not be whatever is called that.
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

    Raises `BinaryNotFound` with every place looked at, this platform, and the command that
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
        return "there is no such file"
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
        f"  looked at: {where}: {trouble}\n"
        f"  this machine: {here}\n"
        f"  to fix it: {fix}"
    )
