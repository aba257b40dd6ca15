"""The JSON messages of the control plane as pydantic models. Unknown members are rejected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from nomos.errors import InvalidRequest
from nomos.models import Absent, Decision, DenyReason, Did, Question
from nomos.server.control.errors import ErrorCode, shown

MAX_SHOWN_PROBLEMS: Final = 8

NOT_YET: Final[Mapping[str, str]] = {
    "dryRun": "dry runs are not available on this server; every question is recorded",
}
"""Members of the protocol that this server does not support; the error says so."""

MAX_SENT_LINKS: Final = 64
"""The maximum number of tokens of a chain that are read; a setting limits its valid depth."""


ReceiptId = Annotated[str, Field(pattern=r"^evt_[0-9a-z]{26}(?:_end)?$")]

SwarmId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]


class MessageModel(BaseModel):
    """Base of all messages: closed, immutable, camelCase in JSON, exact types."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        strict=True,
    )


class AuthorizeRequest(Question):
    """One question: whether an agent may do `command` to `resource`."""

    model_config = ConfigDict(strict=True, validate_by_name=False, validate_by_alias=True)

    agent_did: Did | Absent = Field(
        default=None,
        description="The key the grant is bound to. Absent: the app's own key, kept by the "
        "server, which then signs the invocation too.",
    )
    delegated_chain: list[str] | Absent = Field(
        default=None,
        min_length=1,
        max_length=MAX_SENT_LINKS,
        description="The delegations that an agent holds from its parent, root first. The grant is "
        "never wider than they are.",
    )
    parent_receipt_id: ReceiptId | Absent = Field(
        default=None, description="The receipt that led to this question."
    )
    swarm_id: SwarmId | Absent = Field(
        default=None,
        description="A label for the agents that receive authority from this grant; they inherit "
        "it.",
    )


class ReplyModel(MessageModel):
    """Base of the server's replies, which are made from Python names."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)


DAMAGED: Final = "Names of further items, whose stored rows are damaged."


class OpenFieldReply(ReplyModel):
    """A policy, and a field that it reads and that a grant for a service would leave open."""

    policy: str
    field: str = Field(examples=["resource.queue", "args"])


class ExplanationReply(ReplyModel):
    """Which policies decided, by name, and a sentence for people."""

    policies: list[str]
    message: str | Absent = None
    fields: list[str] | Absent = Field(
        default=None, description="What differs from the question that operators approved."
    )
    open: list[OpenFieldReply] | Absent = Field(
        default=None,
        description="What a grant for a service has to name, and for which policies.",
    )


class AllowReply(ReplyModel):
    """`chain` is one delegation to the agent; `resource` and `args` are what it was made for."""

    decision: Literal["allow"]
    receipt_id: str
    expires_at: str
    server_time: str
    audience: Did
    chain: list[str]
    resource: dict[str, Any]
    args: dict[str, Any] | Absent = Field(default=None, description="Absent: not bound.")
    commands: list[str] | Absent = Field(
        default=None, description="Present if `command` was a prefix: the commands under it."
    )
    ucan: str | Absent = Field(
        default=None, description="Present if `agentDid` was absent: the token for the PDP call."
    )


class DenyReply(ReplyModel):
    """`reason` is for programs, `explanation` for people."""

    decision: Literal["deny"]
    reason: DenyReason
    receipt_id: str
    server_time: str
    explanation: ExplanationReply


class StepUpReply(ReplyModel):
    """Operators must decide, at `approvalUrl`. Then ask again with `cosignerEnvelopeId`."""

    decision: Literal["requires_step_up"]
    reason: Literal["step_up_required", "approval_expired"]
    receipt_id: str
    approval_envelope_id: str
    approval_url: str
    expires_at: str
    server_time: str
    explanation: ExplanationReply


AuthorizeReply = Annotated[AllowReply | DenyReply | StepUpReply, Field(discriminator="decision")]


class PolicyProblemReply(BaseModel):
    """One error in policies, and the line where the policy starts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    line: int
    policy: str
    message: str


class ErrorReply(BaseModel):
    """A request that was not answered, and why. Quote `request_id` to the server's operator."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    error: str
    error_code: ErrorCode
    request_id: str
    fields: list[str] | Absent = Field(default=None, description="Paths of the invalid members.")
    problems: list[PolicyProblemReply] | Absent = Field(
        default=None, description="The errors in policies (`invalid_policy`)."
    )


class Health(ReplyModel):
    """The process answers."""

    status: Literal["ok", "ready"]


class KeyState(ReplyModel):
    """One public key and its present state."""

    did: Did
    state: Literal["active", "retiring", "revoked"]
    until: str | Absent = Field(
        default=None, description="When tokens of a retiring key become invalid."
    )


class KeyLogRow(KeyState):
    """One row of a key log: what was hashed, and the checkpoint by the key before it."""

    row: dict[str, Any]
    hash: str
    checkpoint: str


class ServiceInfo(ReplyModel):
    """A service that accepts tokens of this control plane."""

    name: str
    did: Did
    url: str
    state: Literal["active", "retiring", "revoked"]


class LimitsReply(ReplyModel):
    """The limits of a request."""

    ttl_seconds: int
    args_bytes: int
    context_bytes: int
    facts_bytes: int
    purpose_characters: int
    chain_depth: int
    body_bytes: int


class WellKnown(ReplyModel):
    """The issuer keys, the services that accept their tokens, and the limits."""

    version: str
    api_version: Literal[1]
    control_url: str
    server_time: str
    issuers: list[KeyState]
    keys: list[KeyLogRow]
    services: list[ServiceInfo]
    decisions: list[Decision]
    limits: LimitsReply


M = TypeVar("M", bound=BaseModel)


def authorize_request(body: Mapping[str, Any]) -> AuthorizeRequest:
    """Read a question. Raises InvalidRequest naming every member that is wrong."""
    for name, why in NOT_YET.items():
        # `false` is the default behaviour, so it is accepted.
        if name in body and not (name == "dryRun" and body[name] is False):
            raise InvalidRequest(f"{name}: {why}", fields=(name,))
    return read(AuthorizeRequest, {k: v for k, v in body.items() if (k, v) != ("dryRun", False)})


def read(kind: type[M], body: Mapping[str, Any]) -> M:
    """Read a request's body. Raises InvalidRequest naming every member that is wrong."""
    for name, value in body.items():
        if value is None:
            message = f"{shown(name)[1:-1]}: is null; leave it out instead"
            raise InvalidRequest(message, fields=(name,))
    try:
        return kind.model_validate(dict(body))
    except ValidationError as invalid:
        raise _explained(invalid) from None


def _explained(invalid: ValidationError) -> InvalidRequest:
    problems = invalid.errors(include_url=False, include_input=False, include_context=False)
    fields, sentences = [], []
    for problem in problems:
        if problem["type"] == "none_required":
            continue  # `Absent` adds this to every error of its member
        field = str(problem["loc"][0])
        fields.append(field)
        sentences.append(f"{shown(field)[1:-1]}: {_SENTENCES.get(problem['type'], problem['msg'])}")
    return InvalidRequest(
        "; ".join(sentences[:MAX_SHOWN_PROBLEMS]), fields=fields[:MAX_SHOWN_PROBLEMS]
    )


_SENTENCES: Final[Mapping[str, str]] = {
    "missing": "is required",
    "extra_forbidden": "is not a member of this request",
}
