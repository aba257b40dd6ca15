"""Registered services in processes of their own, and agents that call them."""

from __future__ import annotations

import time
from typing import Any

import anyio
import httpx
import pytest
from ticketing import CLOSE, LIST, OPS, SEVEN, Served, System

from nomos import AsyncAuthGuard, AuthGuard, Capability, Grant, InvalidRequest
from nomos._sealed import changed
from nomos.errors import WrongAudience

BOARD = {"provider": "tickets", "queue": "board"}
CAREFUL = {"provider": "tickets", "queue": "careful"}


def code(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json().get("error_code")


def approved(system: System, **question: Any) -> Grant:
    """Return the grant for a question that a person said yes to."""
    asked = {"command": LIST, "resource": CAREFUL, "audience": system.tickets, **question}
    envelope = system.guard.authorize(**asked).approval_envelope_id
    assert envelope is not None
    system.guard.approvals.decide(envelope, approve=True)
    return system.guard.authorize(**asked, cosigner_envelope_id=envelope).require()


def to_another(grant: Grant, audience: str) -> dict[str, str]:
    """Sign a call at another service, as an agent could that does not keep to the SDK."""
    return changed(grant, audience=audience).headers(audience=audience)


def test_a_service_accepts_a_grant_for_it(system: System, tickets: Served) -> None:
    grant = system.grant(LIST, BOARD).require()
    assert grant.audience == tickets.did
    answer = tickets.list(grant.headers(audience=tickets.did), queue="board")
    assert answer.json() == {"tickets": {"8": "Salaries"}, "asked_by": grant.agent}
    assert tickets.list({"authorization": f"Bearer {grant.ucan}"}, queue="board").is_success


def test_the_async_guard_gets_and_signs_the_same_grant(system: System, tickets: Served) -> None:
    async def ask() -> dict[str, str]:
        guard = AsyncAuthGuard(
            control_plane_url=system.guard.control_plane_url, api_key=system.guard.api_key
        )
        async with guard:
            grant = await guard.authorize(command=LIST, resource=OPS, audience=tickets.did)
            return await grant.require().headers(audience=tickets.did)

    assert tickets.list(anyio.run(ask)).is_success


def test_a_token_that_is_forwarded_is_refused_everywhere_else(
    system: System, tickets: Served, other: Served
) -> None:
    here = system.grant(LIST, OPS).require().headers()
    there = system.grant(LIST, OPS, audience=other.did).require().headers()
    pdp = system.guard.authorize(command=LIST, resource=OPS).require().headers()
    assert tickets.list(here).is_success
    assert other.list(there).is_success

    refused = [other.list(here), tickets.list(there), tickets.list(pdp), other.list(pdp)]
    assert [code(answer) for answer in refused] == [(401, "audience_mismatch")] * 4
    assert refused[0].json()["fix"] == f"authorize with audience={other.did!r}"
    assert tickets.did not in refused[0].text
    for headers in (here, there):
        answer = httpx.get(f"{system.guard.pdp_url}{LIST}?queue=ops", headers=headers)
        assert code(answer) == (401, "audience_mismatch")


def test_a_grant_signs_for_its_own_service_alone(system: System, other: Served) -> None:
    grant = system.grant(LIST, OPS).require()
    with pytest.raises(WrongAudience, match=f"not {other.did}") as wrong:
        grant.headers(audience=other.did)
    assert wrong.value.code == "audience_mismatch"

    async def elsewhere() -> None:
        guard = AsyncAuthGuard(
            control_plane_url=system.guard.control_plane_url, api_key=system.guard.api_key
        )
        async with guard:
            mine = await guard.authorize(command=LIST, resource=OPS, audience=system.tickets)
            with pytest.raises(WrongAudience, match=f"not {other.did}"):
                await mine.require().headers(audience=other.did)

    anyio.run(elsewhere)


def test_a_grant_is_refused_elsewhere_whatever_audience_its_holder_signs(
    system: System, tickets: Served, other: Served
) -> None:
    """Also in the hands of a child, and with the same resources at both."""
    grant = system.grant(LIST, OPS).require()
    assert tickets.list(to_another(grant, tickets.did)).is_success
    pdp = str(system.guard.authorize(command=LIST, resource=OPS).audience)
    assert code(other.list(to_another(grant, other.did))) == (401, "audience_mismatch")
    url = f"{system.guard.pdp_url}{LIST}?queue=ops"
    answer = httpx.get(url, headers=to_another(grant, pdp))
    assert code(answer) == (401, "audience_mismatch")
    open_to_all = system.guard.authorize(command="/tickets", resource=OPS).require()
    signed = changed(open_to_all, audience=tickets.did)
    assert code(tickets.list(signed.headers(command=LIST))) == (401, "audience_mismatch")


def test_an_unregistered_service_gets_no_grants(system: System) -> None:
    with pytest.raises(InvalidRequest) as refused:
        system.grant(LIST, OPS, audience=system.issuer)
    assert refused.value.fields == ("audience",)


def test_a_write_works_once_per_token(system: System, tickets: Served) -> None:
    grant = system.grant(CLOSE, SEVEN, args={"comment": "put out"}).require()
    headers = grant.headers()
    assert code(tickets.close(headers, "something else")) == (403, "resource_mismatch")
    done = tickets.close(headers, "put out")
    assert done.json() == {"closed": 7, "comment": "put out", "receipt": grant.receipt_id}
    for _ in range(2):
        assert code(tickets.close(headers, "put out")) == (401, "replayed")
    assert tickets.close(grant.headers(), "put out").is_success


def test_a_child_calls_a_service_without_the_control_plane(
    system: System, tickets: Served, other: Served
) -> None:
    grant = system.grant("/tickets", OPS).require()
    wanted = Capability(LIST, OPS)
    with (
        system.guard.fork_child(parent_chain=grant.chain, capabilities=[wanted]) as child,
        AuthGuard.from_env(child.env()) as guard,
    ):
        # Without `audience`: the service that the parent's grant was for.
        headers = guard.headers(command=LIST, resource=OPS)
        answer = tickets.list(headers)
        assert answer.is_success
        assert answer.json()["asked_by"] != grant.agent
        assert code(other.list(headers)) == (401, "audience_mismatch")
        with pytest.raises(WrongAudience, match="authorize"):
            guard.headers(command=LIST, resource=OPS, audience=other.did)
        assert code(tickets.list(headers, queue="board")) == (403, "resource_mismatch")
        assert code(tickets.close(headers, "x")) == (403, "resource_mismatch")


def test_an_approval_is_valid_for_one_call_at_its_service(
    system: System, tickets: Served, other: Served
) -> None:
    grant = approved(system)
    assert code(other.list(to_another(grant, other.did), queue="careful")) == (
        401,
        "audience_mismatch",
    )
    assert tickets.list(grant.headers(), queue="careful").is_success
    for headers in (grant.headers(), {"authorization": f"Bearer {grant.ucan}"}):
        assert code(tickets.list(headers, queue="careful")) == (403, "approval_already_used")


def test_an_approved_write_works_once_too(system: System, tickets: Served) -> None:
    comment = {"comment": "put out"}
    resource = {**CAREFUL, "number": 7}
    grant = approved(system, command=CLOSE, resource=resource, args=comment)
    # Past the guard, the route knows no such ticket: the approval is used all the same.
    assert tickets.close(grant.headers(), "put out", queue="careful").status_code == 404
    answer = tickets.close(grant.headers(), "put out", queue="careful")
    assert code(answer) == (403, "approval_already_used")


def test_a_revoked_grant_is_refused_within_five_seconds(system: System, tickets: Served) -> None:
    grant = system.grant(LIST, OPS).require()
    assert tickets.list(grant.headers()).is_success
    system.guard.revoke(grant)
    until = time.monotonic() + 5
    while (answer := tickets.list(grant.headers())).is_success:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert code(answer) == (401, "revoked")
