"""`fork_child` and `read_parent_chain_from_env`: accepted arguments, and each error."""

from __future__ import annotations

import copy
import json
import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from swarm.family import ACME, READ, RECEIPT, Agent, granted, key_file, new_party

import nomos
from nomos import (
    AttenuationError,
    ChainTooDeep,
    Child,
    ConfigurationError,
    ExpiredChain,
    MalformedChain,
    NomosError,
    ParentChain,
    WrongAudience,
    fork_child,
    read_parent_chain_from_env,
)
from nomos._core.scope import chain_audience
from nomos._io.signer import Signer, shared
from nomos._protocol import ForgetKey, Verified, Verify
from nomos._sealed import make
from nomos.models import NO_CHAIN, GrantBase

CHAIN = "NOMOS_PARENT_UCAN_CHAIN"
CHAIN_FILE = "NOMOS_PARENT_UCAN_CHAIN_FILE"
KEY_FILE = "NOMOS_AGENT_KEY_FILE"


def forked(planner: Agent, **changes: Any) -> Child:
    values: dict[str, Any] = {"parent_chain": planner.chain, "capabilities": [READ]}
    return fork_child(**values | changes)


def test_a_child_has_its_capability_and_its_parents_receipt(planner: Agent) -> None:
    did = new_party().did
    child = forked(planner, audience_did=did)
    assert child.agent == did
    assert child.chain[:1] == planner.chain
    assert len(child.chain) == 2
    assert child.chains == (child.chain,)
    assert [one.command for one in child.capabilities] == ["/github/repo/read"]
    assert (child.parent_receipt_id, child.swarm_id) == (RECEIPT, RECEIPT)
    assert 290 < child.expires_at.timestamp() - time.time() <= 300
    answer = Signer(shared()).ask(
        Verify(chain=list(child.chain), now=int(time.time()), audience=did)
    )
    assert isinstance(answer, Verified)
    assert answer.constraint == ACME | {"repo": "app"}


@pytest.mark.parametrize(
    "form", [list, tuple, lambda chain: [chain], lambda c: make(ParentChain, chains=(c,))]
)
def test_the_parents_chain_may_be_given_in_any_form(planner: Agent, form: Any) -> None:
    assert forked(planner, parent_chain=form(planner.chain)).chain[:1] == planner.chain


def test_a_grant_is_timed_by_the_control_planes_clock(planner: Agent) -> None:
    values: dict[str, Any] = {"decision": "allow", "command": "/github", "resource": ACME}
    chain = granted(planner.party, nbf=int(time.time()) + 500, exp=int(time.time()) + 900)
    with pytest.raises(ExpiredChain):
        forked(planner, parent_chain=make(GrantBase, **values, chain=chain))
    ahead = make(GrantBase, **values, chain=chain, clock_offset=600.0)
    assert forked(planner, parent_chain=ahead, ttl_seconds=60)


def test_several_capabilities_are_several_chains(planner: Agent) -> None:
    child = forked(planner, capabilities=[READ, READ | {"can": "issue:list"}])
    assert len(child.chains) == 2
    with pytest.raises(MalformedChain, match=r"use \.chains"):
        _ = child.chain
    assert json.loads(child.env()[CHAIN]) == [list(chain) for chain in child.chains]


@pytest.mark.parametrize("nothing", [NO_CHAIN, [], make(ParentChain), ()])
def test_a_root_without_a_chain_must_authorize_first(nothing: Any) -> None:
    with pytest.raises(ConfigurationError, match="this process is a root: authorize first"):
        fork_child(parent_chain=nothing, capabilities=[READ])


def test_capabilities_beyond_the_chain_are_refused(planner: Agent) -> None:
    narrow = granted(
        planner.party, cmd="/github/repo", meta={"resource_constraint": ACME | {"repo": "app"}}
    )
    wider: list[dict[str, Any]] = [
        {"capabilities": [READ | {"can": "*"}]},
        {"capabilities": [READ | {"with": "github://acme/other"}]},
        {"capabilities": [READ | {"with": "github://acme"}]},
        {"capabilities": [{"with": "filesystem:///", "can": "*"}]},
        {"ttl_seconds": 3600},
    ]
    for change in wider:
        with pytest.raises(AttenuationError) as error:
            forked(planner, parent_chain=narrow, **change)
        assert error.value.code == "chain_attenuation_violation"
        assert narrow[0] not in str(error.value)


def test_a_missing_key_names_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    party = new_party()
    chain = granted(party)
    with pytest.raises(ConfigurationError, match=KEY_FILE) as error:
        fork_child(parent_chain=chain, capabilities=[READ])
    assert party.did in str(error.value)
    monkeypatch.setenv(KEY_FILE, key_file(tmp_path, new_party()))
    with pytest.raises(WrongAudience, match=party.did):
        fork_child(parent_chain=chain, capabilities=[READ])
    monkeypatch.setenv(KEY_FILE, key_file(tmp_path, party))
    assert fork_child(parent_chain=chain, capabilities=[READ]).chain[:1] == chain


def test_approved_and_expired_chains_cannot_be_delegated(planner: Agent) -> None:
    approved = granted(planner.party, meta={"approval": {"id": "env_1", "fingerprint": "a"}})
    with pytest.raises(MalformedChain, match="approval") as error:
        forked(planner, parent_chain=approved)
    assert error.value.code == "chain_invalid"
    with pytest.raises(ExpiredChain):
        forked(planner, parent_chain=granted(planner.party, exp=int(time.time()) - 5))
    with pytest.raises(MalformedChain):
        forked(planner, parent_chain=["a.b.c"])


