"""The trust anchor in a control plane's document, and the keys trusted from it."""

from __future__ import annotations

from typing import Any

import pytest

from nomos._core.trust_anchor import (
    RETIRING_SECONDS,
    NoTrustAnchor,
    TrustedIssuers,
    TrustedKey,
    find_trust_anchor,
    keys_of,
)
from nomos._limits import MAX_LINKS
from nomos.models import MAX_CHAIN_DEPTH

FIRST, SECOND, THIRD, OTHER = (f"did:key:z6Mk{letter * 44}" for letter in "abcd")
NOW = 1_800_000_000


def entry(did: object, tenant: object = "acme", at: object = NOW * 1000) -> dict[str, Any]:
    return {"row": {"did": did, "tenant": tenant, "at": at}, "hash": "…", "checkpoint": "…"}


def shown(*entries: object, **more: Any) -> dict[str, Any]:
    return {"keys": list(entries), **more}


# Beginning


def test_without_a_pinned_key_the_first_key_of_the_log_is_the_trust_anchor() -> None:
    entries = [entry(FIRST), entry(SECOND)]
    start = find_trust_anchor(shown(*entries), None)
    assert (start.tenant, start.did, start.entries) == ("acme", FIRST, entries)


def test_a_pinned_key_is_the_trust_anchor_with_its_whole_log() -> None:
    entries = [entry(FIRST), entry(SECOND)]
    start = find_trust_anchor(shown(*entries), SECOND)
    assert (start.did, start.entries) == (SECOND, entries)


def test_the_pinned_key_selects_one_of_several_tenants() -> None:
    document = shown(entry(FIRST), entry(OTHER, "evil"), entry(SECOND))
    start = find_trust_anchor(document, OTHER)
    assert (start.tenant, start.did, start.entries) == ("evil", OTHER, [entry(OTHER, "evil")])
    assert find_trust_anchor(document, FIRST).entries == [entry(FIRST), entry(SECOND)]
    with pytest.raises(NoTrustAnchor, match="several tenants"):
        find_trust_anchor(document, None)


def test_a_key_of_two_tenants_selects_neither() -> None:
    with pytest.raises(NoTrustAnchor, match="several tenants"):
        find_trust_anchor(shown(entry(FIRST), entry(FIRST, "evil")), FIRST)


def test_an_issuer_without_the_pinned_key_is_refused() -> None:
    with pytest.raises(NoTrustAnchor, match=f"{OTHER} is not among its issuer keys"):
        find_trust_anchor(shown(entry(FIRST), entry(SECOND)), OTHER)


@pytest.mark.parametrize("pinned", [None, FIRST])
@pytest.mark.parametrize("keys", [None, [], {}, "x", 7])
def test_a_document_without_keys_has_no_trust_anchor(keys: object, pinned: str | None) -> None:
    with pytest.raises(NoTrustAnchor, match="no issuer key"):
        find_trust_anchor({"keys": keys}, pinned)
    with pytest.raises(NoTrustAnchor, match="no issuer key"):
        find_trust_anchor({}, pinned)


@pytest.mark.parametrize(
    "wrong", [None, 7, "x", [], {}, {"row": None}, {"row": []}, entry(7), entry(FIRST, None)]
)
def test_a_malformed_row_makes_the_key_log_unusable(wrong: object) -> None:
    with pytest.raises(NoTrustAnchor, match="not a key log"):
        find_trust_anchor(shown(entry(FIRST), wrong), FIRST)


@pytest.mark.parametrize(
    ("limits", "depth"),
    [
        ({"chainDepth": 3}, 3),
        ({"chainDepth": 1}, 1),
        ({"chainDepth": MAX_LINKS}, MAX_LINKS),
        ({"chainDepth": MAX_LINKS + 1}, MAX_CHAIN_DEPTH),
        ({"chainDepth": 0}, MAX_CHAIN_DEPTH),
        ({"chainDepth": "3"}, MAX_CHAIN_DEPTH),
        ({"chainDepth": 3.0}, MAX_CHAIN_DEPTH),
        ({}, MAX_CHAIN_DEPTH),
        (None, MAX_CHAIN_DEPTH),
        ([3], MAX_CHAIN_DEPTH),
    ],
)
def test_the_control_planes_chain_depth_is_used_within_bounds(limits: object, depth: int) -> None:
    assert find_trust_anchor(shown(entry(FIRST), limits=limits), None).max_depth == depth


# Going on


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


def test_a_replaced_key_is_trusted_until_its_last_token_expires() -> None:
    entries = [entry(FIRST), entry(SECOND, at=(NOW + 5) * 1000)]
    clock = Clock()
    issuers = TrustedIssuers(FIRST, "acme", clock)
    assert issuers.follow(keys_of(entries, (FIRST, SECOND)))
    assert dict(issuers) == {FIRST: "acme", SECOND: "acme"}
    assert issuers.active == SECOND
    clock.now = NOW + 5 + RETIRING_SECONDS - 1
    assert FIRST in issuers
    clock.now += 1
    assert list(issuers) == [SECOND]
    assert len(issuers) == 1
    assert FIRST not in issuers
    assert 7 not in issuers  # type: ignore[comparison-overlap]
    with pytest.raises(KeyError):
        issuers[FIRST]


def test_a_replaced_key_without_a_time_is_not_trusted() -> None:
    entries = [entry(FIRST), entry(SECOND, at="soon")]
    assert keys_of(entries, (FIRST, SECOND)) == (
        TrustedKey(FIRST, 0.0),
        TrustedKey(SECOND),
    )


def test_a_log_that_does_not_extend_the_known_one_is_refused() -> None:
    issuers = TrustedIssuers(FIRST, "acme", Clock())
    assert issuers.follow([TrustedKey(FIRST, NOW + 60.0), TrustedKey(SECOND)])
    assert not issuers.follow([TrustedKey(FIRST)])
    assert not issuers.follow([TrustedKey(FIRST, NOW + 60.0), TrustedKey(THIRD)])
    assert not issuers.follow([])
    assert list(issuers) == [FIRST, SECOND]
    assert issuers.follow(
        [
            TrustedKey(FIRST, NOW + 60.0),
            TrustedKey(SECOND, NOW + 90.0),
            TrustedKey(THIRD),
        ]
    )
    assert issuers.active == THIRD
