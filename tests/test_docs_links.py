"""Links between the pages lead to pages and headings that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).parent.parent
PAGES: Final = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]
LINK: Final = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([\w-]+))?\)")


def slug(heading: str) -> str:
    """Return the anchor that a heading gets on a rendered page."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def text_of(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    found = []
    for path, anchor in LINK.findall(text_of(page)):
        target = page.parent / path if path else page
        headings = re.findall(r"^#+ (.*)$", text_of(target), re.MULTILINE) if anchor else []
        if not target.exists() or (anchor and anchor not in map(slug, headings)):
            found.append(f"{path}#{anchor}")
    return found


def test_a_link_to_a_missing_heading_is_detected(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# The `first` one\n[a](#the-first-one) [b](#gone) [c](b.md)\n")
    assert broken(page) == ["#gone", "b.md#"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_resolves(page: Path) -> None:
    assert broken(page) == []
