"""Every Python block of the README and the docs runs as it stands, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from github import TOKEN, github
from prepared import PYTHON

from nomos import AuthGuard
from nomos.policy import bundle
from nomos.policy.bundle import Source
from nomos.server.providers.catalog import load_catalog

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

SAYS = {
    "README.md: Five lines": ("allow",),
    "README.md: Approvals": ("approved by embedded operator\nallow",),
    "README.md: Child processes": ("Read the issues first.\nchain_attenuation_violation",),
    "README.md: In LangGraph": ("['It crashes']",),
    "README.md: When there is no answer": ("no answer, so nothing was done",),
    "tour.md: A call through the PDP": ("private-reports-stay-closed",),
    "tour.md: A control plane of its own": ("06f69ed2",),
    "tour.md: Revoking": ("401 revoked\nallow",),
    "tour.md: asyncio and trio": ("app allow may call",),
}
"""What the blocks of these pages print, in order, by page and the start of their heading."""

PROMISED = ("README.md: ", "tour.md: ")


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        heading, number = "", 0
        for part in re.split(
            r"(^#+ [^\n]*$|^```\w+\n.*?^```$)", page.read_text(), flags=re.MULTILINE | re.DOTALL
        ):
            if part.startswith("#"):
                heading, number = part.lstrip("# "), 0
            elif part.startswith(f"```{language}\n"):
                source = part.split("\n", 1)[1].removesuffix("```")
                found.append((f"{page.name}: {heading} #{number}", source))
                number += 1
    return found


@pytest.fixture(scope="module")
def environ() -> Iterator[dict[str, str]]:
    """What `nomos dev` would have printed."""
    with github() as upstream, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOMOS_GITHUB_URL", upstream.url)
        patch.setenv("NOMOS_GITHUB_TOKEN", TOKEN)
        with AuthGuard.embedded(policies="permit (principal, action, resource);") as system:
            yield {
                "NOMOS_CONTROL_URL": system.control_plane_url,
                "NOMOS_PDP_URL": str(system.pdp_url),
                "NOMOS_API_KEY": str(system.api_key),
            }


def expected(where: str) -> str:
    """What a block must print: by page, heading and order; on other pages nothing in particular."""
    for heading, said in SAYS.items():
        if where.startswith(heading):
            return said[int(where.rpartition("#")[2])]
    return ""


@pytest.mark.parametrize(("where", "source"), blocks("python"), ids=lambda one: one[:40])
def test_a_python_block_runs(where: str, source: str, environ: dict[str, str]) -> None:
    done = subprocess.run(
        [PYTHON, "-c", source],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environ},
    )
    assert done.returncode == 0, done.stderr
    assert expected(where) in done.stdout


def test_the_pages_have_the_blocks_that_are_expected() -> None:
    found = {where for where, _ in blocks("python") if where.startswith(PROMISED)}
    wanted = sum(len(said) for said in SAYS.values())
    assert len(found) == wanted
    assert all(expected(where) for where in found)


@pytest.mark.parametrize(("where", "source"), blocks("cedar"), ids=lambda one: one[:40])
def test_a_cedar_block_is_valid(where: str, source: str) -> None:
    assert bundle.load([Source(where, source)], load_catalog()).policies


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_resolve(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250
