"""The flow of one verification, with scripted answers of binary and view."""

from __future__ import annotations

from typing import Any

import pytest
from vectors.forge import ISSUER, NOW, SERVICE, root
from verifiers import RESOURCE, TO_WRITE, TOKEN

from nomos._core import signing, verification
from nomos._core.call import RequestedCall
from nomos._core.effects import Flow, Sign
from nomos._core.revocation_status import NEVER, RevocationStatus
from nomos._core.token_verification import VerifierRules, verify, verify_claims
from nomos._core.unverified import UnverifiedChain, read_chain
from nomos._core.verification import (
    ClaimNonce,
    LookupRevocations,
    RevocationResult,
    RevocationRules,
)
from nomos._io.signer import Signer, shared
from nomos._protocol import Hello, Refused, Verified, Verify
from nomos.errors import Denied, SignerError
from nomos.models import chain_of

RULES = VerifierRules((ISSUER.did,), SERVICE.did, 8)
CALL = RequestedCall("/github/issue/list", RESOURCE, {})


def begun(
    token: str = TOKEN, rules: VerifierRules = RULES, call: RequestedCall = CALL
) -> tuple[Flow[Any], Verify]:
    """A flow up to its question to the binary."""
    flow = verify(rules, token, call, NOW)
    among = next(flow)
    assert isinstance(among, LookupRevocations)
    sign = flow.send(RevocationStatus(frozenset()))
    assert isinstance(sign, Sign)
    assert isinstance(sign.request, Verify)
    return flow, sign.request


def answered(question: Verify) -> Verified:
    answer = Signer(shared()).ask(question)
    assert isinstance(answer, Verified), answer
    return answer


def test_an_answer_about_the_looked_up_token_is_accepted() -> None:
    flow, question = begun()
    right = answered(question)
    with pytest.raises(StopIteration) as stop:
        flow.send(right)
    assert stop.value.value.cid == right.cid


@pytest.mark.parametrize(
    "change",
    [
        {"cid": "ab" * 32},
        {"cid": None},
        {"cids": ["ab" * 32]},
        {"cids": []},
        {"root": SERVICE.did},
        {"agent": SERVICE.did},
        {"lineage": ["ab" * 32]},
    ],
)
def test_an_answer_about_another_token_is_an_error(change: dict[str, Any]) -> None:
    flow, question = begun()
    with pytest.raises(SignerError, match="unexpected response from"):
        flow.send(answered(question).model_copy(update=change))


def test_an_answer_of_another_type_is_an_error() -> None:
    flow, _ = begun()
    with pytest.raises(SignerError, match="unexpected response from"):
        flow.send(Signer(shared()).ask(Hello()))


def test_a_refusal_of_the_request_itself_allows_nothing() -> None:
    flow, _ = begun()
    with pytest.raises(SignerError) as wrong:
        flow.send(Refused(code="internal", message="it failed", hop=1))
    assert (wrong.value.code, wrong.value.hop) == ("internal", 1)


def test_a_token_that_only_the_binary_can_read_is_refused() -> None:
    _, question = begun()
    flow, _ = begun("no.token")
    with pytest.raises(SignerError, match="unexpected response from"):
        flow.send(answered(question))


def test_a_looked_up_revocation_overrides_the_binarys_allow() -> None:
    _, question = begun()
    flow = verify(RULES, TOKEN, CALL, NOW)
    among = next(flow)
    assert isinstance(among, LookupRevocations)
    asked = flow.send(RevocationStatus(among.ids))
    assert isinstance(asked, Sign)
    assert isinstance(asked.request, Verify)
    assert asked.request.revoked == sorted(among.ids)
    with pytest.raises(Denied) as denied:
        flow.send(answered(question))
    assert denied.value.code == "revoked"
    assert all(each in str(denied.value) for each in among.ids)


def test_an_unknown_issuer_set_is_stale_and_not_untrusted() -> None:
    flow, question = begun(rules=VerifierRules((), SERVICE.did, 8))
    refused = Signer(shared()).ask(question)
    assert isinstance(refused, Refused)
    with pytest.raises(Denied) as denied:
        flow.send(refused)
    assert denied.value.code == "revocations_stale"


