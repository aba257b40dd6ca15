"""The annotation `@expires`, and misspelt annotations."""

from __future__ import annotations

import pytest

from nomos.errors import InvalidPolicy
from nomos.policy import bundle
from nomos.policy.bundle import Source
from nomos.policy.validation import lifetime
from nomos.server.providers.catalog import load_catalog

ASKS = """
@id("ask") @step_up("lead") {}
forbid (principal, action == Action::"/github/pr/create", resource) unless {{ context.cosigned }};
"""


def load(annotation: str) -> bundle.Bundle:
    return bundle.load([Source("a.cedar", ASKS.format(annotation))], load_catalog())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("90s", 90), ("1m", 60), ("10m", 600), ("2h", 7200), ("24h", 86_400)],
)
def test_a_lifetime_is_read_in_seconds(text: str, seconds: int) -> None:
    [policy] = load(f'@expires("{text}")').policies
    assert policy.expires == seconds


def test_without_the_annotation_there_is_no_lifetime() -> None:
    assert load("").policies[0].expires is None


@pytest.mark.parametrize(
    "text", ["", "10", "0m", "59s", "25h", "1d", "-1m", "1.5h", "10 m", "99999h", "10M", "\u0661m"]
)
def test_other_lifetimes_are_refused_with_the_form_to_write(text: str) -> None:
    assert lifetime(text) is None
    with pytest.raises(InvalidPolicy, match=r"a.cedar:2: ask: @expires must be a time"):
        load(f'@expires("{text}")')


def test_expires_needs_a_step_up() -> None:
    source = '@id("x") @expires("10m")\npermit (principal, action, resource);'
    with pytest.raises(InvalidPolicy, match="@expires is for a @step_up"):
        bundle.load([Source("a.cedar", source)], load_catalog())


@pytest.mark.parametrize(
    ("written", "meant"), [("stepup", "step_up"), ("step_ups", "step_up"), ("reasons", "reason")]
)
def test_a_misspelt_annotation_has_a_suggestion(written: str, meant: str) -> None:
    source = f'@id("x") @{written}("lead") permit (principal, action, resource);'
    with pytest.raises(InvalidPolicy, match=rf"did you mean @{meant}\?"):
        bundle.load([Source("a.cedar", source)], load_catalog())


def test_other_annotations_are_accepted() -> None:
    source = '@id("x") @owner("platform") @ticket("OPS-1") permit (principal, action, resource);'
    assert bundle.load([Source("a.cedar", source)], load_catalog()).policies
