"""Reading Cedar policies from where an operator keeps them.

A folder may hold `facts.yaml` beside its `*.cedar` files: the facts that agents assert and
policies may read as `context.agent.<name>`, each with its Cedar type.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from nomos.errors import ConfigurationError
from nomos.policy.bundle import Source

SUFFIX: Final = ".cedar"
FACTS: Final = "facts.yaml"
TEXT: Final = "<policies>"
"""How policies that came as text are named in messages."""

MAX_BYTES: Final = 4 * 1024 * 1024


def read_policies(policies: str | Path) -> tuple[Source, ...]:
    """Return Cedar sources: a `str` is Cedar text, a `Path` a file or a folder of `*.cedar`.

    Raises `ConfigurationError` for a path without policies, and for a string that is a path.
    """
    if isinstance(policies, Path):
        return tuple(_read(file, policies) for file in _files(policies))
    if not isinstance(policies, str):
        raise ConfigurationError(
            f"policies must be Cedar text or a Path, not {type(policies).__name__}",
            setting="policies",
        )
    if policies.strip() and not any(mark in policies for mark in "\n;("):
        raise ConfigurationError(
            f"{policies!r} is not Cedar text. For a file or folder pass a Path: "
            f"policies=Path({policies!r})",
            setting="policies",
        )
    return (Source(TEXT, policies),)


def read_facts(policies: str | Path) -> dict[str, str]:
    """Return the facts declared beside policies: name → Cedar type. Text declares none."""
    file = policies / FACTS if isinstance(policies, Path) else None
    if file is None or not file.is_file():
        return {}
    try:
        declared = yaml.safe_load(_text(file))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file} is not YAML: {error}", setting="facts") from error
    if declared is None:
        return {}
    if not isinstance(declared, dict) or not all(
        isinstance(part, str) for pair in declared.items() for part in pair
    ):
        raise ConfigurationError(
            f"{file} must map names of facts to Cedar types, such as `ticket: String`",
            setting="facts",
        )
    return declared


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob(f"*{SUFFIX}") if file.is_file())
    if not found:
        what = "holds no *.cedar file" if path.is_dir() else "does not exist"
        raise ConfigurationError(f"the policy folder {path} {what}", setting="policies")
    return found


def _read(file: Path, root: Path) -> Source:
    return Source(file.name if file == root else str(file.relative_to(root)), _text(file))


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}", setting="policies") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{file} is not UTF-8 text: {error}", setting="policies"
        ) from error
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"{file} is larger than {MAX_BYTES} bytes", setting="policies")
    return text
