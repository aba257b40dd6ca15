"""A secret in every place where a string would show itself."""

from __future__ import annotations

import copy
import pickle

import pytest

from nomos.errors import ConfigurationError, InvalidRequest, MalformedChain
from nomos.models import NO_CHAIN, Secret, only_chain
from nomos.resources import FILESYSTEM, canonical_resource

TEXT = "a secret text"


def test_it_is_shown_nowhere() -> None:
    secret = Secret(TEXT)
    assert {repr(secret), str(secret), f"{secret}", f"{secret:>40}"} == {"Secret(…)"}
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            way(secret)


def test_a_copy_outlives_the_one_that_is_wiped() -> None:
    secret = Secret(TEXT)
    other = secret.copy()
    secret.wipe()
    secret.wipe()
    assert other.reveal() == TEXT
    with pytest.raises(ConfigurationError, match="was wiped"):
        secret.reveal()


def test_one_chain_is_no_several() -> None:
    assert only_chain(()) is NO_CHAIN
    assert only_chain((NO_CHAIN,)) is NO_CHAIN
    with pytest.raises(MalformedChain, match="there are 2 chains"):
        only_chain((NO_CHAIN, NO_CHAIN))


@pytest.mark.parametrize("path", [".nomos-scratch", "a/.nomos-x/b", ".NOMOS-scratch"])
def test_the_pdps_own_names_are_no_paths(path: str) -> None:
    with pytest.raises(InvalidRequest, match="reserved name"):
        canonical_resource(FILESYSTEM, {"provider": "filesystem", "path": path})
