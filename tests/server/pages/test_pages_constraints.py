"""Constraints on the pages: in words, with invisible characters marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from server.pages.conftest import DELETE

from nomos.constraints import eq, not_eq, one_of

if TYPE_CHECKING:
    from server.pages.conftest import Site

pytestmark = pytest.mark.anyio


async def test_constraints_are_shown_in_words(site: Site) -> None:
    pol = [*one_of("state", ["open", "closed"]).pol, *not_eq("page", 2).pol]
    ident, person = await site.ask({**DELETE, "pol": pol}), await site.person()
    page = await person.see(f"/approvals/{ident}")
    assert 'Constraints state is one of "open", "closed"' in page.text
    assert "page is not 2" in page.text
    assert "Any arguments that satisfy the constraints below" in page.text
    assert "with any arguments that satisfy the constraints" in page.text
    assert "Any arguments within constraints" in (await person.see("/approvals")).text
    bound = await site.ask({**DELETE, "args": {}, "pol": pol})
    page = await person.see(f"/approvals/{bound}")
    assert "Any arguments" not in page.text
    assert "page is not 2" in page.text


async def test_hidden_characters_of_a_constraint_are_spelled_out(site: Site) -> None:
    hostile = "<script>alert(1)</script>\u202e\u200b"
    ident, person = await site.ask({**DELETE, "pol": eq("a", hostile).pol}), await site.person()
    page = await person.see(f"/approvals/{ident}")
    assert 'a is "<script>alert(1)</script>\\u202e\\u200b"' in page.text
    assert "\u202e" not in page.text
    other = await site.ask({**DELETE, "pol": eq("host", "p\u0430y").pol})
    page = await person.see(f"/approvals/{other}")
    assert 'In ASCII host is "p\\u0430y"' in page.text
    assert not any(tag == "script" for tag, _ in page.tags)
