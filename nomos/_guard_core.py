"""`GuardCore`: the flows of both guards, with the state that they need between calls.

It performs no I/O. It supplies the flows with times, nonces, remembered grants and refusals.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
import warnings
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from nomos._child import Child
from nomos._core import approvals, clock, flows, parent_chain, records, requests, retry
from nomos._core.answer_check import is_resource
from nomos._core.effects import Flow, Send, rewritten
from nomos._core.fork_request import fork
from nomos._core.parent_env import ROOT, as_parent_chain, clock_variable
from nomos._core.recent_denials import RecentDenials
from nomos._core.requests import AuthorizeCall
from nomos._core.tokens import approved
from nomos._grant import bearer
from nomos._identity import Chains, Identity, forked_by
from nomos._io.deadline import Deadline
from nomos._io.http import Endpoint
from nomos._io.signer import SignerConnection, shared
from nomos._io.urls import INSECURE_HOSTS
from nomos._json import encode
from nomos._settings import FailureMode
from nomos.approvals import Approval
from nomos.errors import (
    AuthenticationError,
    ConfigurationError,
    ControlPlaneError,
    ExpiredChain,
    InvalidResponse,
    PermissionDenied,
    RateLimited,
    ServerError,
    SignerError,
    Unreachable,
)
from nomos.models import GrantBase, Question, describe_resource
from nomos.receipts import ReceiptBase, Revocation

MAX_HELD: Final = 1000
"""How many allows a guard remembers for `failure_mode="open"`, and how many open approvals."""

Revocable = Child | Chains | str
"""What `revoke` takes: a child, a grant, a chain, several chains, or an id."""

_log = logging.getLogger("nomos")

T = TypeVar("T")


class FailOpenWarning(UserWarning):
    """A read was allowed without a decision, because the control plane could not be reached."""


class GuardCore:
    """A guard's identity, inherited chains, remembered decisions, and the flows that use them."""

    def __init__(
        self,
        *,
        standing: Identity,
        endpoint: Endpoint,
        pdp_url: str | None,
        failure_mode: FailureMode,
        insecure_hosts: Collection[str],
    ) -> None:
        self._standing = standing
        self._endpoint = endpoint
        self._pdp_url = pdp_url
        self._insecure_hosts = insecure_hosts
        self._failure_mode = failure_mode
        self._did: str | None = None
        self._entered: parent_chain.AgentIdentity | None = None
        self._clock_offset = float(standing.clock_offset or 0)
        self._clock_known = standing.clock_offset is not None
        self._time_tried = False
        self._taken_back = False
        self._held: OrderedDict[bytes, GrantBase] = OrderedDict()
        self._refusals = RecentDenials(time.monotonic)
        self._put_to_people: OrderedDict[str, Question] = OrderedDict()
        self._linked: SignerConnection | None = None

    @property
    def _link(self) -> SignerConnection:
        if self._linked is None:
            self._linked = shared()
        return self._linked

    def _load_identity(self) -> Flow[str]:
        """Load this guard's key into the signing binary, once; return its DID."""
        if self._did is None:
            did = yield from flows.identify(self._standing.seed)
            self._link.retain(did, self)
            self._did = did
        return self._did

    def _resolve_identity(self) -> Flow[parent_chain.AgentIdentity]:
        """Return this guard's identity; the inherited chains are verified on first use."""
        if self._entered is None:
            did = yield from self._load_identity()
            try:
                self._entered = yield from self._verify_parent_chains(did)
            except ExpiredChain:
                # The chain was not valid by this clock. This clock, or the issuer's, may be wrong.
                yield from self._learn_clock_offset()
                try:
                    self._entered = yield from self._verify_parent_chains(did)
                except ExpiredChain as late:
                    offset = self._clock_offset if self._clock_known else None
                    late.args = (f"{late}. {clock.difference(offset)}",)
                    raise
        return self._entered

    def _verify_parent_chains(self, did: str) -> Flow[parent_chain.AgentIdentity]:
        parent, setting = self._standing.parent, self._standing.setting
        return parent_chain.verify_parent(parent, did, now=self._now(), setting=setting)

    def _learn_clock_offset(self) -> Flow[None]:
        offset = yield from clock.learn()
        self._clock_known = offset is not None
        if offset is not None:
            self._clock_offset = offset

    def _with_credentials(self, flow: Flow[T]) -> Flow[T]:
        """Return a request with a freshly signed token, for a child without an API key."""
        return rewritten(flow, Send, self._signed) if self._uses_parent_chain else flow

    def _signed(self, send: Send) -> Flow[Send]:
        """Return a request with such a token, signed afresh for each try."""
        if send.public:
            return send
        me = yield from self._resolve_identity()
        if not (self._clock_known or self._time_tried):
            # The control plane rejects tokens that are not valid by its own clock.
            self._time_tried = True
            yield from self._learn_clock_offset()
        return (yield from parent_chain.signed(send, me, now=self._now(), nonce=_nonce()))

    @property
    def _uses_parent_chain(self) -> bool:
        return self._endpoint.api_key is None and bool(self._standing.parent)

    def _now(self) -> int:
        """Return Unix time by the control plane's clock, as far as the difference is known."""
        return int(time.time() + self._clock_offset)

    def _authorize_flow(self, question: Question, idempotency_key: str | None) -> Flow[GrantBase]:
        if self._failure_mode == "closed":
            call = yield from self._call(question, idempotency_key)
            return (yield from flows.authorize(call))
        try:
            call = yield from self._call(question, idempotency_key)
        except SignerError as trouble:
            # A parent's chain cannot be verified without the signing binary.
            if self._standing.parent:
                raise
            flows.must_be_passable(question, trouble, self._refusals)
            return flows.allow_without_decision(question, trouble)
        try:
            return (yield from flows.authorize_or_degrade(call))
        except ControlPlaneError as refused:
            self._remember_error(question, refused)
            raise

    def _remember_error(self, question: Question, refused: ControlPlaneError) -> None:
        """Remember an error that is not an outage: a later outage must not allow the call."""
        match refused:
            case Unreachable() | ServerError() | InvalidResponse() | RateLimited():
                return
            case AuthenticationError() | PermissionDenied():
                self._refusals.remember_all(f"the control plane rejected this caller ({refused})")
            case _:
                self._refusals.remember(question, str(refused))

    def _call(self, question: Question, idempotency_key: str | None) -> Flow[AuthorizeCall]:
        me = yield from self._resolve_identity()
        call_id = idempotency_key or secrets.token_urlsafe(16)
        call = AuthorizeCall(
            question=question,
            agent=me.agent,
            idempotency_key=requests.idempotency_key(
                call_id, me.agent, question.cosigner_envelope_id
            ),
            nonce=_nonce(),
            jitter=(random.random(), random.random()),  # noqa: S311 - spreads retries, no secret
            now=time.time(),
        )
        own: GrantBase | None = None
        if me.held:
            held, covered = parent_chain.select_chain(me.held, question, now=self._now())
            covered = covered and not self._taken_back
            call = replace(call, parent=held.chain, covered=covered)
            own = parent_chain.offline_grant(held, question, me.agent, self._clock_offset)
        if self._failure_mode == "closed":
            return call
        known = (self._held.get(_memory_key(question)), own)
        usable = tuple(grant for grant in known if grant is not None)
        return replace(call, held=usable, refusals=self._refusals)

    def _headers_flow(self, question: Question) -> Flow[dict[str, str]]:
        me = yield from self._resolve_identity()
        if not me.held:
            raise ConfigurationError(
                "guard.headers signs by a chain inherited from a parent, and this guard is a "
                "root: authorize first and use grant.headers",
                setting="parent",
            )
        return bearer(
            (yield from parent_chain.headers(me, question, now=self._now(), nonce=_nonce()))
        )

    def _fork_flow(
        self, wanted: Sequence[Mapping[str, Any]], parent_chain: Chains | None, *, several: bool
    ) -> Flow[tuple[Child, ...]]:
        did = yield from self._load_identity()
        own, setting = self._standing.parent, "parent_chain"
        if parent_chain is None:
            if not own:
                raise ConfigurationError(f"{setting} is not given: {ROOT}", setting=setting)
            parent, setting = own, self._standing.setting
        else:
            parent = as_parent_chain(parent_chain, most=own.max_depth)
        forking = forked_by(did, parent, wanted, now=self._now(), setting=setting, several=several)
        extra = {"NOMOS_CONTROL_URL": self._endpoint.url}
        if self._pdp_url is not None:
            extra["NOMOS_PDP_URL"] = self._pdp_url
        extra |= clock_variable(self._clock_offset if self._clock_known else None)
        if self._insecure_hosts:
            extra[INSECURE_HOSTS] = ",".join(sorted(self._insecure_hosts))
        forked = yield from fork(forking)
        return tuple(Child._of(each, extra) for each in forked)  # noqa: SLF001 - made by forks

    def _pauses(self) -> tuple[float, ...]:
        return retry.delays((random.random(), random.random()))  # noqa: S311 - as above

    def _wait_flow(self, envelope_id: str, timeout: float) -> Flow[Approval]:
        jitter = random.random()  # noqa: S311 - as above
        found = yield from approvals.wait(approvals.Waiting(envelope_id, timeout, jitter))
        asked = self._put_to_people.get(found.id)
        if asked is not None and not self._is_about_call(found, asked):
            raise InvalidResponse(
                f"approval {found.id} was requested for {asked.command} on "
                f"{describe_resource(asked.resource)}, but the control plane returned it for "
                f"{found.command} on {describe_resource(found.resource)}"
            )
        if found.state in ("denied", "expired"):
            why = f"approval {found.id} is {found.state}"
            self._refusals.remember_call(found.command, found.resource, why)
        return found

    def _is_about_call(self, approval: Approval, asked: Question) -> bool:
        same_resource = is_resource(asked.resource, approval.resource)
        return (approval.command, approval.agent) == (asked.command, self._did) and same_resource

    def _deadline(self) -> Deadline:
        return Deadline(self._endpoint.timeout)

    def _wait_for_decision(self, timeout: float) -> Deadline:
        return Deadline(approvals.longest(timeout, self._endpoint.timeout))

    def _revoke_flow(self, what: Revocable, reason: str | None) -> Flow[Revocation]:
        if isinstance(what, Child):
            what = what.chains
        elif isinstance(what, GrantBase) and what.chain and self._uses_parent_chain:
            what = what.chain  # without an API key, the chain proves who may revoke it
        targets = records.named(what)
        self._held.clear()  # an outage must not allow what is being revoked
        held = (yield from self._resolve_identity()).held if self._uses_parent_chain else ()
        for target in targets:
            by = parent_chain.narrowed_by(held, target.chain)
            revoked = yield from records.revoke(target, reason=reason, by=by, pauses=self._pauses())
        return revoked

    def _receipt_flow(self, receipt_id: str) -> Flow[ReceiptBase]:
        return records.receipt(receipt_id, self._pauses())

    def _cache_grant(self, question: Question, grant: GrantBase) -> GrantBase:
        """Remember a decision for outages, and warn about a degraded grant."""
        if not grant.degraded:
            self._clock_offset, self._clock_known = grant.clock_offset, True
            self._taken_back = grant.reason == "revoked"
            if self._taken_back:
                self._held.clear()
            self._remember(question, grant)
        if grant.approval_envelope_id is not None:
            self._put_to_people[grant.approval_envelope_id] = question
            while len(self._put_to_people) > MAX_HELD:
                self._put_to_people.popitem(last=False)
        if grant.degraded:
            message = (
                f"{grant.command} allowed without a decision (failure_mode='open'): "
                f"{grant.explanation.message}"
            )
            _log.warning(message)
            warnings.warn(message, FailOpenWarning, stacklevel=3)
        elif self._failure_mode == "open":
            key = _memory_key(question)
            self._held.pop(key, None)
            if grant and not approved(grant.chain):
                self._held[key] = grant
            while len(self._held) > MAX_HELD:
                self._held.popitem(last=False)
        return grant

    def _remember(self, question: Question, grant: GrantBase) -> None:
        """Remember a refusal; forget it when the same question is allowed later."""
        if self._taken_back:
            self._refusals.remember_all("this caller, or the chain that it acts by, was revoked")
            return
        self._refusals.answered()
        if not grant:
            self._refusals.remember(question, grant.reason or grant.decision)
        elif not approved(grant.chain):
            self._refusals.forget(question)


def _nonce() -> str:
    return secrets.token_urlsafe(16)


def _memory_key(question: Question) -> bytes:
    bound = (question.audience, question.pol)
    same = (question.command, question.resource, question.args, *bound)
    return encode({"question": same}, sort=True)
