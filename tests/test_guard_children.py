"""Guards of children: they act within their chain, online and offline."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from guard_kinds import GUARD_KINDS, GuardKind
from hostile import Reply, control_plane

from nomos import AuthGuard, Child, FailOpenWarning, ParentChain, errors
from nomos._core.tokens import decode_unverified
from nomos._sealed import make
from nomos.models import NO_CHAIN

POLICY = """
@id("files") permit (principal, action in Action::"/filesystem", resource);
@id("issues") permit (principal, action == Action::"/github/issue/list", resource);

@id("careful") @step_up("lead") @reason("a lead reads what is published")
forbid (principal, action == Action::"/filesystem/file/write", resource)
when { resource.path like "published/*" }
unless { context.cosigned };

@id("no listing of attics") forbid (principal, action == Action::"/filesystem/dir/list", resource)
when { resource.path like "attic*" };
"""
READ, WRITE, LIST = (f"/filesystem/{name}" for name in ("file/read", "file/write", "dir/list"))
NOTES = {"with": "filesystem:///notes", "can": "file:read"}
SEED, DID = "00" * 31 + "02", "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"

each_guard_kind = pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)


def path(name: str) -> dict[str, Any]:
    return {"provider": "filesystem", "path": name}


def read(name: str) -> dict[str, Any]:
    return {"command": READ, "resource": path(name)}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthGuard]:
    """A running system with some files; this guard is the agent from which all children come."""
    files = tmp_path_factory.mktemp("files")
    for name in ("notes/a.txt", "notes/deep/b.txt", "diary/c.txt"):
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_text(f"This is {name}.")
    with AuthGuard.embedded(policies=POLICY, workspace=files) as running:
        yield running


@pytest.fixture(scope="module")
def grant(system: AuthGuard) -> Any:
    """All that may be done to files: what there is to narrow."""
    return system.authorize(command=READ, resource=path(""), ttl_seconds=3600).require()


class Family:
    """Children of one guard of one kind, made in this process from what `Child.env` returns."""

    def __init__(self, system: AuthGuard, guard_kind: GuardKind) -> None:
        self.system = system
        self.guard_kind = guard_kind
        self.children: list[Child] = []
        self.guards: list[Any] = []

    def fork(self, parent: Any, *capabilities: Any, by: Any = None, **more: Any) -> Child:
        child: Child = (by or self.system).fork_child(
            capabilities=capabilities or [NOTES], parent_chain=parent, **more
        )
        self.children.append(child)
        return child

    def guard(self, child: Child, **variables: str) -> Any:
        guard = self.guard_kind.guard.from_env(child.env() | variables)
        self.guards.append(guard)
        return guard

    def call(self, function: Any, **arguments: Any) -> Any:
        return self.guard_kind.call(function, **arguments)

    def get(self, name: str, headers: Mapping[str, str], command: str = READ) -> httpx.Response:
        url = f"{self.system.pdp_url}{command}"
        return httpx.get(url, params={"path": name}, headers=headers)

    def close(self) -> None:
        for guard in self.guards:
            self.guard_kind.call(guard.close)
        for child in self.children:
            child.close()


@pytest.fixture
def family(system: AuthGuard, request: pytest.FixtureRequest) -> Iterator[Family]:
    made = Family(system, request.node.callspec.params.get("guard_kind", GUARD_KINDS[0]))
    yield made
    made.close()


@pytest.fixture(scope="module")
def subtree(system: AuthGuard) -> Any:
    return system.authorize(command="/filesystem", resource=path("notes")).require()


class TestPrefixes:
    @each_guard_kind
    def test_a_prefix_is_one_grant_for_many_calls(
        self, family: Family, guard_kind: GuardKind
    ) -> None:
        guard = guard_kind.guard(
            control_plane_url=family.system.control_plane_url, api_key=family.system.api_key
        )
        grant = family.call(guard.authorize, command="/filesystem", resource=path("notes"))
        assert (grant.decision, grant.ucan, len(grant.chain)) == ("allow", None, 1)
        assert set(grant.commands) == {READ, WRITE, LIST}
        headers = family.call(grant.headers, command=READ, resource=path("notes/a.txt"))
        assert family.get("notes/a.txt", headers).json()["content"] == "This is notes/a.txt."
        listed = family.get("notes", family.call(grant.headers, command=LIST), LIST)
        assert listed.status_code == 200
        family.call(guard.close)

    def test_a_resource_is_compared_as_the_servers_read_it(self, system: AuthGuard) -> None:
        repo = {"provider": "github", "owner": "Acme", "repo": "App"}
        grant = system.authorize(command="/github/issue/list", resource=repo).require()
        headers = grant.headers(resource=repo)
        signed = decode_unverified(headers["authorization"][7:])["args"]["resource"]
        assert signed == {"provider": "github", "owner": "acme", "repo": "app"}

    def test_each_call_names_its_command_within_the_prefix(self, subtree: Any) -> None:
        for wrong in (None, "/filesystem", "/filesystem/file", "/github/issue/list"):
            with pytest.raises(errors.ConfigurationError, match=READ) as refused:
                subtree.headers(command=wrong)
            assert refused.value.setting == "command"

    @pytest.mark.parametrize("wrong", [{"resource": {"at": Path()}}, {"args": {"x": {1}}}])
    def test_values_that_are_not_json_are_not_signed(self, subtree: Any, wrong: Any) -> None:
        with pytest.raises(errors.InvalidRequest, match="plain JSON"):
            subtree.headers(command=READ, **wrong)

    @pytest.mark.parametrize("name", ["args", "resource"])
    @pytest.mark.parametrize("wrong", [[1], [("a", 1)], [], "ab", "", 5, {1: 2}], ids=repr)
    def test_values_that_are_no_mappings_are_not_signed(
        self, subtree: Any, name: str, wrong: Any
    ) -> None:
        with pytest.raises(errors.InvalidRequest, match=f"{name} must be a mapping") as refused:
            subtree.headers(command=READ, **{name: wrong})
        assert refused.value.fields == (name,)

    @pytest.mark.parametrize(
        "resource",
        [path("diary/c.txt"), path("notes2"), path(""), path("notes/../diary"), {"path": "notes"}],
    )
    def test_each_call_stays_within_the_resource(self, subtree: Any, resource: Any) -> None:
        with pytest.raises(errors.ConfigurationError, match="is not within it") as refused:
            subtree.headers(command=READ, resource=resource)
        assert refused.value.setting == "resource"

    def test_a_prefix_is_denied_when_one_command_is(self, system: AuthGuard) -> None:
        for where, named in (("published/x", WRITE), ("attic", LIST)):
            grant = system.authorize(command="/filesystem", resource=path(where))
            assert (grant.decision, grant.commands) == ("deny", ())
            with pytest.raises(errors.Denied, match=named):
                grant.require()


@each_guard_kind
class TestOnline:
    def test_without_an_api_key_a_child_asks_on_its_chain(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        child = family.fork(grant)
        guard = family.guard(child)
        assert guard.api_key is None
        given = family.call(guard.authorize, **read("notes/a.txt"))
        assert (given.decision, given.agent) == ("allow", child.agent)
        assert family.get("notes/a.txt", {"authorization": f"Bearer {given.ucan}"}).is_success
        assert family.get("notes/a.txt", family.call(given.headers)).is_success
        payload = decode_unverified(given.chain[-1])
        assert payload["meta"]["lineage"]["depth"] == 1
        assert payload["aud"] == child.agent

    def test_with_an_api_key_the_chain_is_sent_and_still_restricts(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        assert family.system.api_key is not None
        guard = family.guard(family.fork(grant), NOMOS_API_KEY=family.system.api_key)
        assert family.call(guard.authorize, **read("notes/a.txt"))
        refused = family.call(guard.authorize, **read("diary/c.txt"))
        assert (refused.decision, refused.reason) == ("deny", "resource_out_of_scope")

    @pytest.mark.parametrize("key", [False, True], ids=["by its chain", "by an API key"])
    def test_a_question_beyond_the_chain_is_denied_and_recorded(
        self, family: Family, grant: Any, guard_kind: GuardKind, *, key: bool
    ) -> None:
        variables = {"NOMOS_API_KEY": str(family.system.api_key)} if key else {}
        child = family.fork(grant)
        guard = family.guard(child, **variables)
        for question, reason in (
            (read("diary/c.txt"), "resource_out_of_scope"),
            (read(""), "resource_out_of_scope"),
            ({"command": LIST, "resource": path("notes")}, "chain_attenuation_violation"),
            ({"command": "/filesystem", "resource": path("notes")}, "chain_attenuation_violation"),
        ):
            refused = family.call(guard.authorize, **question)
            assert (refused.decision, refused.reason, refused.ucan) == ("deny", reason, None)
            assert refused.receipt_id is not None
            row = family.system.receipt(refused.receipt_id).row
            assert (row["agent"], row["root"]) == (child.agent, grant.agent)

    def test_the_chain_that_covers_a_call_is_sent(
        self, family: Family, grant: Any, subtree: Any, guard_kind: GuardKind
    ) -> None:
        listing = {"with": "filesystem:///notes", "can": "dir:list"}
        child = family.fork([subtree.chain, grant.chain], listing, NOTES)
        assert len(child.chains) == 2
        guard = family.guard(child)
        assert family.call(guard.authorize, **read("notes/a.txt"))
        assert family.call(guard.authorize, command=LIST, resource=path("notes"))
        assert not family.call(guard.authorize, **read("diary/c.txt"))

    def test_an_approval_is_requested_on_a_childs_behalf(
        self, family: Family, guard_kind: GuardKind
    ) -> None:
        root = family.system.authorize(command=WRITE, resource=path("")).require()
        publish = {"with": "filesystem:///published", "can": "file:write"}
        guard = family.guard(family.fork(root, publish))
        question = {
            "command": WRITE,
            "resource": path("published/x.txt"),
            "args": {"content": "read me"},
        }
        asked = family.call(guard.authorize, **question)
        assert asked.decision == "requires_step_up"
        waiting = asked.approval_envelope_id
        with pytest.raises(TimeoutError):
            family.call(guard.wait_for_approval, envelope_id=waiting, timeout=0)
        family.system.approvals.decide(waiting, approve=True)
        assert family.call(guard.wait_for_approval, envelope_id=waiting, timeout=5)
        given = family.call(guard.authorize, **question, cosigner_envelope_id=waiting)
        assert given.require().ucan
        receipt = family.call(guard.receipt, receipt_id=given.receipt_id)
        assert receipt.row["agent"] == given.agent
        with pytest.raises(errors.ConfigurationError, match="an agent may not decide"):
            family.call(guard.approvals.list)

    def test_a_refused_token_is_an_authentication_error_with_its_reason(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        with AuthGuard.embedded(policies=POLICY) as other:
            child = family.fork(grant)
            guard = family.guard(child, NOMOS_CONTROL_URL=other.control_plane_url)
            for method, arguments in (
                (guard.authorize, read("notes/a.txt")),
                (guard.receipt, {"receipt_id": grant.receipt_id}),
            ):
                with pytest.raises(errors.AuthenticationError) as refused:
                    family.call(method, **arguments)
                assert refused.value.code in ("untrusted_issuer", "audience_mismatch")
                assert not any(link in str(refused.value) for link in child.chain)

    def test_without_a_chain_and_an_api_key_authorize_is_refused(
        self, family: Family, guard_kind: GuardKind
    ) -> None:
        guard = guard_kind.guard(control_plane_url=family.system.control_plane_url)
        with pytest.raises(errors.AuthenticationError) as refused:
            family.call(guard.authorize, **read("notes/a.txt"))
        assert refused.value.code == "missing_api_key"
        family.call(guard.close)

    def test_each_attempt_has_its_own_token_and_all_are_one_question(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        deny = {"decision": "deny", "reason": "policy_denied", "receiptId": "evt_1"}
        with control_plane(
            Reply(503), Reply(429, headers={"retry-after": "0"}), Reply(body=deny)
        ) as plane:
            guard = family.guard(family.fork(grant), NOMOS_CONTROL_URL=plane.url)
            assert not family.call(guard.authorize, **read("notes/a.txt"))
        shown = [headers["authorization"].removeprefix("Bearer ") for headers, _ in plane.requests]
        payloads = [decode_unverified(token) for token in shown]
        assert len({payload["nonce"] for payload in payloads}) == 3
        assert len({headers["idempotency-key"] for headers, _ in plane.requests}) == 1
        assert all(payload["exp"] <= time.time() + 61 for payload in payloads)

    def test_a_question_that_no_token_can_have_is_invalid(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        guard = family.guard(family.fork(grant))
        for wrong in ({"a\u0301": 1}, {"n": 2**60}):
            with pytest.raises(errors.InvalidRequest):
                family.call(guard.authorize, **read("notes/a.txt"), args=wrong)


@each_guard_kind
class TestOffline:
    def test_a_child_acts_without_the_control_plane(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        guard = family.guard(family.fork(grant), NOMOS_CONTROL_URL="http://127.0.0.1:1")
        headers = family.call(guard.headers, **read("notes/deep/b.txt"))
        assert family.get("notes/deep/b.txt", headers).json()["content"].startswith("This is")
        assert family.get("notes/a.txt", headers).status_code == 403

    def test_a_call_beyond_the_chain_is_not_signed(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        guard = family.guard(family.fork(grant))
        for question, code in (
            (read("diary/c.txt"), "resource_out_of_scope"),
            (read("notes2"), "resource_out_of_scope"),
            ({"command": LIST, "resource": path("notes")}, "chain_attenuation_violation"),
            ({"command": "/filesystem", "resource": path("notes")}, "chain_attenuation_violation"),
        ):
            with pytest.raises(errors.AttenuationError, match=re.escape("path=notes")) as wide:
                family.call(guard.headers, **question)
            assert wide.value.code == code
            assert f"{question['command']} on filesystem" in str(wide.value)
            assert f"process: {READ} on filesystem path=notes" in str(wide.value)

    def test_statements_about_arguments_are_checked_before_signing(
        self, family: Family, guard_kind: GuardKind
    ) -> None:
        root = family.system.authorize(command=WRITE, resource=path("")).require()
        one, two = (
            {"with": "filesystem:///notes", "can": "file:write", "args": {"encoding": encoding}}
            for encoding in ("utf-8", "base64")
        )
        child = family.fork(root, one, two)
        guard = family.guard(child)
        call = {"command": WRITE, "resource": path("notes/new.txt")}
        for encoding, chain in zip(("utf-8", "base64"), child.chains, strict=True):
            headers = family.call(guard.headers, **call, args={"encoding": encoding})
            assert decode_unverified(headers["authorization"][7:])["prf"] == list(chain)
        for args in ({"encoding": "utf-16"}, {}, None):
            with pytest.raises(errors.ChainError, match=r"notes/new\.txt"):
                family.call(guard.headers, **call, args=args)

    def test_an_offline_write_works_once_and_a_step_up_is_refused(
        self, family: Family, guard_kind: GuardKind
    ) -> None:
        root = family.system.authorize(command=WRITE, resource=path("")).require()
        guard = family.guard(family.fork(root, {"command": WRITE, "resource": path("")}))
        for name, statuses in (("notes/mine.txt", (200, 401)), ("published/x", (403, 403))):
            headers = family.call(guard.headers, command=WRITE, resource=path(name))
            url = f"{family.system.pdp_url}{WRITE}"
            body = {"path": name, "content": "x"}
            answers = [httpx.put(url, json=body, headers=headers) for _ in range(2)]
            assert tuple(answer.status_code for answer in answers) == statuses, answers[0].text
        assert answers[0].json()["error_code"] == "step_up_required"

    def test_a_root_cannot_sign_headers_without_a_grant(
        self, family: Family, guard_kind: GuardKind
    ) -> None:
        guard = guard_kind.guard(control_plane_url="http://127.0.0.1:1")
        with pytest.raises(errors.ConfigurationError, match="this guard is a root"):
            family.call(guard.headers, **read("notes/a.txt"))
        for wrong in (
            {"command": "read"},
            {"resource": "notes"},
            {"resource": {"provider": "mine", "at": Path()}},
            {"args": "x"},
            {"args": {"x": float("nan")}},
        ):
            with pytest.raises(errors.InvalidRequest):
                family.call(guard.headers, **(read("notes/a.txt") | wrong))
        family.call(guard.close)


@each_guard_kind
class TestForking:
    def test_children_can_be_forked_to_the_depth_limit(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        child = family.fork(grant, NOTES)
        for depth in range(3, 9):
            guard = family.guard(child)
            child = family.call(guard.fork_child, capabilities=[NOTES])
            family.children.append(child)
            assert len(child.chain) == depth
        guard = family.guard(child)
        assert family.call(guard.authorize, **read("notes/a.txt"))
        headers = family.call(guard.headers, **read("notes/a.txt"))
        assert family.get("notes/a.txt", headers).is_success
        with pytest.raises(errors.ChainTooDeep):
            family.call(guard.fork_child, capabilities=[NOTES])

    def test_the_depth_limit_of_the_process_applies_to_a_root(
        self, family: Family, grant: Any, guard_kind: GuardKind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NOMOS_MAX_CHAIN_DEPTH", "2")
        guard = family.guard(family.fork(grant), NOMOS_MAX_CHAIN_DEPTH="2")
        with pytest.raises(errors.ChainTooDeep):
            family.call(guard.fork_child, capabilities=[NOTES])
        given = family.call(guard.authorize, **read("notes/a.txt"))
        with pytest.raises(errors.ChainTooDeep):
            family.call(guard.fork_child, capabilities=[NOTES], parent_chain=given)
        monkeypatch.setenv("NOMOS_MAX_CHAIN_DEPTH", "deep")
        with pytest.raises(errors.ConfigurationError, match="NOMOS_MAX_CHAIN_DEPTH"):
            guard_kind.guard(control_plane_url="http://127.0.0.1:1", parent=None)

    def test_a_childs_grant_can_be_delegated(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        guard = family.guard(family.fork(grant))
        given = family.call(guard.authorize, **read("notes/deep"))
        child = family.call(
            guard.fork_child,
            parent_chain=given,
            capabilities=[{"with": "filesystem:///notes/deep", "can": "file:read"}],
        )
        family.children.append(child)
        below = family.guard(child)
        assert family.call(below.authorize, **read("notes/deep/b.txt"))
        assert not family.call(below.authorize, **read("notes/a.txt"))

    def test_several_children_are_forked_together_or_none(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        guard = family.guard(family.fork(grant))
        wanted = [{"capabilities": [NOTES], "ttl_seconds": 60 + each} for each in range(20)]
        made = family.call(
            guard.fork_children, children=[*wanted, wanted[0] | {"audience_did": DID}]
        )
        family.children.extend(made)
        assert len({child.agent for child in made}) == 21
        assert made[20].agent == DID
        assert made[0].expires_at < made[1].expires_at
        wider = {"with": "filesystem:///diary", "can": "file:read"}
        with pytest.raises(errors.AttenuationError, match=r"children\[3\]\.capabilities\[1\]"):
            family.call(
                guard.fork_children,
                children=[*wanted[:3], {"capabilities": [NOTES, wider]}],
            )
        assert family.call(guard.fork_children, children=[]) == ()

    @pytest.mark.parametrize(
        ("wrong", "setting"),
        [
            ({"capabilities": []}, "capabilities"),
            ({"capabilities": [{"with": "github://a/b", "can": "/filesystem"}]}, "capabilities"),
            ({"capabilities": [NOTES], "ttl_seconds": 0}, "ttl_seconds"),
            ({"capabilities": [NOTES], "audience_did": "did:key:me"}, "audience_did"),
        ],
    )
    def test_a_wrong_argument_is_named_for_one_child_and_for_many(
        self, family: Family, grant: Any, guard_kind: GuardKind, wrong: Any, setting: str
    ) -> None:
        guard = family.guard(family.fork(grant))
        with pytest.raises(errors.ConfigurationError) as one:
            family.call(guard.fork_child, **wrong)
        assert one.value.setting.startswith(setting)
        with pytest.raises(errors.ConfigurationError) as many:
            family.call(guard.fork_children, children=[{"capabilities": [NOTES]}, wrong])
        assert many.value.setting.startswith(f"children[1].{setting}")

    @pytest.mark.parametrize("wrong", [{}, [NOTES], "x", {"capabilities": [NOTES], "did": DID}])
    def test_an_invalid_description_of_a_child_is_refused(
        self, family: Family, grant: Any, guard_kind: GuardKind, wrong: Any
    ) -> None:
        guard = family.guard(family.fork(grant))
        with pytest.raises(errors.ConfigurationError, match="capabilities") as refused:
            family.call(guard.fork_children, children=[wrong])
        assert refused.value.setting == "children[0]"

    def test_a_root_can_fork_from_a_grant_only(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        guard = guard_kind.guard(control_plane_url=family.system.control_plane_url)
        nothings: list[Any] = [None, [], NO_CHAIN, make(ParentChain)]
        for nothing in nothings:
            with pytest.raises(errors.ConfigurationError, match="authorize first"):
                family.call(guard.fork_child, capabilities=[NOTES], parent_chain=nothing)
        with pytest.raises(errors.WrongAudience) as another:
            family.call(guard.fork_child, capabilities=[NOTES], parent_chain=grant.chain)
        assert family.call(guard.did) in str(another.value)
        assert grant.agent in str(another.value)
        family.call(guard.close)

    def test_a_denied_grant_cannot_be_forked(self, family: Family, guard_kind: GuardKind) -> None:
        denied = family.system.authorize(command=LIST, resource=path("attic"))
        with pytest.raises(errors.Denied):
            family.fork(denied)


@each_guard_kind
class TestRevoking:
    def test_a_parent_revokes_a_child_without_affecting_its_sibling(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        parent = family.guard(family.fork(grant))
        gone, stays = (
            family.call(parent.fork_child, capabilities=[NOTES, NOTES]) for _ in range(2)
        )
        family.children += [gone, stays]
        guards = [family.guard(child) for child in (gone, stays)]
        for guard in guards:
            assert family.call(guard.authorize, **read("notes/a.txt"))
        revoked = family.call(parent.revoke, grant_or_id=gone, reason="enough")
        assert (revoked.kind, revoked.already_revoked) == ("cid", False)
        again = family.call(parent.revoke, grant_or_id=list(gone.chains))
        assert (again.id, again.already_revoked) == (revoked.id, True)
        refused = family.call(guards[0].authorize, **read("notes/a.txt"))
        assert (refused.decision, refused.reason) == ("deny", "revoked")
        answer = family.get("notes/a.txt", family.call(guards[0].headers, **read("notes/a.txt")))
        assert (answer.status_code, answer.json()["error_code"]) == (401, "revoked")
        assert family.call(guards[1].authorize, **read("notes/a.txt"))
        headers = family.call(guards[1].headers, **read("notes/a.txt"))
        assert family.get("notes/a.txt", headers).is_success

    def test_the_root_revokes_a_grandchilds_chain(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        parent = family.guard(family.fork(grant))
        child = family.call(parent.fork_child, capabilities=[NOTES])
        family.children.append(child)
        family.system.revoke(child.chain)
        guard = family.guard(child)
        assert family.call(guard.authorize, **read("notes/a.txt")).reason == "revoked"
        assert family.call(parent.authorize, **read("notes/a.txt"))

    def test_a_child_revokes_one_grant_and_keeps_the_others(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        guard = family.guard(family.fork(grant))
        given = family.call(guard.authorize, **read("notes/a.txt"))
        assert not family.call(guard.revoke, grant_or_id=given).already_revoked
        answer = family.get("notes/a.txt", family.call(given.headers))
        assert (answer.status_code, answer.json()["error_code"]) == (401, "revoked")
        assert family.call(guard.authorize, **read("notes/a.txt"))

    def test_a_child_cannot_revoke_its_sibling_or_parent(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        mine, other = family.fork(grant), family.fork(grant)
        guard = family.guard(mine)
        for foreign in (other, other.chain, mine.chain[:1]):
            with pytest.raises((errors.PermissionDenied, errors.NotFound)):
                family.call(guard.revoke, grant_or_id=foreign)
        assert family.call(family.guard(other).authorize, **read("notes/a.txt"))


@each_guard_kind
class TestBeingAChild:
    def test_a_guard_has_the_did_that_a_parent_forks_for(
        self, family: Family, grant: Any, guard_kind: GuardKind, tmp_path: Path
    ) -> None:
        key = tmp_path / "agent.key"
        key.write_text(SEED)
        key.chmod(0o600)
        child = family.fork(grant, audience_did=DID)
        guard = family.guard(child, NOMOS_AGENT_KEY_FILE=str(key))
        assert family.call(guard.did) == DID == child.agent
        assert family.call(guard.authorize, **read("notes/a.txt"))
        assert key.exists(), "a person's own key is never removed"

    def test_a_chain_for_another_key_names_both_keys_and_the_variable(
        self, family: Family, grant: Any, guard_kind: GuardKind, tmp_path: Path
    ) -> None:
        key = tmp_path / "agent.key"
        key.write_text(SEED)
        key.chmod(0o600)
        theirs = family.fork(grant).env()
        variable = "NOMOS_AGENT_KEY_HANDOVER_FILE"
        mine = {name: value for name, value in theirs.items() if name != variable}
        guard = guard_kind.guard.from_env(mine | {"NOMOS_AGENT_KEY_FILE": str(key)})
        family.guards.append(guard)
        calls: list[tuple[Any, dict[str, Any]]] = [
            (guard.authorize, read("notes/a.txt")),
            (guard.headers, read("notes/a.txt")),
            (guard.receipt, {"receipt_id": "evt_1"}),
            (guard.fork_child, {"capabilities": [NOTES]}),
        ]
        for method, arguments in calls:
            with pytest.raises(errors.WrongAudience, match="NOMOS_PARENT_UCAN_CHAIN") as no:
                family.call(method, **arguments)
            assert DID in str(no.value)
            assert family.children[0].agent in str(no.value)
        assert family.call(guard.did) == DID
        with pytest.raises(errors.ConfigurationError, match=variable):
            guard_kind.guard.from_env(mine)

    def test_an_expired_chain_is_refused_on_first_use(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        guard = family.guard(family.fork(grant, ttl_seconds=1))
        time.sleep(2)  # ended by the clock of the control plane, which is asked for its time
        for method in (guard.authorize, guard.headers):
            with pytest.raises(errors.ExpiredChain) as ended:
                family.call(method, **read("notes/a.txt"))
            assert ended.value.code == "expired"

    def test_a_chain_that_expires_later_is_refused(
        self, family: Family, grant: Any, guard_kind: GuardKind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        guard = family.guard(family.fork(grant, ttl_seconds=60))
        assert family.call(guard.headers, **read("notes/a.txt"))
        late = time.time() + 90
        monkeypatch.setattr(time, "time", lambda: late)
        for method in (guard.authorize, guard.headers):
            with pytest.raises(errors.ExpiredChain, match="its parent can fork it again"):
                family.call(method, **read("notes/a.txt"))

    @pytest.mark.parametrize("how", ["another's", "changed", "doubled", "alone"])
    def test_a_chain_that_was_tampered_with_is_refused_on_first_use(
        self, family: Family, grant: Any, guard_kind: GuardKind, how: str
    ) -> None:
        child = family.fork(grant)
        root, link = child.chain
        head, body, signature = link.split(".")
        broken = {
            "another's": [family.system.authorize(**read("diary")).chain[0], link],
            "changed": [root, f"{head}.{body}.{signature[:-4]}AAAA"],
            "doubled": [root, link, link],
            "alone": [link],
        }[how]
        guard = self.with_chain(family, child, broken)
        with pytest.raises(errors.ChainError, match="parent: "):
            family.call(guard.headers, **read("notes/a.txt"))

    def with_chain(self, family: Family, child: Child, chain: Any) -> Any:
        """A guard that has the child's key and says that it was given `chain`."""
        family.guard(child)
        guard = family.guard_kind.guard(
            control_plane_url=family.system.control_plane_url,
            parent=chain,
            agent_key_file=self.key_of(child, family),
        )
        family.guards.append(guard)
        return guard

    def key_of(self, child: Child, family: Family) -> Path:
        seed = family.guards[-1]._standing.seed.reveal()
        assert family.system.workspace is not None
        file = family.system.workspace / f"{child.agent[-8:]}.key"
        file.write_text(seed)
        file.chmod(0o600)
        return file

    def test_parent_none_makes_a_root_on_purpose(
        self, family: Family, grant: Any, guard_kind: GuardKind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in family.fork(grant).env().items():
            monkeypatch.setenv(name, value)
        for parent in (None, make(ParentChain)):
            guard = guard_kind.guard(
                control_plane_url=family.system.control_plane_url,
                api_key=family.system.api_key,
                parent=parent,
            )
            assert family.call(guard.authorize, **read("diary/c.txt"))
            family.call(guard.close)
        child = guard_kind.guard(
            control_plane_url=family.system.control_plane_url, api_key=family.system.api_key
        )
        assert not family.call(child.authorize, **read("diary/c.txt"))
        family.call(child.close)

    def test_an_embedded_system_of_its_own_makes_no_root_of_a_child(
        self, family: Family, grant: Any, guard_kind: GuardKind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in family.fork(grant).env().items():
            monkeypatch.setenv(name, value)
        with pytest.raises(errors.ConfigurationError, match="NOMOS_PARENT_UCAN_CHAIN"):
            guard_kind.guard.embedded(policies=POLICY)

    def test_the_repr_of_a_childs_guard_has_no_secret(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        child = family.fork(grant)
        guard = family.guard(child)
        family.call(guard.authorize, **read("notes/a.txt"))
        shown = repr(guard) + repr(vars(guard))
        assert guard._standing.seed.reveal() not in shown
        assert not any(link in shown for link in child.chain)


@each_guard_kind
class TestFailingOpen:
    def child(self, family: Family, grant: Any, url: str = "http://127.0.0.1:1") -> Any:
        child = family.fork(grant)
        family.guard(child)
        guard = family.guard_kind.guard(
            control_plane_url=url,
            parent=child.chain,
            agent_key_file=TestBeingAChild().key_of(child, family),
            failure_mode="open",
        )
        family.guards.append(guard)
        return guard

    def test_a_read_that_the_chain_covers_continues_in_an_outage(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        guard = self.child(family, grant)
        with pytest.warns(FailOpenWarning):
            degraded = family.call(guard.authorize, **read("notes/a.txt"))
        assert (bool(degraded), degraded.degraded) == (True, True)
        assert family.get("notes/a.txt", {"authorization": f"Bearer {degraded.ucan}"}).is_success

    def test_a_revoked_authority_is_not_used_in_an_outage(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        deny = {"decision": "deny", "reason": "revoked", "receiptId": "evt_1"}
        with control_plane(Reply(body=deny), Reply(500)) as plane:
            guard = self.child(family, grant, plane.url)
            assert family.call(guard.authorize, **read("notes/a.txt")).reason == "revoked"
            with pytest.raises(errors.ServerError):
                family.call(guard.authorize, **read("notes/a.txt"))

    def test_a_call_beyond_the_chain_raises_in_an_outage(
        self, family: Family, grant: Any, guard_kind: GuardKind
    ) -> None:
        guard = self.child(family, grant)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for question in (
                read("diary/c.txt"),
                {"command": LIST, "resource": path("notes")},
                {"command": WRITE, "resource": path("notes")},
            ):
                with pytest.raises(errors.Unreachable):
                    family.call(guard.authorize, **question)


CHILD = """
import os, httpx
from nomos import AuthGuard
with AuthGuard.from_env() as guard:
    where = {"provider": "filesystem", "path": "notes/a.txt"}
    grant = guard.authorize(command="/filesystem/file/read", resource=where).require()
    answer = httpx.get(f"{guard.pdp_url}/filesystem/file/read", params={"path": "notes/a.txt"},
                       headers=grant.headers())
    print(os.getpid(), guard.did(), guard.api_key, answer.json()["content"])
"""


@pytest.mark.parametrize("guard_kind", GUARD_KINDS[:1], ids=["sync"])
def test_a_child_process_gets_the_control_planes_url(
    family: Family, grant: Any, guard_kind: GuardKind
) -> None:
    child = family.fork(grant)
    done = child.popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    said, _ = done.communicate(timeout=60)
    assert done.returncode == 0
    assert said.split(maxsplit=3) == [
        str(done.pid),
        child.agent,
        "None",
        "This is notes/a.txt.\n",
    ]
    assert str(done.pid) != str(os.getpid())