@pytest.mark.parametrize(("age", "stale", "oldest"), [(9, "refuse", 5), (9, "allow", 9)])
def test_the_age_of_the_view_is_sent_to_the_binary(age: int, stale: Any, oldest: int) -> None:
    flow = verify_claims(
        VerifierRules((ISSUER.did,), SERVICE.did, 8, stale=stale), TOKEN, None, NOW
    )
    next(flow)
    sign = flow.send(RevocationStatus(frozenset(), age_seconds=age))
    assert isinstance(sign, Sign)
    assert isinstance(sign.request, Verify)
    assert sign.request.call is None
    assert (sign.request.revocations_age, sign.request.revocations_max_age) == (age, oldest)


def test_a_failed_view_has_the_maximum_age() -> None:
    flow = verify_claims(
        VerifierRules((ISSUER.did,), SERVICE.did, 8, stale="allow"), TOKEN, None, NOW
    )
    next(flow)
    sign = flow.throw(OSError("down"))
    assert isinstance(sign, Sign)
    assert isinstance(sign.request, Verify)
    assert (sign.request.revocations_age, sign.request.revocations_max_age) == (NEVER, 5)


def test_a_failure_where_revocations_are_stored_is_raised() -> None:
    question = Verify(chain=[root()], now=NOW, max_depth=8, trusted_issuers=[ISSUER.did])
    flow = verification.verify(question, read_chain([root()]), RevocationRules(recorded=True))
    assert isinstance(next(flow), LookupRevocations)
    with pytest.raises(OSError, match="down"):
        flow.throw(OSError("down"))


def test_an_answer_about_a_token_without_a_chain_is_an_error() -> None:
    _, question = begun()
    view = RevocationResult(RevocationStatus(frozenset()), 5)
    flow = verification.ask(question, UnverifiedChain(), view)
    next(flow)
    with pytest.raises(SignerError, match="unexpected response from"):
        flow.send(answered(question))


def test_an_answer_without_a_signature_signs_no_call() -> None:
    act = signing.InvocationSpec(
        agent=SERVICE.did,
        issuer=ISSUER.did,
        audience=SERVICE.did,
        chain=chain_of([root()]),
        command="/github/issue/list",
        args={"resource": RESOURCE},
    )
    flow = signing.sign_verified(act, now=NOW, until=NOW + 60, nonce="n" * 16, max_depth=8)
    assert isinstance(next(flow), Sign)
    with pytest.raises(SignerError, match="unexpected response"):
        flow.send(Signer(shared()).ask(Hello()))


def test_the_error_of_a_failed_view_is_the_cause() -> None:
    flow = verify_claims(RULES, TOKEN, None, NOW)
    next(flow)
    failure = OSError("down")
    sign = flow.throw(failure)
    assert isinstance(sign, Sign)
    assert isinstance(sign.request, Verify)
    with pytest.raises(Denied) as denied:
        flow.send(Signer(shared()).ask(sign.request))
    assert denied.value.code == "revocations_stale"
    assert denied.value.__cause__ is failure


def test_a_failed_view_is_no_cause_of_another_refusal() -> None:
    flow = verify_claims(VerifierRules((SERVICE.did,), SERVICE.did, 8), TOKEN, None, NOW)
    next(flow)
    sign = flow.throw(OSError("down"))
    assert isinstance(sign, Sign)
    assert isinstance(sign.request, Verify)
    with pytest.raises(Denied) as denied:
        flow.send(Signer(shared()).ask(sign.request))
    assert (denied.value.code, denied.value.__cause__) == ("untrusted_issuer", None)


def test_the_repr_of_a_claim_has_no_nonce() -> None:
    flow, question = begun(TO_WRITE, call=RequestedCall("/github/issue/create", RESOURCE, {}))
    use = flow.send(answered(question))
    assert isinstance(use, ClaimNonce)
    assert use.nonce == "invocation-1"
    assert "i-1" not in repr(use)
    with pytest.raises(StopIteration):
        flow.send(True)
