"""Building the wheel, installing it, and building on machines that lack something."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import build_wheels
from build_wheels import TARGETS, BuildFailed, Target

ROOT = Path(__file__).parent.parent
SOURCES = ("pyproject.toml", "build_wheels.py", "README.md", "LICENSE", "CHANGELOG.md", "ucan-bin")


def run(*command: object, **environ: str) -> str:
    """Run from the root folder, so that no checkout stands in for what is installed."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd="/",
        env={**os.environ, **environ},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built by uv from a copy of the sources without anything built before."""
    copy = tmp_path_factory.mktemp("build") / "nomos"
    ignored = shutil.ignore_patterns("_bin", "__pycache__", "node_modules", "coverage")
    shutil.copytree(ROOT / "nomos", copy / "nomos", ignore=ignored)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy / name)
    run("uv", "build", "--quiet", "--wheel", "--out-dir", copy / "dist", copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_the_wheel_is_for_this_platform_and_carries_the_binary(wheel: Path) -> None:
    target = build_wheels.host_target()
    assert wheel.name == f"nomos-{build_version(wheel)}-py3-none-{target.tag}.whl"
    with zipfile.ZipFile(wheel) as archive:
        info = archive.getinfo("nomos/_bin/nomos-ucan")
        assert (info.external_attr >> 16) & 0o111 == 0o111
        record = json.loads(archive.read("nomos/_bin/nomos-ucan.json"))
        assert record["sha256"] == hashlib.sha256(archive.read(info)).hexdigest()
        assert record["bun"] == build_wheels.BUN_VERSION
        names = set(archive.namelist())
    for needed in (
        "nomos/py.typed",
        "nomos/cli/starter.cedar",
        "nomos/cli/demo/demo.cedar",
        "nomos/server/pages/style.css",
        "nomos/server/pages/templates/base.html",
        "nomos/policy/starters/read-only/tests.yaml",
        "nomos/server/providers/github.yaml",
        "nomos/server/storage/migrations/versions/0001_first.py",
    ):
        assert needed in names
    assert not [name for name in names if name.startswith(("tests/", "ucan-bin/", "docs/"))]


def test_the_sources_hold_what_a_build_needs_and_no_more(tmp_path: Path) -> None:
    run("uv", "build", "--quiet", "--sdist", "--out-dir", tmp_path, ROOT)
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        parts = [Path(member.name).parts[1:] for member in archive.getmembers()]
    needed = {"nomos", *SOURCES}
    assert {part[0] for part in parts} == needed | {"PKG-INFO", ".gitignore"}
    assert {part[1] for part in parts if part[0] == "ucan-bin" and len(part) > 2} == {"src"}
    assert [part for part in parts if part[:2] == ("nomos", "_bin")] == []


def build_version(wheel: Path) -> str:
    return wheel.name.split("-")[1]


FINDS = "from nomos._io.binary_location import find_binary; print(find_binary({}))"
SIGNS = """
from nomos._io.signer import Signer, shared
from nomos._protocol import Hello
print(Signer(shared()).ask(Hello()).version)
"""


@pytest.mark.parametrize("kind", ["venv", "target", "prefix"])
def test_an_installed_binary_is_found_and_runs(wheel: Path, tmp_path: Path, kind: str) -> None:
    place = tmp_path / kind
    python, environ = Path(sys.executable), {}
    if kind == "venv":
        run("uv", "venv", "--quiet", "--python", sys.executable, place)
        python = place / "bin" / "python"
        run("uv", "pip", "install", "--quiet", "--no-deps", "--python", python, wheel)
        site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        dependencies = Path(pytest.__file__).parent.parent
        environ["PYTHONPATH"] = f"{site}:{dependencies}"
    else:
        run("uv", "pip", "install", "--quiet", "--no-deps", f"--{kind}", place, wheel)
        (package,) = place.rglob("nomos/_bin")
        environ["PYTHONPATH"] = str(package.parent.parent)
    found = run(python, "-c", FINDS, **environ).strip()
    assert found.startswith(str(place.resolve()))
    assert run(python, "-c", SIGNS, **environ).strip() == build_version(wheel)


# What goes wrong


def test_a_platform_without_a_target_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Plan9")
    with pytest.raises(BuildFailed, match=r"cannot be built for Plan9 .*Linux x86_64"):
        build_wheels.host_target()


def test_a_missing_npm_is_reported_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BuildFailed, match=r"needs npm.*install Node.js"):
        build_wheels.npm()


def test_pip_brings_npm_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = build_wheels.UcanBuildHook
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/npm")
    assert hook.dependencies(hook.__new__(hook)) == []
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert hook.dependencies(hook.__new__(hook)) == [build_wheels.NODE_WHEEL]


def fake_npm(path: Path, body: str) -> list[str]:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return [str(path)]


def test_a_download_that_is_not_the_pinned_one_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "build").mkdir()
    command = fake_npm(tmp_path / "npm", "echo evil > bun.tgz; echo bun.tgz")
    monkeypatch.setattr(build_wheels, "npm", lambda: command)
    with pytest.raises(BuildFailed, match=r"not the file it should be.*Nothing was built"):
        build_wheels.fetch_bun(build_wheels.host_target(), tmp_path / "build")


def test_an_unreachable_registry_is_reported_with_npms_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = fake_npm(tmp_path / "npm", "echo 'npm error code ENOTFOUND' >&2; exit 1")
    monkeypatch.setattr(build_wheels, "npm", lambda: command)
    with pytest.raises(BuildFailed, match=r"could not fetch .*ENOTFOUND.*~/.npmrc"):
        build_wheels.fetch_bun(build_wheels.host_target(), tmp_path)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            (
                "npm error code E1\nnpm error syscall connect\nnpm error FetchError: "
                "request to http://u:p@x.invalid/y failed\nnpm error     at x:1\n"
            ),
            "code E1: FetchError: request to http://x.invalid/y failed",
        ),
        (
            "npm ERR! code ETARGET\nnpm ERR! notarget No matching version found for x@9.\n",
            "code ETARGET: notarget No matching version found for x@9.",
        ),
        ("npm error code E404\nnpm error A complete log of this run: /x", "code E404"),
        ("sh: 1: node: not found\n", "sh: 1: node: not found"),
        ("\n", "it said nothing."),
    ],
)
def test_the_reason_is_taken_from_npms_output(said: str, reason: str) -> None:
    assert build_wheels._reason(said) == reason


@pytest.mark.skipif(shutil.which("npm") is None, reason="asks the npm of this machine")
def test_the_error_of_a_real_npm_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("registry", "http://127.0.0.1:9/"), ("fetch_retries", "0")):
        monkeypatch.setenv(f"npm_config_{name}", value)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(BuildFailed, match=r"could not fetch .*code ECONNREFUSED: .*127\.0\.0\.1"):
        build_wheels.fetch_bun(build_wheels.host_target(), tmp_path)


def test_a_temporary_folder_without_exec_is_reported(tmp_path: Path) -> None:
    bun = tmp_path / "bun"
    bun.write_text("")  # as on a noexec mount, no user may run it
    with pytest.raises(BuildFailed, match=r"bun cannot be run: Permission denied\. .*set TMPDIR"):
        build_wheels.compile_binary(bun, tmp_path, "0.0.0")
    with pytest.raises(BuildFailed, match=r"gone cannot be run: No such file.*for this machine"):
        build_wheels.compile_binary(tmp_path / "gone", tmp_path, "0.0.0")


def test_a_full_disk_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class App:
        def display_info(self, _: str) -> None:
            pass

        def abort(self, message: str) -> None:
            raise SystemExit(message)

    class Hook(build_wheels.UcanBuildHook):
        app = App()  # type: ignore[assignment]
        metadata = SimpleNamespace(version="0")  # type: ignore[assignment]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/tmp/x")

    monkeypatch.setattr(build_wheels, "build", full)
    with pytest.raises(SystemExit, match=r"could not be built: .*No space left on device"):
        Hook.__new__(Hook).initialize("standard", {})


def test_a_failed_compilation_has_buns_message(tmp_path: Path) -> None:
    bun = fake_npm(tmp_path / "bun", "echo 'error: Unexpected end of file' >&2; exit 1")
    with pytest.raises(BuildFailed, match="Unexpected end of file"):
        build_wheels.compile_binary(Path(bun[0]), tmp_path, "0.0.0")


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.tag)
def test_every_target_is_pinned_by_a_sha512(target: Target) -> None:
    kind, _, digest = target.integrity.partition("-")
    assert kind == "sha512"
    assert len(base64.b64decode(digest, validate=True)) == 64
    assert target.package.startswith("@oven/bun-")
