"""Immutable values of the public API: questions, chains, grants, verified calls, secrets.

Of this package the module imports only `errors` and internal modules without I/O. `Secret` holds a
text that must not be printed, pickled or compared by accident.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal, NoReturn, Self, overload
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.json_schema import SkipJsonSchema

from nomos._identifiers import DID_FORM, SHA256_FORM
from nomos._json import encode
from nomos._limits import MAX_STATEMENTS
from nomos._sealed import SealedRecord, make
from nomos._times import in_words
from nomos.errors import ConfigurationError, Denied, MalformedChain, StepUpRequired

Did = Annotated[str, Field(pattern=f"^{DID_FORM}$", max_length=64)]
"""An Ed25519 did:key in its canonical form (multicodec 0xed01, base58btc)."""

Command = Annotated[str, Field(pattern=r"^/[a-z0-9_-]+(/[a-z0-9_-]+)*$", max_length=256)]
"""The command of a call, as a path: `/github/issue/list`."""

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
"""Why a call is denied: a closed set, the same for the control plane and the PDP."""

Resource = dict[str, Any]
"""`{"provider": "github", "owner": "acme", "repo": "app"}`."""

DEFAULT_TTL_SECONDS: Final = 300
MAX_TTL_SECONDS: Final = 3600
MAX_CHAIN_DEPTH: Final = 8
MAX_PURPOSE: Final = 280
MAX_ARGS_BYTES: Final = 16 * 1024
MAX_CONTEXT_BYTES: Final = 4 * 1024
LEEWAY_SECONDS: Final = 0
"""Default tolerance between the clocks of a signer and a verifier, in seconds."""
MAX_LEEWAY_SECONDS: Final = 60
"""The largest tolerance that a verifier accepts as a setting, in seconds."""


class Secret:
    """A string that must not leak: shown as `Secret(…)`, never pickled or formatted.

    `wipe` overwrites the copy that is kept here. Strings that `reveal` returned, and the string
    that it was made from, are freed by Python without being overwritten.
    """

    __slots__ = ("_value", "_wiped")

    def __init__(self, value: str) -> None:
        self._value = bytearray(value, "utf-8", "surrogatepass")
        self._wiped = False

    def reveal(self) -> str:
        """Return the string. Raises `ConfigurationError` after `wipe`."""
        if self._wiped:
            raise ConfigurationError(
                "this secret was wiped when its owner was closed; make a new one", setting="guard"
            )
        return self._value.decode("utf-8", "surrogatepass")

    def copy(self) -> Secret:
        """Return an independent copy, which is not affected by `wipe` of this one."""
        return Secret(self.reveal())

    def wipe(self) -> None:
        """Overwrite and delete the secret. Idempotent."""
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
    """Base of validated values: immutable, and without undeclared members."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


Absent = SkipJsonSchema[None]
"""A member that may be left out of a message, but is never null."""

