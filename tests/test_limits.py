"""Limits that two programs share are equal, and dependent limits fit together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from nomos import _limits
from nomos._core.call import MAX_CALL
from nomos._core.parent_env import MAX_VALUE
from nomos._core.trust_anchor import RETIRING_SECONDS
from nomos._protocol import MAX_LINE, Verify
from nomos.integrations._bodies import MAX_BODY
from nomos.models import MAX_CHAIN_DEPTH, MAX_TTL_SECONDS
from nomos.policy.bundle import MAX_TEXT
from nomos.server.pdp.context import PdpLimits

SOURCES: Final = Path(__file__).parents[1] / "ucan-bin" / "src"


def constant(file: str, name: str) -> int:
    """Return a constant of the signing binary: a product of whole numbers."""
    text = (SOURCES / file).read_text("utf-8")
    found = re.search(rf"^(?:export )?const {name} = ([0-9* ]+);$", text, re.MULTILINE)
    assert found is not None, f"{file} has no {name}"
    value = 1
    for factor in found[1].split("*"):
        value *= int(factor)
    return value


@pytest.mark.parametrize(
    ("file", "name", "ours"),
    [
        ("token/jwt.ts", "MAX_TOKEN", _limits.MAX_TOKEN),
        ("token/canonical.ts", "MAX_NESTING", _limits.MAX_NESTING),
        ("operations.ts", "MAX_INSPECTED", _limits.MAX_LINKS),
    ],
)
def test_the_signing_binary_has_the_same_bound(file: str, name: str, ours: int) -> None:
    assert constant(file, name) == ours


def test_the_binary_can_be_given_the_deepest_chain_and_no_deeper() -> None:
    depth = Verify.model_json_schema()["properties"]["max_depth"]
    assert (depth["default"], depth["maximum"]) == (MAX_CHAIN_DEPTH, _limits.MAX_LINKS)


def test_limits_of_senders_are_within_those_of_receivers() -> None:
    """A token fits a head, a variable and a line to the binary, with room for the rest."""
    assert PdpLimits().token == _limits.MAX_TOKEN
    assert min(_limits.MAX_HEAD, MAX_VALUE) >= _limits.MAX_TOKEN + 16 * _limits.KIB
    assert 2 * MAX_CALL == MAX_LINE
    assert MAX_BODY == MAX_CALL == _limits.MAX_BODY_WITH_CHAIN
    assert _limits.MAX_BODY < _limits.MAX_BODY_WITH_CHAIN
    assert _limits.MAX_POLICIES == MAX_TEXT
    assert _limits.MAX_REQUEST_NESTING < _limits.MAX_NESTING


def test_a_key_is_accepted_until_its_last_token_expires() -> None:
    assert RETIRING_SECONDS == MAX_TTL_SECONDS + 60
