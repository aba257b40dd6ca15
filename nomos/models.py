"""The nouns of Nomos, as frozen values.

They import nothing of ours but `errors`, and none of them does I/O. Secrets have their own
type, `Secret`, which does not print, pickle or compare by accident.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal, NoReturn, Self, overload
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from nomos._sealed import SealedRecord, make
from nomos.errors import ConfigurationError, Denied, MalformedChain, StepUpRequired

Did = Annotated[str, Field(pattern=r"^did:key:z6Mk[1-9A-HJ-NP-Za-km-z]{44}$", max_length=64)]
"""An Ed25519 did:key in its canonical form (multicodec 0xed01, base58btc)."""

Command = Annotated[str, Field(pattern=r"^/[a-z0-9_-]+(/[a-z0-9_-]+)*$", max_length=256)]
"""What is to be done, as a path: `/github/issue/list`."""

Decision = Literal["allow", "deny", "requires_step_up"]

VerificationCode = Literal[
    "malformed_ucan",
    "bad_signature",
    "expired",
    "not_yet_valid",
    "chain_invalid",
    "chain_too_deep",
    "chain_attenuation_violation",
    "untrusted_issuer",
    "revoked",
    "revocations_stale",
    "audience_mismatch",
    "resource_out_of_scope",
    "resource_mismatch",
]
"""Why a token does not verify."""

DenyReason = (
    VerificationCode
    | Literal[
        "policy_denied",
        "policy_error",
        "command_unknown",
        "step_up_required",
        "approval_denied",
        "approval_expired",
        "approval_not_found",
        "approval_mismatch",
        "approval_already_used",
        "replayed",
    ]
)
"""Why the answer is no: a closed set, the same for the control plane and the PDP."""

Resource = dict[str, Any]
"""`{"provider": "github", "owner": "acme", "repo": "app"}`."""

DEFAULT_TTL_SECONDS: Final = 300
MAX_TTL_SECONDS: Final = 3600
MAX_CHAIN_DEPTH: Final = 8
MAX_PURPOSE: Final = 280
MAX_ARGS_BYTES: Final = 16 * 1024
MAX_CONTEXT_BYTES: Final = 4 * 1024
LEEWAY_SECONDS: Final = 0
"""By how much the clocks of a signer and a verifier may differ, unless a verifier is told more."""
MAX_LEEWAY_SECONDS: Final = 60
"""The most that any verifier can be told."""


class Secret:
    """A string that must not leak: shown as `Secret(…)`, never pickled or formatted.

    `wipe` overwrites the copy that is kept here. Strings that `reveal` returned, and the one that
    it was made from, are freed by Python without being overwritten.
    """

    __slots__ = ("_value", "_wiped")

    def __init__(self, value: str) -> None:
        self._value = bytearray(value, "utf-8", "surrogatepass")
        self._wiped = False

    def reveal(self) -> str:
        """Return the string itself, for the one place that needs it.

        Raises `ConfigurationError` after `wipe`.
        """
        if self._wiped:
            raise ConfigurationError(
                "this secret was wiped when its owner was closed; make a new one", setting="guard"
            )
        return self._value.decode("utf-8", "surrogatepass")

    def copy(self) -> Secret:
        """Return the same secret, for an owner that may wipe its own."""
        return Secret(self.reveal())

    def wipe(self) -> None:
        """Overwrite the secret and forget it. Idempotent."""
        self._value[:] = bytes(len(self._value))
        self._wiped = True

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied to another process")


class Value(BaseModel):
    """Base of all values: closed and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Question(Value):
    """What an agent asks before it acts: may `command` be done to `resource`.

    `args` are the call's other parameters: None leaves them unbound, a mapping binds them.
    `purpose` is for people and policy, `context` holds facts that the agent itself asserts.
    `pol` are further statements of UCAN 1.0 policy that must hold for each call.
    """

    command: Command
    resource: Mapping[str, Any]
    args: Mapping[str, Any] | None = None
    ttl_seconds: int = Field(default=DEFAULT_TTL_SECONDS, ge=1, le=MAX_TTL_SECONDS, strict=True)
    audience: str | None = None
    purpose: str | None = Field(default=None, max_length=MAX_PURPOSE)
    context: Mapping[str, Any] | None = None
    cosigner_envelope_id: str | None = None
    pol: tuple[Any, ...] = ()


def _within_reason(moment: datetime) -> datetime:
    """Refuse times that arithmetic with clock offsets could carry out of range."""
    if not 1970 < moment.year < 9000:
        raise ValueError("a time between 1971 and 8999 is expected")
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_within_reason)]
Line = Annotated[str, Field(max_length=1024)]


