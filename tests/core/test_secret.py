"""Secrets are not shown where a string would be."""

from __future__ import annotations

import copy
import pickle

import pytest

from nomos.errors import ConfigurationError, InvalidRequest, MalformedChain
from nomos.models import NO_CHAIN, Secret, only_chain
from nomos.resources import FILESYSTEM, canonical_resource

TEXT = "a secret text"


def test_a_secret_is_not_printed_pickled_or_copied() -> None:
    secret = Secret(TEXT)
    assert {repr(secret), str(secret), f"{secret}", f"{secret:>40}"} == {"Secret(…)"}
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            way(secret)


def test_a_copy_survives_the_wiping_of_the_original() -> None:
    secret = Secret(TEXT)
    other = secret.copy()
    secret.wipe()
    secret.wipe()
    assert other.reveal() == TEXT
    with pytest.raises(ConfigurationError, match="was wiped"):
        secret.reveal()


def test_only_chain_refuses_several_chains() -> None:
    assert only_chain(()) is NO_CHAIN
    assert only_chain((NO_CHAIN,)) is NO_CHAIN
    with pytest.raises(MalformedChain, match="there are 2 chains"):
        only_chain((NO_CHAIN, NO_CHAIN))


@pytest.mark.parametrize("path", [".nomos-scratch", "a/.nomos-x/b", ".NOMOS-scratch"])
def test_reserved_names_are_refused_in_paths(path: str) -> None:
    with pytest.raises(InvalidRequest, match="reserved name"):
        canonical_resource(FILESYSTEM, {"provider": "filesystem", "path": path})
