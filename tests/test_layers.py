"""Which layer may import which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import nomos

ROOT = Path(nomos.__file__).parent

VALUE_FILES = (
    *("models", "approvals", "receipts", "errors", "resources", "capabilities", "invisible_text"),
    *("constraints", "_pol", "http_status", "reserved", "_limits", "_identifiers", "_json"),
    "_times",
)
VALUES = {f"nomos.{name}" for name in ("_sealed", *VALUE_FILES)}
AUDIT = VALUES | {"nomos._protocol", "nomos.audit"}
CORE = AUDIT | {"nomos._core"}
EDGES = CORE | {"nomos._io", "nomos._tracebacks"}
GUARD_FILES = (
    *("guard", "_guard", "_grant", "_approvals", "_receipt", "_settings"),
    *("_guard_core", "_child", "_identity", "swarm"),
)
GUARD = EDGES | {"nomos._unawaited"} | {f"nomos.{name}" for name in GUARD_FILES}
SERVER = CORE | {"nomos.policy", "nomos._io", "nomos.server", "nomos.webhooks"}

DOMAIN = CORE | {"nomos.policy", "nomos.server.domain"}
STORAGE = DOMAIN | {"nomos._io", "nomos.webhooks", "nomos.server.storage"}
CONNECTIONS = EDGES | {"nomos.server.connections"}
SIGNING = STORAGE | {"nomos.server.signing"}
BACKGROUND = STORAGE | {"nomos.server.background", "nomos.server.settings"}
POLICIES = BACKGROUND | {"nomos.server.policies"}
DATA_FOLDER = SIGNING | {"nomos.server.data_folder", "nomos.server.settings"}
HTTP = CORE | {"nomos.server.http"}
PROVIDERS = VALUES | {"nomos.policy", "nomos.server.providers"}
PDP = POLICIES | HTTP | {"nomos.server.pdp"}
CONTROL = POLICIES | SIGNING | HTTP | {"nomos.server.control"}
PAGES = CONTROL | {"nomos.server.pages"}

MAY_IMPORT = {
    **dict.fromkeys(VALUE_FILES, VALUES),
    "webhooks": VALUES | {"nomos._tracebacks", "nomos.webhooks"},
    "_protocol": VALUES,
    "_core": CORE,
    "audit": AUDIT,
    "policy": VALUES | {"nomos.policy"},
    "_io": EDGES,
    **dict.fromkeys(GUARD_FILES, GUARD),
    "server": SERVER,
    "server/domain": DOMAIN,
    "server/storage": STORAGE,
    "server/connections": CONNECTIONS,
    "server/signing": SIGNING,
    "server/background": BACKGROUND,
    "server/policies": POLICIES,
    "server/data_folder": DATA_FOLDER,
    "server/http": HTTP,
    "server/providers": PROVIDERS,
    "server/pdp": PDP,
    "server/control": CONTROL,
    "server/pages": PAGES,
    "server/settings": {"nomos.models", "nomos.policy", "nomos.server.connections"},
    **dict.fromkeys(
        ("_verifier", "verify"), EDGES | {"nomos._settings", "nomos._unawaited", "nomos._verifier"}
    ),
    "integrations": VALUES
    | {"nomos._unawaited", "nomos.verify", "nomos.guard", "nomos.integrations"}
    | {"nomos._core.http_rules"},
    "_sealed": {"nomos._sealed", "nomos.errors"},
    "_tracebacks": {"nomos._tracebacks", "nomos.errors"},
    "_unawaited": {"nomos._unawaited"},
}
"""For each folder or file of `nomos`, what of ours it may import. What is not named here
(`embedded`, `cli`, the package itself) may import anything."""

ONLY_INSIDE = {("_guard", "nomos.embedded"): "embedded"}
"""Imports allowed inside the one function of that name: `AuthGuard.embedded` is the way in."""

PURE = (*VALUE_FILES, "_sealed", "_protocol", "_core", "audit", "policy", "server/domain")
IMPURE = {
    *("asyncio", "http", "os", "random", "secrets", "select", "signal", "socket", "subprocess"),
    *("sys", "tempfile", "threading", "time", "urllib.request", "anyio", "httpx", "trio"),
    *("pathlib", "shutil", "uuid", "logging"),
}
"""Modules that reach outside: sockets, processes, clocks, randomness, files, the environment."""

EXTRAS = {
    "fastapi",
    "starlette",
    "uvicorn",
    "cedarpy",
    "sqlalchemy",
    "alembic",
    "yaml",
    "typer",
    "jinja2",
}


def files(layer: str) -> list[Path]:
    place = ROOT / layer
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def imported_by(source: str, package: str) -> Iterator[tuple[str, str | None]]:
    """Yield each absolute name that is imported, also for types alone, with its function."""
    yield from _imports(ast.parse(source), package, None)


def imported_at_run_time(source: str, package: str) -> Iterator[str]:
    """Yield each absolute name that is imported when the code runs."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    yield from (name for name, _ in _imports(tree, package, None))