def web_address(url: str) -> str:
    """Return a URL that a person may be sent to; raises `ValueError` for any other.

    That is http(s) with a host, in printable ASCII, and without a user name or password, which
    could make it look like another one.
    """
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc
        wrong = wrong or parts.port == 0
    except ValueError:
        wrong = True
    if wrong or not url.isascii() or not url.isprintable() or not {*' "<>\\'}.isdisjoint(url):
        raise ValueError("an http(s) URL without a user name is expected")
    return url


WebAddress = Annotated[str, Field(max_length=1024), AfterValidator(web_address)]
"""Where a person can go: shown to people, and never opened by the SDK."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]


class ResponseModel(BaseModel):
    """Base of what the control plane tells: members that a newer one adds are left out."""

    model_config = ConfigDict(
        alias_generator=to_camel, frozen=True, extra="ignore", hide_input_in_errors=True
    )


class OpenField(SealedRecord):
    """A policy, and a field that it looks at and that was left open (`resource.queue`)."""

    _source: ClassVar = "a grant's `explanation`"

    policy: str
    field: str


class Explanation(SealedRecord):
    """Which policies decided, by name, and what a person may want to know beyond that.

    `fields` are those in which an approval is for another question. `open` is what a grant for a
    service, which decides nothing by policy, has to name.
    """

    _source: ClassVar = "a grant's `explanation`"

    policies: tuple[str, ...] = ()
    message: str | None = None
    fields: tuple[str, ...] = ()
    open: tuple[OpenField, ...] = ()


_UNEXPLAINED: Final = make(Explanation)


class Chain(SealedRecord, Sequence[str]):
    """Delegations as JWTs, root first. It reads as a tuple of strings and never prints them.

    Elsewhere a chain travels as a list of strings, `list(chain)`: whatever takes a chain takes that
    too, and checks it.
    """

    _source: ClassVar = "a grant, a child or read_parent_chain_from_env"
    _stored: ClassVar = "a chain travels as a list of strings, list(chain)"
    _links: tuple[str, ...]

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Chain: ...
    def __getitem__(self, index: int | slice) -> str | Chain:
        return chain_of(self._links[index]) if isinstance(index, slice) else self._links[index]

    def __len__(self) -> int:
        return len(self._links)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chain) and self._links == other._links

    def __hash__(self) -> int:
        return hash(self._links)

    def __repr__(self) -> str:
        count = len(vars(self).get("_links", ()))
        return f"Chain({count} links)" if count != 1 else "Chain(1 link)"


def chain_of(links: Iterable[str]) -> Chain:
    """Return a chain of these tokens; for the code that reads and checks them."""
    return make(Chain, _links=tuple(links))


@dataclass(frozen=True)
class Capability:
    """One thing that a chain is for: `command` and all beneath it, on `resource`.

    `resource` is the constraint: what has all of its fields with equal values is covered, and a
    `path` covers what lies beneath it. `pol` are UCAN 1.0 policy statements about the call.
    """

    command: str
    resource: Resource
    pol: tuple[Any, ...] = ()


class ParentChain(SealedRecord):
    """The authority that a parent handed to this process; falsy if there is none.

    `parent_receipt_id` names the record of the grant that it began with, `swarm_id` the family
    of processes, `max_depth` how many delegations a chain may have. Tokens are not in its `repr`.
    """

    _source: ClassVar = "read_parent_chain_from_env"
    _stored: ClassVar = "a chain travels as a list of strings, list(parent.chain)"

    chains: tuple[Chain, ...] = ()
    parent_receipt_id: str | None = None
    swarm_id: str | None = None
    max_depth: int = MAX_CHAIN_DEPTH

    def __bool__(self) -> bool:
        return bool(self.chains)

    @property
    def chain(self) -> Chain:
        """The one chain, empty without a parent. Raises `MalformedChain` if there are several."""
        return only_chain(self.chains)


def only_chain(chains: Sequence[Chain]) -> Chain:
    """Return the one chain of these, an empty one if there is none."""
    if len(chains) > 1:
        raise MalformedChain(
            f"there are {len(chains)} chains, one for each capability: use .chains",
            code="malformed_ucan",
        )
    return chains[0] if chains else NO_CHAIN


_MEANS: Final = {
    "approval_denied": "a person said no",
    "approval_expired": "nobody decided in time, or the approval was not used in time",
    "approval_not_found": "there is no such approval for this app",
    "approval_mismatch": "a person approved another question than this one",
    "approval_already_used": "an approval counts once, and this one was used",
}


NO_CHAIN: Final = chain_of(())


class GrantBase(SealedRecord):
    """The answer to one question. Truthy only for an allow.

    `ucan` is the invocation that a PDP or service takes as `Bearer`; None unless allowed.
    A grant of a command prefix has no `ucan`, for that is for one call: `commands` lists what it
    covers, and `headers(command=…)` signs one of them.
    `reason` is one of `DenyReason` when the answer is not an allow. `expires_at` is an aware
    UTC time. `degraded` marks an allow that no control plane gave (`failure_mode="open"`).
    Tokens are left out of `repr`.
    """

    _source: ClassVar = "guard.authorize"
    _stored: ClassVar = (
        "its authority stays in this process. Store its `receipt_id` (and `approval_envelope_id`, "
        "with the question), and authorize again where the state is read"
    )
    _unshown: ClassVar = frozenset(("ucan", "clock_offset"))

    decision: Decision
    command: str
    resource: Resource
    args: dict[str, Any] | None = None
    ucan: str | None = None
    reason: str | None = None
    explanation: Explanation = _UNEXPLAINED
    receipt_id: str | None = None
    expires_at: datetime | None = None
    audience: str | None = None
    chain: Chain = NO_CHAIN
    commands: tuple[str, ...] = ()
    approval_envelope_id: str | None = None
    approval_url: str | None = None
    degraded: bool = False
    agent: str | None = None
    issuer: str | None = None
    clock_offset: float = 0.0

    def __bool__(self) -> bool:
        return self.decision == "allow"

    def require(self) -> Self:
        """Return the grant if it allows; raise `Denied` or `StepUpRequired` if it does not."""
        if self.decision == "allow":
            return self
        if self.decision == "requires_step_up":
            raise StepUpRequired(
                self._question(),
                approval_envelope_id=self.approval_envelope_id,
                grant=self,
            )
        raise Denied(self._refusal(), code=self.reason or "policy_denied", grant=self)

    def _refusal(self) -> str:
        means = _MEANS.get(self.reason or "")
        reason = f"{self.reason} ({means})" if means else self.reason
        return self._described(f"is denied: {reason}", "decided by policy")

    def _question(self) -> str:
        until = f" until {self.expires_at:%Y-%m-%d %H:%M:%S %Z}" if self.expires_at else ""
        envelope = self.approval_envelope_id
        return self._described(
            f"needs a person's approval{until}",
            "asked for by policy",
            f"decide at: {self.approval_url}" if self.approval_url else None,
            f"wait: guard.wait_for_approval({envelope!r}); "
            f"then authorize again with cosigner_envelope_id={envelope!r}",
        )

    def _described(self, answer: str, policy: str, *more: str | None) -> str:
        first = f"{self.command} on {describe_resource(self.resource)} {answer}"
        named = (f"{policy}: {name}" for name in self.explanation.policies)
        receipt = f"receipt: {self.receipt_id}" if self.receipt_id else None
        rest = (self.explanation.message, *named, *more, receipt)
        return "\n".join([first, *(f"  {line}" for line in rest if line)])


class Verified(SealedRecord):
    """What a token proved to a service, for the one call that it was verified for.

    `agent` signed the call and `root` is the issuer that it all goes back to. `chain` has the
    cids of the delegations between them, root first, `lineage` those that the root took the
    place of, and `depth` counts both. `receipt` names the record of the decision behind the
    root, `swarm` the family of agents, where the issuer said so. `cid` and `nonce` are the
    call's own, `expires_at` its end, an aware UTC time. `record` is the receipt of a verifier
    that signs them. No token is in here.
    """

    _source: ClassVar = "verifier.verify"
    _stored: ClassVar = "store its `receipt` and `cid`, or what you need of its fields"
    _unshown: ClassVar = frozenset(("record",))
    _uncompared: ClassVar = frozenset(("record",))

    @classmethod
    def _advice(cls) -> str:
        return (
            "declare the route's parameter as `Annotated[Verified, Depends(requires(...))]`, with "
            "`requires` of nomos.integrations.fastapi; a response is made of its fields"
        )

    agent: str
    root: str
    chain: tuple[str, ...]
    depth: int
    command: str
    resource: Resource
    args: dict[str, Any]
    expires_at: datetime
    receipt: str | None = None
    swarm: str | None = None
    lineage: tuple[str, ...] = ()
    cid: str
    nonce: str
    record: str | None = None


def describe_resource(resource: Mapping[str, Any]) -> str:
    """Return a resource in a form for people: `github owner=acme repo=app`."""
    rest = " ".join(f"{key}={value}" for key, value in resource.items() if key != "provider")
    return f"{resource.get('provider', '?')} {rest}".rstrip()
