"""Write what the code says of itself into `ARCHITECTURE.md`: its modules, and who imports whom.

    python tools/generate_architecture.py            write both parts of the page
    python tools/generate_architecture.py --check    exit 1, with the difference, if it is older

A module is described by the first line of its docstring. An arrow between packages is an import,
whether it is for types alone or not.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = ROOT / "nomos"
PAGE: Final = ROOT / "ARCHITECTURE.md"
LEFT_OUT: Final = ("migrations",)


def modules() -> dict[str, list[Path]]:
    """Return the modules of each package, by its path from the root."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        if not set(LEFT_OUT) & set(path.parts):
            found[str(path.parent.relative_to(ROOT))].append(path)
    return dict(found)


def described(path: Path) -> str:
    """Return the first line of a module's docstring. Raises ValueError if there is none."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    if text is None:
        raise ValueError(f"{path} has no docstring")
    return text.splitlines()[0].replace("|", "\\|")


def module_tables() -> str:
    """Return a table a package: each module and what it is."""
    parts = []
    for package, paths in modules().items():
        own = next((described(path) for path in paths if path.name == "__init__.py"), "")
        rows = [f"| `{path.stem}` | {described(path)} |" for path in paths if path.stem[:2] != "__"]
        parts.append(
            "\n".join([f"### `{package}`", "", own, "", "| module | |", "|---|---|", *rows])
        )
    return "\n\n".join(parts)


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of ours that a file imports, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("nomos"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nomos"):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def part_of(name: str) -> str:
    """Return the package or the module at the top that a dotted name belongs to.

    The packages of `server` are parts of their own, and so are its settings, which they read.
    """
    steps = [step for step in name.split(".")[1:] if step != "__init__"]
    inner = steps[:1] == ["server"] and (steps[1:2] == ["settings"] or _is_package(steps[:2]))
    part = "/".join(steps[: 2 if inner else 1])
    return part if _is_package([part]) or (PACKAGE / f"{part}.py").is_file() else "nomos"


def _is_package(steps: list[str]) -> bool:
    return any(steps) and (PACKAGE / "/".join(steps)).is_dir()


def arrows() -> dict[str, set[str]]:
    """Return which other parts each part imports, for types alone or not."""
    found: dict[str, set[str]] = defaultdict(set)
    for paths in modules().values():
        for path in paths:
            relative = path.relative_to(ROOT).with_suffix("")
            here = part_of(".".join(relative.parts))
            found[here] |= {part_of(name) for name in imports(path)} - {here}
    return dict(found)


def graph() -> str:
    """Return who imports whom, a line for each package and each module at the top."""
    lines = [
        f"{name} -> {', '.join(sorted(found))}" for name, found in sorted(arrows().items()) if found
    ]
    return "\n".join(["```text", *lines, "```"])


def page(text: str) -> str:
    """Return the page with both parts written anew, between their markers."""
    for name, content in (("modules", module_tables()), ("imports", graph())):
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin, 1)
        text = f"{before}{begin}\n\n{content}\n\n{end}{rest.split(end, 1)[1]}"
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    old = PAGE.read_text("utf-8")
    new = page(old)
    if not parser.parse_args().check:
        PAGE.write_text(new, "utf-8")
        return 0
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    sys.stdout.writelines(difflib.unified_diff(before, after, "ARCHITECTURE.md", "the code"))
    return int(old != new)


if __name__ == "__main__":
    sys.exit(main())
