"""Reading of Cedar policies, facts and policy tests from files and folders.

Besides `*.cedar` files, a folder may contain `facts.yaml`: the facts that agents assert and
policies may read as `context.agent.<name>`, each with its Cedar type; and `tests.yaml`, for
`nomos policy test`.
"""

from __future__ import annotations

import shutil
from collections.abc import Hashable
from pathlib import Path
from typing import Any, BinaryIO, Final

import yaml

import nomos.policy
from nomos.errors import ConfigurationError
from nomos.policy import policy_tests
from nomos.policy.bundle import Source
from nomos.policy.policy_tests import Suite

SUFFIX: Final = ".cedar"
FACTS: Final = "facts.yaml"
TESTS: Final = "tests.yaml"
TEXT: Final = "<policies>"  # the name of policies given as text, in messages
STREAM: Final = "<stdin>"

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
    text = policies.strip()
    if text and not text.startswith("//") and not any(mark in text for mark in "\n;("):
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
    declared = _yaml(file, "facts")
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


def read_tests(path: Path) -> Suite:
    """Return the cases of a test file, or of the `tests.yaml` in a folder."""
    file = path / TESTS if path.is_dir() else path
    return policy_tests.read(_yaml(file, "tests"), str(file))


def starters() -> dict[str, tuple[Path, str]]:
    """Return the starter bundles: name → folder, and its purpose in one line."""
    folders = sorted(each for each in _STARTERS.iterdir() if each.is_dir())
    return {each.name: (each, _first_line(each)) for each in folders}


def copy_starter(name: str, out: Path) -> Path:
    """Copy a starter into the new folder `out`. Raises ConfigurationError if that exists."""
    known = starters()
    if name not in known:
        raise ConfigurationError(
            f"there is no starter {name!r}; there are {', '.join(known)}", setting="name"
        )
    try:
        shutil.copytree(known[name][0], out, ignore=shutil.ignore_patterns("__pycache__"))
    except FileExistsError:
        raise ConfigurationError(
            f"{out} exists, and is not overwritten; name another folder with --out", setting="out"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{out}: {error.strerror}", setting="out") from error
    return out


_STARTERS: Final = Path(nomos.policy.__file__).with_name("starters")


def _first_line(folder: Path) -> str:
    return _text(folder / f"{folder.name}{SUFFIX}").split("\n", 1)[0].removeprefix("// ")


class _Loader(yaml.SafeLoader):
    """A YAML loader that rejects duplicate keys; otherwise the last would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 (as the library calls it)
        names: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in names:
                problem = f"the key {key.value!r} is duplicated"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            names.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


def _yaml(file: Path, setting: str) -> Any:
    text = _text(file, setting)
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigurationError(f"{file} is not YAML: {error}", setting=setting) from error


def read_stream(stream: BinaryIO) -> tuple[Source, ...]:
    """Return the Cedar text of a stream, such as the standard input."""
    return (Source(STREAM, _decoded(stream.read(MAX_BYTES + 1), STREAM)),)


def _files(path: Path) -> list[Path]:
    if path.exists() and not path.is_dir():  # a pipe of the shell is not a regular file
        return [path]
    found = sorted(file for file in path.rglob(f"*{SUFFIX}") if file.is_file())
    if not found:
        what = f"the policy folder {path} contains no *.cedar file"
        if not path.is_dir():
            what = f"the policy file or folder {path} does not exist"
        raise ConfigurationError(what, setting="policies")
    return found


def _read(file: Path, root: Path) -> Source:
    return Source(file.name if file == root else str(file.relative_to(root)), _text(file))


def _text(file: Path, setting: str = "policies") -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}", setting=setting) from error
    return _decoded(content, str(file), setting)


def _decoded(content: bytes, name: str, setting: str = "policies") -> str:
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"{name} is larger than {MAX_BYTES} bytes", setting=setting)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name} is not UTF-8 text: {error}", setting=setting) from error