Purpose = Annotated[
    str, Field(max_length=MAX_PURPOSE, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")
]


class Question(Value):
    """A question of `authorize`: may `command` be done to `resource`.

    Its members with their limits are those of `POST /v1/authorize`, which names them in camelCase.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=False
    )

    command: Command = Field(
        description="A registered command, such as `/github/issue/list`, or a prefix of several, "
        "such as `/github/issue`."
    )
    resource: Resource = Field(
        description="`provider` (the command's first segment) and the provider's fields.",
        examples=[{"provider": "github", "owner": "acme", "repo": "app"}],
    )
    args: dict[str, Any] | Absent = Field(
        default=None,
        description="The call's other parameters, at most 16 KiB. If given, they are bound and "
        "signed; if absent, the call may have any.",
    )
    pol: Annotated[list[Any], Field(max_length=MAX_STATEMENTS)] | Absent = Field(
        default=None,
        description="Statements of UCAN 1.0 policy about the calls, at most 8 KiB; all of them are "
        "signed, and must hold for each call.",
        examples=[[["==", ".args.state", "open"]]],
    )
    ttl_seconds: int = Field(
        default=DEFAULT_TTL_SECONDS,
        ge=1,
        le=MAX_TTL_SECONDS,
        strict=True,
        description="The lifetime of the grant, in seconds.",
    )
    audience: str | Absent = Field(
        default=None, description="The DID of the service the call goes to; by default the PDP."
    )
    purpose: Purpose | Absent = Field(
        default=None, description="Shown to operators; policy can read it."
    )
    context: dict[str, Any] | Absent = Field(
        default=None,
        description="Facts that the agent asserts, at most 4 KiB; policy sees `context.agent`.",
    )
    cosigner_envelope_id: Annotated[str, Field(min_length=1, max_length=64)] | Absent = Field(
        default=None, description="The envelope in which operators approved exactly this question."
    )

    @cached_property
    def encoded(self) -> bytes:
        """The question as it is sent, encoded once. Raises `InvalidRequest` if JSON cannot hold it.

        Members of the values may change afterwards; what is sent and compared does not.
        """
        fields = type(self).model_fields
        given = {fields[name].alias or name: getattr(self, name) for name in fields}
        return encode({name: value for name, value in given.items() if value is not None})

    @cached_property
    def sent(self) -> dict[str, Any]:
        """The members of `encoded`, as the receiver reads them."""
        members: dict[str, Any] = json.loads(self.encoded)
        return members


def _within_reason(moment: datetime) -> datetime:
    """Return a time in UTC; raise `ValueError` where adding a clock offset could overflow."""
    if not 1970 < moment.year < 9000:
        raise ValueError("a time between 1971 and 8999 is expected")
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_within_reason)]
Line = Annotated[str, Field(max_length=1024)]


def web_address(url: str) -> str:
    """Return a URL that a person may be sent to; raise `ValueError` for any other.

    Accepted is http(s) with a host, in printable ASCII, without user name or password: those could
    make it look like the URL of another host.
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
"""A URL to be shown to people; the SDK never opens it."""

Digest = Annotated[str, Field(pattern=f"^{SHA256_FORM}$", max_length=64)]


class ResponseModel(BaseModel):
    """Base of the control plane's replies: members that a newer version adds are ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel, frozen=True, extra="ignore", hide_input_in_errors=True
    )


class OpenField(SealedRecord):
    """A policy, and a field that it reads but that the question left open (`resource.queue`)."""

    _source: ClassVar = "a grant's `explanation`"

    policy: str
    field: str


class Explanation(SealedRecord):
    """The names of the `policies` that decided, and a `message` for people.

    `fields` are those in which an approval differs from the question. `open` lists the fields that
    a grant for a service must name, because a service does not evaluate policy.
    """

    _source: ClassVar = "a grant's `explanation`"

    policies: tuple[str, ...] = ()
    message: str | None = None
    fields: tuple[str, ...] = ()
    open: tuple[OpenField, ...] = ()


_UNEXPLAINED: Final = make(Explanation)


class Chain(SealedRecord, Sequence[str]):
    """Delegations as JWTs, root first. A sequence of strings whose `repr` does not contain them.

    To send or store a chain, use a list of strings, `list(chain)`; every API that takes a chain
    accepts such a list and checks it.
    """

    _source: ClassVar = "a grant, a child or read_parent_chain_from_env"
    _stored: ClassVar = "store it as a list of strings, list(chain)"
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
    """Return a chain of these tokens; for code that has read and checked them."""
    return make(Chain, _links=tuple(links))


@dataclass(frozen=True)
class Capability:
    """One capability of a chain: `command` and all commands under it, on `resource`.

    `resource` is a constraint: it covers each resource that has all of its fields with equal
    values, and a `path` covers all paths under it. `pol` holds UCAN 1.0 policy statements about the
    call.
    """

    command: str
    resource: Resource
    pol: tuple[Any, ...] = ()


class ParentChain(SealedRecord):
    """The authority that this process inherited from its parent; falsy if there is none.

    `chains` has a chain for each capability; `chain` is the only one. `parent_receipt_id` names the
    audit record of the root's grant, `swarm_id` the swarm. `max_depth` is the greatest number of
    delegations in a chain. Its `repr` contains no token.
    """

    _source: ClassVar = "read_parent_chain_from_env"
    _stored: ClassVar = "store it as a list of strings, list(parent.chain)"

    chains: tuple[Chain, ...] = ()
    parent_receipt_id: str | None = None
    swarm_id: str | None = None
    max_depth: int = MAX_CHAIN_DEPTH

    def __bool__(self) -> bool:
        return bool(self.chains)

    @property
    def chain(self) -> Chain:
        """The only chain, empty without a parent. Raises `MalformedChain` if there are several."""
        return only_chain(self.chains)


def only_chain(chains: Sequence[Chain]) -> Chain:
    """Return the only chain of these, an empty one if there is none.

    Raises `MalformedChain` if there are several.
    """
    if len(chains) > 1:
        raise MalformedChain(
            f"there are {len(chains)} chains, one for each capability: use .chains",
            code="malformed_ucan",
        )
    return chains[0] if chains else NO_CHAIN


_MEANS: Final = {
    "approval_denied": "a person denied it",
    "approval_expired": "it was not decided, or not used, in time",
    "approval_not_found": "this app has no such approval",
    "approval_mismatch": "the approval is for another question",
    "approval_already_used": "an approval can be used once, and this one was used",
}


NO_CHAIN: Final = chain_of(())


class GrantBase(SealedRecord):
    """The decision about one question. Truthy only for an allow.

    Members:
        decision: `allow`, `deny` or `requires_step_up`.
        command, resource, args: the call; of an allow, in the form that was signed.
        ucan: a signed invocation, to be sent as `Bearer`; None unless allowed. A grant of a command
            prefix has none, because an invocation is for one command: use `headers(command=…)`.
        commands: the commands that a grant of a prefix covers; empty otherwise.
        reason: one of `DenyReason` if the decision is not an allow.
        explanation: the policies that decided, and text for people.
        receipt_id: the id of the audit record of this decision.
        expires_at: the end of the grant, or of an open approval, in UTC.
        audience, issuer, agent: the DIDs of the service, of the control plane's key, and of the
            agent.
        chain: the delegations of the grant, root first.
        approval_envelope_id, approval_url: the approval that a person has to decide, and the page
            for it.
        degraded: the allow was made without a decision (`failure_mode="open"`).
        clock_offset: seconds by which the control plane's clock is ahead of this machine's.

    Its `repr` contains no token.
    """

    _source: ClassVar = "guard.authorize"
    _stored: ClassVar = (
        "its authority belongs to this process. Store its `receipt_id` (and "
        "`approval_envelope_id`, with the question), and authorize again where they are read"
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
        """Return the grant if it allows; otherwise raise `StepUpRequired` or `Denied`."""
        if self.decision == "allow":
            return self
        if self.decision == "requires_step_up":
            raise StepUpRequired(
                self._question(), approval_envelope_id=self.approval_envelope_id, grant=self
            )
        raise Denied(self._refusal(), code=self.reason or "policy_denied", grant=self)

    def _refusal(self) -> str:
        means = _MEANS.get(self.reason or "")
        reason = f"{self.reason} ({means})" if means else self.reason
        return self._described(f"is denied: {reason}", "decided by policy")

    def _question(self) -> str:
        until = f" until {in_words(self.expires_at)}" if self.expires_at else ""
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
    """What a token proves to a service, for the one call that it was verified for.

    Members:
        agent: the DID of the key that signed the invocation.
        root: the DID of the issuer that signed the root.
        chain: the cids of the delegations between them, root first.
        lineage: the cids of the delegations that the root replaces.
        depth: the number of delegations in `chain` and `lineage` together.
        command, resource, args: the call.
        expires_at: when the token expires, in UTC.
        receipt_id: the id of the audit record behind the root, if the issuer signed it.
        swarm: the id of the swarm, if the issuer signed it.
        cid, nonce: of the invocation.
        receipt_jwt: the signed receipt of a verifier that has a receipt key.

    It contains no token.
    """

    _source: ClassVar = "verifier.verify"
    _stored: ClassVar = "store its `receipt_id` and `cid`, or what you need of its fields"
    _unshown: ClassVar = frozenset(("receipt_jwt",))
    _uncompared: ClassVar = frozenset(("receipt_jwt",))

    @classmethod
    def _advice(cls) -> str:
        return (
            "declare the route's parameter as `Annotated[Verified, Depends(requires(...))]`, with "
            "`requires` of nomos.integrations.fastapi; build responses from its fields"
        )

    agent: str
    root: str
    chain: tuple[str, ...]
    depth: int
    command: str
    resource: Resource
    args: dict[str, Any]
    expires_at: datetime
    receipt_id: str | None = None
    swarm: str | None = None
    lineage: tuple[str, ...] = ()
    cid: str
    nonce: str
    receipt_jwt: str | None = None


def describe_resource(resource: Mapping[str, Any]) -> str:
    """Return a resource as text for people: `github owner=acme repo=app`."""
    rest = " ".join(f"{key}={value}" for key, value in resource.items() if key != "provider")
    return f"{resource.get('provider', '?')} {rest}".rstrip()
