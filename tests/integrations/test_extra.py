"""Without the extra there is one clear error, and nothing else needs the framework."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

MISSING = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def run(missing: tuple[str, ...], program: str) -> str:
    source = MISSING.format(missing=missing) + program
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("module", "missing"),
    [
        ("fastapi", ("fastapi",)),
        ("fastapi", ("fastapi", "starlette")),
        ("starlette", ("starlette",)),
    ],
)
def test_without_the_extra_the_error_names_the_command(
    module: str, missing: tuple[str, ...]
) -> None:
    said = run(
        missing,
        f"""
import nomos
try:
    import nomos.integrations.{module}
except nomos.ConfigurationError as error:
    print(error.setting, error)
""",
    )
    assert said.startswith(f"{module} this needs {missing[0]}")
    assert 'pip install "nomos[fastapi]"' in said


def test_starlette_works_without_fastapi() -> None:
    program = "from nomos.integrations.starlette import NomosMiddleware; print('ok')"
    assert run(("fastapi",), program) == "ok\n"


def test_importing_nomos_imports_no_framework() -> None:
    program = "import nomos, nomos.verify, nomos.integrations; print('starlette' in sys.modules)"
    assert run((), program) == "False\n"


def test_the_extra_is_declared() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    names = [each.partition(">")[0] for each in project["optional-dependencies"]["fastapi"]]
    assert names == ["fastapi", "starlette"]


def test_the_servers_need_no_fastapi() -> None:
    assert run(("fastapi",), "import nomos.server.app, nomos.server.run; print('ok')") == "ok\n"
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert not any("fastapi" in each for each in project["optional-dependencies"]["server"])
