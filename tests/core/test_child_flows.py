"""The flows of a child with its chains, with scripted answers of the binary."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from nomos._core import flows, parent_chain, requests
from nomos._core.effects import ChildCredential, Flow, Pause, Send, Sign
from nomos._core.parent_chain import AgentIdentity, VerifiedParentChain
from nomos._protocol import Invoke, Refused, Signed, Verified, Verify
from nomos._sealed import changed, make
from nomos.errors import (
    AttenuationError,
    ConfigurationError,
    ExpiredChain,
    InvalidRequest,
    SignerCrashed,
    Unreachable,
    WrongAudience,
)
from nomos.models import Capability, Chain, ParentChain, Question, chain_of

AGENT = "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"
PARENT = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw"
ISSUER = "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"
SERVICE = "did:key:z6MkvqoYXQfDDJRv8L4wKzxYeuKyVZBfi9Qo6Ro8MiLH3kDQ"
NOW = 1_790_000_000
LIST = "/github/issue/list"
REPO = {"provider": "github", "owner": "acme", "repo": "app"}
SIGNED = Signed(id=1, jwt="a.b.c", cid="0" * 64)


def jwt(payload: dict[str, Any]) -> str:
    body = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=").decode()
    return f"e30.{body}.c2ln"


def chain(command: str = "/github/issue", *, to: str = AGENT, **link: Any) -> Chain:
    root = {"iss": ISSUER, "aud": PARENT, "cmd": command, "pol": [], "exp": NOW + 300}
    return chain_of([jwt(root), jwt({**root, "iss": PARENT, "aud": to, **link})])


def held(
    command: str = "/github/issue", resource: Any = None, **members: Any
) -> VerifiedParentChain:
    one = VerifiedParentChain(
        chain=chain(command, nonce=json.dumps(resource)),
        reach=Capability(command, REPO if resource is None else resource),
        issuer=ISSUER,
        audience=SERVICE,
        expires_at=NOW + 300,
    )
    return replace(one, **members)


def question(command: str = LIST, resource: Any = None, **more: Any) -> Question:
    return requests.question(command=command, resource=resource or REPO, **more)


def verified(**changes: Any) -> Verified:
    fields: dict[str, Any] = {
        "id": 1,
        "agent": AGENT,
        "root": ISSUER,
        "cmd": "/github/issue",
        "depth": 2,
        "cids": [],
        "lineage": [],
        "expires_at": NOW + 300,
        "constraint": REPO,
        "meta": {"audience": SERVICE},
    }
    return Verified(**(fields | changes))


def refused(code: Any, message: str = "no", hop: int | None = None) -> Refused:
    return Refused(id=1, code=code, message=message, hop=hop)


def ends(flow: Flow[Any], result: object) -> Any:
    with pytest.raises(StopIteration) as stop:
        flow.send(result)
    return stop.value.value


def invoked(effect: object) -> Invoke:
    assert isinstance(effect, Sign)
    assert isinstance(effect.request, Invoke)
    return effect.request


class TestAdmitting:
    def test_every_chain_is_verified_for_this_key_and_depth(self) -> None:
        parent = make(ParentChain, chains=(chain(), chain("/github/repo")), max_depth=5)
        flow = parent_chain.verify_parent(parent, AGENT, now=NOW, setting="parent")
        asked = [next(flow), flow.send(verified())]
        for effect, each in zip(asked, parent.chains, strict=True):
            expected = Verify(chain=list(each), now=NOW, max_depth=5, audience=AGENT)
            assert effect == Sign(expected)
        me = ends(flow, verified(cmd="/github/repo", constraint=None, meta=None))
        assert (me.agent, me.max_depth) == (AGENT, 5)
        first, second = me.held
        assert (first.reach, first.audience) == (Capability("/github/issue", REPO), SERVICE)
        assert (second.reach, second.audience) == (Capability("/github/repo", {}), None)
        assert [each.chain for each in me.held] == list(parent.chains)

    def test_a_root_has_no_chain_to_verify(self) -> None:
        with pytest.raises(StopIteration) as stop:
            next(parent_chain.verify_parent(make(ParentChain), AGENT, now=NOW, setting="parent"))
        assert stop.value.value == AgentIdentity(AGENT)

    def test_a_chain_for_another_key_names_both_and_where_it_came_from(self) -> None:
        parent = make(ParentChain, chains=(chain(to=PARENT),))
        with pytest.raises(WrongAudience, match="NOMOS_PARENT_UCAN_CHAIN") as wrong:
            next(
                parent_chain.verify_parent(
                    parent, AGENT, now=NOW, setting="NOMOS_PARENT_UCAN_CHAIN"
                )
            )
        assert AGENT in str(wrong.value)
        assert PARENT in str(wrong.value)

    def test_an_audience_that_is_no_did_is_ignored(self) -> None:
        flow = parent_chain.verify_parent(
            make(ParentChain, chains=(chain(),)), AGENT, now=NOW, setting="parent"
        )
        next(flow)
        assert ends(flow, verified(meta={"audience": ["x"]})).held[0].audience is None


class TestChoosing:
    def test_the_first_chain_that_covers_the_call_is_selected(self) -> None:
        one, two, three = held("/github/repo"), held(), held(LIST)
        assert parent_chain.select_chain([one, two, three], question(), now=NOW) == (two, True)

    def test_without_a_covering_chain_the_first_is_sent(self) -> None:
        one, two = held("/github/repo"), held(resource=REPO | {"repo": "other"})
        assert parent_chain.select_chain([one, two], question(), now=NOW) == (one, False)

    def test_a_resource_is_compared_as_the_servers_read_it(self) -> None:
        shouted = question(resource={"provider": "github", "owner": "ACME", "repo": "App"})
        one, two = held("/github/repo"), held()
        assert parent_chain.select_chain([one, two], shouted, now=NOW) == (two, True)

    @pytest.mark.parametrize(
        "resource", [{"provider": "mine", "Thing": 1}, {"provider": "github", "what": 1}, {}]
    )
    def test_a_resource_without_a_table_is_compared_unchanged(self, resource: Any) -> None:
        asked = requests.question(command=LIST, resource=resource)
        assert parent_chain.select_chain([held(resource={})], asked, now=NOW)[1]
        assert parent_chain.select_chain([held(resource=resource)], asked, now=NOW)[1]

    def test_an_expired_chain_is_skipped(self) -> None:
        ended, lasting = held(expires_at=NOW), held()
        assert parent_chain.select_chain([ended, lasting], question(), now=NOW) == (lasting, True)

    def test_if_all_chains_are_expired_that_is_the_error(self) -> None:
        ended = [held(expires_at=NOW - 90), held(expires_at=NOW)]
        with pytest.raises(ExpiredChain, match="2026-09-21 14:13:20 UTC") as late:
            parent_chain.select_chain(ended, question(), now=NOW)
        assert late.value.code == "expired"


class TestInvocationInPlaceOfAnApiKey:
    def ask(self, send: Send, *chains: VerifiedParentChain, now: int = NOW) -> Flow[Send]:
        return parent_chain.signed(
            send, AgentIdentity(AGENT, chains or (held(),)), now=now, nonce="n1"
        )

    def test_a_question_is_signed_with_its_command_resource_and_args(self) -> None:
        one, two = held("/github/repo"), held()
        asked = question(args={"state": "open"})
        send = requests.authorize(
            requests.AuthorizeCall(asked, AGENT, "k", "n", (), float(NOW), two.chain)
        )
        flow = self.ask(send, one, two)
        invoke = invoked(next(flow))
        assert invoke.key == AGENT
        payload = invoke.payload
        assert (payload.iss, payload.aud, payload.sub) == (AGENT, ISSUER, ISSUER)
        assert (payload.cmd, payload.args) == (LIST, {"state": "open", "resource": REPO})
        assert (payload.nonce, payload.iat, payload.exp) == ("n1", NOW - 60, NOW + 60)
        assert payload.prf == list(two.chain)
        credited = ends(flow, SIGNED)
        assert credited == replace(send, headers={**send.headers, "authorization": "Bearer a.b.c"})

    def test_a_question_without_a_resource_or_args_is_signed_as_it_is_sent(self) -> None:
        asked = requests.question(command=LIST, resource={})
        send = requests.authorize(
            requests.AuthorizeCall(asked, AGENT, "k", "n", (), float(NOW), held().chain)
        )
        payload = invoked(next(self.ask(send))).payload
        assert (payload.cmd, payload.args) == (LIST, {"resource": {}})

    def test_other_requests_are_signed_without_their_query(self) -> None:
        send = requests.get("/v1/approvals/env_1?wait=25")
        payload = invoked(next(self.ask(send))).payload
        assert payload.cmd == "/github/issue"
        assert payload.args == {
            "resource": REPO,
            "method": "GET",
            "path": "/v1/approvals/env_1",
            "body": hashlib.sha256(b"").hexdigest(),
        }

    def test_a_body_is_signed_by_its_hash_and_the_chain_that_matters_is_used(self) -> None:
        one, two = held("/github/repo"), held()
        send = replace(
            requests.post("/v1/revocations", {"id": "x"}), claim=ChildCredential(two.chain)
        )
        payload = invoked(next(self.ask(send, one, two))).payload
        assert payload.prf == list(two.chain)
        assert payload.args["body"] == hashlib.sha256(b'{"id":"x"}').hexdigest()

    def test_a_token_expires_with_its_chain_and_is_not_made_later(self) -> None:
        send, last = requests.get("/v1/receipts/evt_1"), held(expires_at=NOW + 9)
        assert invoked(next(self.ask(send, last))).payload.exp == NOW + 9
        with pytest.raises(ExpiredChain):
            next(self.ask(send, last, now=NOW + 9))

    def test_a_chain_that_has_ended_gives_way_to_one_that_lasts(self) -> None:
        ended, lasting = held(expires_at=NOW), held("/github/repo")
        payload = invoked(
            next(self.ask(requests.get("/v1/receipts/evt_1"), ended, lasting))
        ).payload
        assert payload.prf == list(lasting.chain)

    def test_a_question_that_no_token_can_have_is_invalid_and_no_outage(self) -> None:
        flow = self.ask(requests.get("/v1/receipts/evt_1"))
        next(flow)
        with pytest.raises(InvalidRequest, match="args: not NFC") as wrong:
            flow.send(refused("malformed_ucan", "args: not NFC"))
        assert wrong.value.fields == ("resource", "args")

    def test_a_binary_that_dies_is_an_outage(self) -> None:
        flow = self.ask(requests.get("/v1/receipts/evt_1"))
        next(flow)
        with pytest.raises(SignerCrashed):
            flow.throw(SignerCrashed("gone"))


class TestActingOffline:
    def act(self, asked: Question, *chains: VerifiedParentChain) -> Flow[str]:
        me = AgentIdentity(AGENT, chains or (held(),), max_depth=5)
        return parent_chain.headers(me, asked, now=NOW, nonce="n1")

    def test_a_call_is_signed_on_the_chain_that_covers_it_and_checked_at_once(self) -> None:
        one, two = held("/github/repo"), held()
        flow = self.act(question(args={"state": "open"}), one, two)
        request = invoked(next(flow))
        assert (request.verify_at, request.max_depth) == (NOW, 5)
        payload = request.payload
        assert (payload.iss, payload.aud, payload.sub) == (AGENT, SERVICE, ISSUER)
        assert (payload.cmd, payload.args) == (LIST, {"state": "open", "resource": REPO})
        assert payload.prf == list(two.chain)
        assert ends(flow, SIGNED) == "a.b.c"

    def test_the_next_chain_is_tried_when_the_statements_of_one_refuse(self) -> None:
        one, two = held(), held(LIST)
        flow = self.act(question(), one, two)
        assert invoked(next(flow)).payload.prf == list(one.chain)
        again = flow.send(refused("chain_attenuation_violation", "pol[0] does not hold", hop=0))
        assert invoked(again).payload.prf == list(two.chain)
        assert ends(flow, SIGNED) == "a.b.c"

    def test_if_all_chains_refuse_the_first_error_is_raised(self) -> None:
        flow = self.act(question(), held(), held(LIST))
        next(flow)
        flow.send(refused("chain_attenuation_violation", "pol[0]", hop=0))
        with pytest.raises(
            AttenuationError, match=r"/github/issue/list on github .*: pol\[0\]"
        ) as wide:
            flow.send(refused("resource_out_of_scope", "elsewhere", hop=1))
        assert wide.value.code == "chain_attenuation_violation"

    @pytest.mark.parametrize(
        ("asked", "code"),
        [
            (question("/github/repo/read"), "chain_attenuation_violation"),
            (question("/github/issues"), "chain_attenuation_violation"),
            (question(resource=REPO | {"repo": "other"}), "resource_out_of_scope"),
            (question(resource={"provider": "github"}), "resource_out_of_scope"),
        ],
    )
    def test_a_call_beyond_all_chains_is_named_with_the_held_capabilities(
        self, asked: Question, code: str
    ) -> None:
        with pytest.raises(AttenuationError) as wide:
            next(self.act(asked))
        assert wide.value.code == code
        assert asked.command in str(wide.value)
        assert "/github/issue on github owner=acme repo=app" in str(wide.value)

    def test_of_many_held_capabilities_eight_are_named(self) -> None:
        many = [held(f"/a/{number}", {}) for number in range(11)]
        with pytest.raises(AttenuationError, match="/a/7 on any resource and 3 more"):
            next(self.act(question(), *many))

    def test_a_call_without_an_audience_is_not_signed(self) -> None:
        with pytest.raises(ConfigurationError, match="audience") as missing:
            next(self.act(question(), held(audience=None)))
        assert missing.value.setting == "audience"
        given = question(audience=PARENT)
        assert invoked(next(self.act(given, held(audience=None)))).payload.aud == PARENT

    @pytest.mark.parametrize("audience", ["pdp", "", "did:key:z6Mk", "did:web:pdp"])
    def test_an_audience_that_is_no_did_is_refused(self, audience: str) -> None:
        with pytest.raises(ConfigurationError, match="audience") as wrong:
            next(self.act(question(audience=audience), held(audience=audience)))
        assert wrong.value.setting == "audience"
        assert parent_chain.offline_grant(held(audience=audience), question(), AGENT) is None

    def test_a_chain_is_used_at_its_own_service_alone(self) -> None:
        with pytest.raises(WrongAudience, match=f"is for {SERVICE}, not {PARENT}") as wrong:
            next(self.act(question(audience=PARENT)))
        assert wrong.value.code == "audience_mismatch"
        assert f"audience={PARENT!r}" in str(wrong.value)
        assert parent_chain.offline_grant(held(), question(audience=PARENT), AGENT) is None
        there = held(audience=PARENT)
        act = invoked(next(self.act(question(audience=PARENT), held(), there))).payload
        assert (act.aud, act.prf) == (PARENT, list(there.chain))
        act = invoked(next(self.act(question(audience=SERVICE), held(), there))).payload
        assert act.aud == SERVICE

    def test_a_call_that_no_token_can_have_is_invalid(self) -> None:
        flow = self.act(question())
        next(flow)
        with pytest.raises(InvalidRequest, match="not NFC"):
            flow.send(refused("malformed_ucan", "args: not NFC"))

    def test_an_expired_chain_that_covered_the_call_is_reported_as_expired(self) -> None:
        with pytest.raises(ExpiredChain):
            next(self.act(question(), held(expires_at=NOW), held("/github/repo")))


class TestWithoutAnyReply:
    def call(
        self, one: VerifiedParentChain, command: str = LIST, **more: Any
    ) -> requests.AuthorizeCall:
        asked = question(command)
        own = parent_chain.offline_grant(one, asked, AGENT)
        fields: dict[str, Any] = {
            "question": asked,
            "agent": AGENT,
            "idempotency_key": "k",
            "nonce": "n",
            "jitter": (0.0, 0.0),
            "now": float(NOW),
            "parent": one.chain,
            "held": () if own is None else (own,),
        }
        return requests.AuthorizeCall(**(fields | more))

    def down(self, call: requests.AuthorizeCall) -> Flow[Any]:
        flow = flows.authorize_or_degrade(call)
        send = next(flow)
        assert isinstance(send, Send)
        for _ in range(2):
            assert isinstance(flow.throw(Unreachable("down")), Pause)
            flow.send(None)
        return flow

    def test_a_read_that_the_chain_covers_continues_in_open_mode(self) -> None:
        one = held()
        flow = self.down(self.call(one))
        invoke = invoked(flow.throw(Unreachable("down")))
        assert (invoke.payload.aud, invoke.payload.prf) == (SERVICE, list(one.chain))
        grant = ends(flow, SIGNED)
        assert (bool(grant), grant.degraded, grant.ucan) == (True, True, "a.b.c")
        assert (grant.chain, grant.resource) == (one.chain, REPO)

    def test_a_call_beyond_all_chains_is_never_degraded(self) -> None:
        flow = self.down(self.call(held(), covered=False))
        with pytest.raises(Unreachable):
            flow.throw(Unreachable("down"))

    def test_a_chain_that_names_no_service_gives_no_token(self) -> None:
        flow = self.down(self.call(held(audience=None)))
        with pytest.raises(StopIteration) as stop:
            flow.throw(Unreachable("down"))
        assert (stop.value.value.degraded, stop.value.value.ucan) == (True, None)

    def test_an_unexpired_earlier_allow_is_preferred(self) -> None:
        one = held()
        own = parent_chain.offline_grant(one, question(args={"state": "open"}), AGENT, 3.0)
        assert own is not None
        assert (own.args, own.clock_offset) == ({"state": "open"}, 3.0)
        earlier = changed(own, args=None, chain=chain("/github/issue/list"), clock_offset=0.0)
        flow = self.down(self.call(one, held=(earlier, own)))
        assert invoked(flow.throw(Unreachable("down"))).payload.prf == list(earlier.chain)
        assert earlier.expires_at is not None
        late = changed(earlier, expires_at=earlier.expires_at.replace(year=2020))
        flow = self.down(self.call(one, held=(late, own)))
        assert invoked(flow.throw(Unreachable("down"))).payload.prf == list(one.chain)

    def test_an_allow_of_a_prefix_has_no_token_to_reuse(self) -> None:
        own = parent_chain.offline_grant(held(), question(), AGENT)
        assert own is not None
        flow = self.down(self.call(held(), held=(changed(own, commands=(LIST,)),)))
        with pytest.raises(StopIteration) as stop:
            flow.throw(Unreachable("down"))
        assert (stop.value.value.degraded, stop.value.value.commands) == (True, (LIST,))


def test_the_chain_that_a_longer_chain_extends_is_found() -> None:
    one, two = held("/github/repo"), held()
    below = chain_of([*two.chain, "x.y.z"])
    assert parent_chain.narrowed_by([one, two], below) == two.chain
    assert parent_chain.narrowed_by([one, two], two.chain) == two.chain
    assert parent_chain.narrowed_by([one], below) is None
    assert parent_chain.narrowed_by([one], None) is None
