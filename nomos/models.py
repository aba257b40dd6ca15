"""The nouns of Nomos, as frozen values.

They import nothing of ours but `errors`, and none of them does I/O. Secrets have their own
type, `Secret`, which does not print, pickle or compare by accident.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NoReturn, Self, overload

from pydantic import BaseModel, ConfigDict, Field

from nomos.errors import Denied, StepUpRequired

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


class Secret:
    """A string that must not leak: shown as `Secret(…)`, never pickled or formatted."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the string itself, for the one place that needs it."""
        return self._value

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
    """

    command: Command
    resource: Mapping[str, Any]
    args: Mapping[str, Any] | None = None
    ttl_seconds: int = Field(default=DEFAULT_TTL_SECONDS, ge=1, le=MAX_TTL_SECONDS, strict=True)
    audience: str | None = None
    purpose: str | None = Field(default=None, max_length=MAX_PURPOSE)
    context: Mapping[str, Any] | None = None
    cosigner_envelope_id: str | None = None


class Explanation(Value):
    """Which policies decided, by name, and what a person may want to know beyond that.

    Members that a newer server adds are left out.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    policies: tuple[str, ...] = ()
    message: str | None = None


class Chain(Sequence[str]):
    """Delegations as JWTs, root first. It reads as a tuple of strings and never prints them."""

    __slots__ = ("_links",)

    def __init__(self, links: Iterable[str] = ()) -> None:
        self._links = tuple(links)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Chain: ...
    def __getitem__(self, index: int | slice) -> str | Chain:
        return Chain(self._links[index]) if isinstance(index, slice) else self._links[index]

    def __len__(self) -> int:
        return len(self._links)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chain) and self._links == other._links

    def __hash__(self) -> int:
        return hash(self._links)

    def __repr__(self) -> str:
        return f"Chain({len(self)} links)" if len(self) != 1 else "Chain(1 link)"


@dataclass(frozen=True, kw_only=True)
class GrantBase:
    """The answer to one question. Truthy only for an allow.

    `ucan` is the invocation that a PDP or service takes as `Bearer`; None unless allowed.
    `reason` is one of `DenyReason` when the answer is not an allow. `expires_at` is an aware
    UTC time. `degraded` marks an allow that no control plane gave (`failure_mode="open"`).
    Tokens are left out of `repr`.
    """

    decision: Decision
    command: str
    resource: Resource
    args: dict[str, Any] | None = None
    ucan: str | None = field(default=None, repr=False)
    reason: str | None = None
    explanation: Explanation = field(default_factory=Explanation)
    receipt_id: str | None = None
    expires_at: datetime | None = None
    audience: str | None = None
    chain: Chain = field(default_factory=Chain)
    approval_envelope_id: str | None = None
    approval_url: str | None = None
    degraded: bool = False
    agent: str | None = None
    issuer: str | None = None
    clock_offset: float = field(default=0.0, repr=False)

    def __bool__(self) -> bool:
        return self.decision == "allow"

    def require(self) -> Self:
        """Return the grant if it allows; raise `Denied` or `StepUpRequired` if it does not."""
        if self.decision == "allow":
            return self
        if self.decision == "requires_step_up":
            raise StepUpRequired(
                f"{self.command} on {describe(self.resource)} needs a person's approval: "
                f"{self.approval_url or self.approval_envelope_id}",
                approval_envelope_id=self.approval_envelope_id,
                grant=self,
            )
        raise Denied(self._refusal(), code=self.reason or "policy_denied", grant=self)

    def _refusal(self) -> str:
        lines = [f"{self.command} on {describe(self.resource)} is denied: {self.reason}"]
        if self.explanation.message:
            lines.append(f"  {self.explanation.message}")
        lines += [f"  decided by policy: {name}" for name in self.explanation.policies]
        if self.receipt_id:
            lines.append(f"  receipt: {self.receipt_id}")
        return "\n".join(lines)


def describe(resource: Mapping[str, Any]) -> str:
    """Return a resource in a form for people: `github owner=acme repo=app`."""
    rest = " ".join(f"{key}={value}" for key, value in resource.items() if key != "provider")
    return f"{resource.get('provider', '?')} {rest}".rstrip()