def test_forks_are_refused_beyond_the_depth_limit(
    planner: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = planner.chain
    for _ in range(7):
        child = forked(planner, parent_chain=chain, audience_did=planner.did)
        chain = child.chain
    assert len(chain) == 8
    with pytest.raises(ChainTooDeep):
        forked(planner, parent_chain=chain)
    monkeypatch.setenv("NOMOS_MAX_CHAIN_DEPTH", "9")
    assert forked(planner, parent_chain=chain).env()["NOMOS_MAX_CHAIN_DEPTH"] == "9"
    monkeypatch.setenv("NOMOS_MAX_CHAIN_DEPTH", "3")
    deeper = make(ParentChain, chains=(chain,), max_depth=9)
    assert forked(planner, parent_chain=deeper).env()["NOMOS_MAX_CHAIN_DEPTH"] == "9"


def test_a_childs_key_is_not_printed_pickled_or_put_into_env(planner: Agent) -> None:
    child = forked(planner)
    seed = child._seed
    assert seed is not None
    values = [repr(child), str(child), repr(vars(child)), json.dumps(child.env(dict(os.environ)))]
    assert not any(seed.reveal() in value for value in values)
    assert not any(child.chain[1] in value for value in values[:2])
    for unwise in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError, match="pickled"):
            unwise(child)
    child.close()


def test_forking_does_not_change_os_environ(planner: Agent) -> None:
    before = dict(os.environ)
    with forked(planner) as child:
        child.env()
        child.env(base=os.environ)
        child.popen(["true"]).wait()
    assert dict(os.environ) == before


def environ_of(planner: Agent, folder: Path, **changes: str) -> dict[str, str]:
    """A child that has a key of its own, as its process sees it."""
    party = new_party()
    child = forked(planner, audience_did=party.did)
    return child.env() | {KEY_FILE: key_file(folder, party)} | changes


def test_an_inherited_chain_is_verified_and_can_be_delegated(
    planner: Agent, tmp_path: Path
) -> None:
    parent = read_parent_chain_from_env(environ_of(planner, tmp_path))
    assert parent
    assert (parent.parent_receipt_id, parent.swarm_id) == (RECEIPT, RECEIPT)
    child = fork_child(parent_chain=parent.chain, capabilities=[READ])
    assert child.chain[:2] == parent.chain
    assert child.swarm_id == RECEIPT


def test_without_variables_there_is_no_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_parent_chain_from_env() == make(ParentChain)
    assert not read_parent_chain_from_env({})
    monkeypatch.setenv(CHAIN, "")
    with pytest.raises(MalformedChain):
        read_parent_chain_from_env()


def without(environ: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}


def test_each_fault_of_an_inherited_chain_has_its_own_error(planner: Agent, tmp_path: Path) -> None:
    good = environ_of(planner, tmp_path)
    late = granted(planner.party, exp=int(time.time()) - 1)
    chain = json.loads(good[CHAIN])
    mine = key_file(tmp_path, planner.party)
    cases: list[tuple[dict[str, str], type[NomosError], str]] = [
        (without(good, KEY_FILE), ConfigurationError, KEY_FILE),
        (good | {CHAIN: "[]"}, MalformedChain, CHAIN),
        (good | {CHAIN: "nonsense"}, MalformedChain, CHAIN),
        (good | {CHAIN: json.dumps(chain[1:])}, MalformedChain, CHAIN),
        (good | {CHAIN: json.dumps([*chain, "a.b.c"])}, MalformedChain, "link 2"),
        (good | {CHAIN: json.dumps([chain[0], chain[1][:-8] + "AAAAAAAA"])}, MalformedChain, CHAIN),
        (good | {CHAIN: json.dumps(list(late)), KEY_FILE: mine}, ExpiredChain, CHAIN),
        (good | {KEY_FILE: mine}, WrongAudience, planner.did),
        (good | {KEY_FILE: "/nowhere"}, ConfigurationError, KEY_FILE),
        (without(good, CHAIN), ConfigurationError, "NOMOS_PARENT_RECEIPT_ID"),
        (good | {CHAIN_FILE: "/x"}, ConfigurationError, "both set"),
        (without(good, CHAIN) | {CHAIN_FILE: "/nowhere/x"}, ConfigurationError, CHAIN_FILE),
        (good | {"NOMOS_MAX_CHAIN_DEPTH": "1"}, ChainTooDeep, "NOMOS_MAX_CHAIN_DEPTH"),
        (good | {"NOMOS_MAX_CHAIN_DEPTH": "many"}, ConfigurationError, "NOMOS_MAX_CHAIN_DEPTH"),
        (good | {"NOMOS_AGENT_KEY_FD": "x"}, ConfigurationError, "NOMOS_AGENT_KEY_FD"),
    ]
    for environ, kind, named in cases:
        with pytest.raises(kind, match=named) as error:
            read_parent_chain_from_env(environ)
        assert type(error.value) is kind
        assert not any(token in str(error.value) for token in chain)


def test_a_key_held_only_by_the_signer_can_fork(planner: Agent) -> None:
    environ = forked(planner, audience_did=planner.did).env()
    assert read_parent_chain_from_env(environ)
    shared_signer = Signer(shared())
    shared_signer.ask(ForgetKey(key=planner.did))
    with pytest.raises(ConfigurationError, match=KEY_FILE):
        read_parent_chain_from_env(environ)


def test_closing_a_guard_keeps_the_processs_key(planner: Agent, tmp_path: Path) -> None:
    environ = environ_of(planner, tmp_path)
    parent = read_parent_chain_from_env(environ)
    guard = nomos.AuthGuard(
        control_plane_url="http://127.0.0.1:1", agent_key_file=environ[KEY_FILE], parent=None
    )
    assert guard.did() == chain_audience(parent.chain)
    guard.close()
    assert fork_child(parent_chain=parent, capabilities=[READ])
