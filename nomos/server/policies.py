"""Reading Cedar policies from where an operator keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nomos.errors import ConfigurationError
from nomos.policy.bundle import Source

SUFFIX: Final = ".cedar"
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
    if "\n" not in policies and ";" not in policies and policies.strip():
        raise ConfigurationError(
            f"{policies!r} is not Cedar text. For a file or folder pass a Path: "
            f"policies=Path({policies!r})",
            setting="policies",
        )
    return (Source(TEXT, policies),)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob(f"*{SUFFIX}") if file.is_file())
    if not found:
        what = "holds no *.cedar file" if path.is_dir() else "does not exist"
        raise ConfigurationError(f"the policy folder {path} {what}", setting="policies")
    return found


def _read(file: Path, root: Path) -> Source:
    name = file.name if file == root else str(file.relative_to(root))
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
    return Source(name, text)