def _imports(node: ast.AST, package: str, inside: str | None) -> Iterator[tuple[str, str | None]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((name.name, inside) for name in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(child, package)
            yield from ((f"{base}.{name.name}", inside) for name in child.names)
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports(child, package, child.name)
        else:
            yield from _imports(child, package, inside)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if node.level == 0:
        return node.module or ""
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def within(name: str, allowed: set[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


def trespasses(layer: str, source: str, package: str = "nomos") -> list[str]:
    """Return what `layer` imports of ours although it may not."""
    return [
        name
        for name, inside in imported_by(source, package)
        if within(name, {"nomos"})
        and not within(name, MAY_IMPORT[layer])
        and not any(
            layer == where and within(name, {what}) and inside == function
            for (where, what), function in ONLY_INSIDE.items()
        )
    ]


EVERY_FILE = [
    pytest.param(layer, path, id=str(path.relative_to(ROOT)))
    for layer in MAY_IMPORT
    for path in files(layer)
]


def package_of(path: Path) -> str:
    return ".".join(["nomos", *path.relative_to(ROOT).parent.parts])


@pytest.mark.parametrize(("layer", "path"), EVERY_FILE)
def test_a_layer_imports_only_what_it_may(layer: str, path: Path) -> None:
    assert trespasses(layer, path.read_text(), package_of(path)) == []


@pytest.mark.parametrize(
    ("layer", "path"), [param for param in EVERY_FILE if param.values[0] in PURE]
)
def test_pure_code_reaches_nothing_outside(layer: str, path: Path) -> None:
    names = {name for name, _ in imported_by(path.read_text(), package_of(path))}
    assert {name for name in names if within(name, IMPURE)} == set()


def test_httpx_is_imported_by_the_files_that_send_and_no_others() -> None:
    sdk = [path for layer in MAY_IMPORT if not layer.startswith("server") for path in files(layer)]
    importing = {
        path.name
        for path in sdk
        for name in imported_at_run_time(path.read_text(), package_of(path))
        if within(name, {"httpx", "httpcore"})
    }
    assert importing == {"transports.py", "network.py", "tls.py", "failures.py"}


def test_the_core_needs_no_extra() -> None:
    sdk = [
        path
        for layer in MAY_IMPORT
        if not layer.startswith("server") and layer not in ("policy", "integrations")
        for path in files(layer)
    ]
    for path in sdk:
        names = {name for name, _ in imported_by(path.read_text(), package_of(path))}
        assert {name for name in names if within(name, EXTRAS)} == set(), path


@pytest.mark.parametrize(
    ("layer", "source", "package"),
    [
        ("_core", "import nomos._io.http", "nomos._core"),
        ("_core", "from nomos._io import http", "nomos._core"),
        ("_core", "from .. import guard", "nomos._core"),
        ("_core", "from ..server import app", "nomos._core"),
        ("_core", "def f():\n    from nomos.server import app", "nomos._core"),
        ("models", "from nomos import _protocol", "nomos"),
        ("policy", "from nomos.server.settings import Settings", "nomos.policy"),
        ("_io", "from nomos.guard import AuthGuard", "nomos._io"),
        ("server", "from nomos.guard import AuthGuard", "nomos.server"),
        ("guard", "import nomos.embedded", "nomos"),
        ("_guard", "import nomos.embedded", "nomos"),
        ("_guard", "def start():\n    import nomos.embedded", "nomos"),
        ("server", "from nomos import AuthGuard", "nomos.server"),
        ("integrations", "from nomos._core import reads", "nomos.integrations"),
        ("integrations", "from nomos.server.pdp import statuses", "nomos.integrations"),
        ("server/storage", "from nomos.server.control import errors", "nomos.server.storage"),
        ("server/domain", "from nomos.server.storage import apps", "nomos.server.domain"),
        ("server/pdp", "from nomos.server.control import errors", "nomos.server.pdp"),
        ("server/providers", "from nomos.server.pdp import credentials", "nomos.server.providers"),
        ("server/http", "from nomos.server.control import errors", "nomos.server.http"),
        ("_core", "if TYPE_CHECKING:\n    from nomos._io import http", "nomos._core"),
    ],
)
def test_a_planted_upward_import_is_found(layer: str, source: str, package: str) -> None:
    assert trespasses(layer, source, package) != []


def test_the_one_way_to_the_embedded_server_is_allowed() -> None:
    source = "class A:\n    def embedded(cls):\n        from nomos.embedded import start"
    assert trespasses("_guard", source) == []
