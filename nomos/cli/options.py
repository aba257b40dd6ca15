"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]

Policies = Annotated[Path, typer.Option(help="Cedar file, or folder of *.cedar files.")]

ExamplePolicies = Annotated[
    Path | None,
    typer.Option(
        help="Cedar file, or folder of *.cedar files. Default: built-in example policies."
    ),
]

Providers = Annotated[
    Path | None,
    typer.Option(
        help="Folder of provider definitions (YAML). Default: only the built-in providers."
    ),
]

Workspace = Annotated[
    Path | None,
    typer.Option(
        help="Folder that the filesystem provider serves. Default: workspace/ in the data folder."
    ),
]

HostName = Annotated[
    list[str] | None,
    typer.Option(
        help="Host name to accept in requests, besides loopback names and those in "
        "$NOMOS_HOST_NAMES. Repeatable."
    ),
]
