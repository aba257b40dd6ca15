"""The exceptions of Nomos, as a tree of classes.

    NomosError
    ├─ Denied                 the action is not allowed                 .grant .code .hop .field
    │  │                                                                .wanted .found .fix
    │  └─ StepUpRequired      a person must decide first                .approval_envelope_id
    ├─ ChainError             a delegation chain cannot be used         .code .hop
    │  ├─ MalformedChain
    │  ├─ ExpiredChain
    │  ├─ WrongAudience
    │  ├─ ChainTooDeep
    │  └─ AttenuationError
    ├─ ControlPlaneError      no usable reply came                      .status .code .request_id
    │  ├─ Unreachable         no reply in time                          .sent .reason .advice
    │  ├─ ServerError         5xx
    │  ├─ AuthenticationError the API key is missing or wrong
    │  ├─ PermissionDenied    the API key may not do this
    │  ├─ NotFound
    │  ├─ Conflict            an idempotency key was reused, or a decision exists already
    │  ├─ RateLimited                                                   .retry_after
    │  ├─ InvalidRequest      a field is wrong                          .fields
    │  └─ InvalidResponse      the reply does not follow this protocol
    ├─ InvalidReceipt              a record differs from what was signed     .code
    ├─ InvalidWebhookSignature         a message does not verify                 .reason
    ├─ SignerError            the signing binary gave no answer
    │  ├─ BinaryNotFound
    │  ├─ SignerCrashed
    │  └─ ProtocolMismatch
    └─ ConfigurationError     a setting is wrong (also a ValueError)    .setting
       └─ InvalidPolicy       a Cedar bundle does not validate          .problems

The first level of the tree says who should act: the policy's author, the holder of a chain, the
operator of the control plane, the packager, the caller. Codes are for programs and never change;
messages are for people. No message contains a token, a key or an API key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from nomos.models import GrantBase


class NomosError(Exception):
    """Base of all errors of Nomos. It can be pickled, so that worker processes can report it."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The grant is left out: its authority belongs to the process that requested it.
        state = {name: None if name == "grant" else value for name, value in vars(self).items()}
        return _restored, (type(self), self.args, state)


class Denied(NomosError):
    """The action is not allowed.

    `grant` is the decision, None when a token was rejected without one. `code` is one of
    `nomos.models.DenyReason`, or `unavailable` from a verifier that could not check. `hop` is the
    index of the token at fault: the root is 0, the invocation is last. `field` is the claim or the
    policy statement that failed; `wanted` and `found` are the beginnings of the JSON text of the
    required and the actual value (for a statement, `wanted` is in words). `fix` says what to do
    next. `receipt_jwt` is the signed receipt of a verifier that has a receipt key. Unknown values
    are None.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        grant: GrantBase | None = None,
        hop: int | None = None,
        field: str | None = None,
        wanted: str | None = None,
        found: str | None = None,
        fix: str | None = None,
    ) -> None:
        where = "" if hop is None else f" (hop {hop})"
        super().__init__(f"{message}{where}" + ("" if fix is None else f": {fix}"))
        self.code = code
        self.grant = grant
        self.hop = hop
        self.field = field
        self.wanted = wanted
        self.found = found
        self.fix = fix
        self.receipt_jwt: str | None = None


class StepUpRequired(Denied):
    """A person must approve first; `approval_envelope_id` names the approval."""

    def __init__(
        self, message: str, *, approval_envelope_id: str | None, grant: GrantBase | None = None
    ) -> None:
        super().__init__(message, code="step_up_required", grant=grant)
        self.approval_envelope_id = approval_envelope_id


class ChainError(NomosError):
    """A delegation chain cannot be used.

    `code` is one of `nomos.models.DenyReason`; `hop` is the index of the link at fault, the root 0.
    """

    def __init__(self, message: str, *, code: str, hop: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hop = hop


class MalformedChain(ChainError):
    """The chain is not a list of well-formed delegations."""


class ExpiredChain(ChainError):
    """A link is past its expiry, or is not valid yet."""


class WrongAudience(ChainError):
    """The chain was delegated to another key than this process's, or is for another service."""


class ChainTooDeep(ChainError):
    """The chain has more links than allowed."""


class AttenuationError(ChainError):
    """A link exceeds the authority of the link before it."""


class ControlPlaneError(NomosError):
    """The control plane gave no usable reply; nothing was allowed.

    `status` is the HTTP status if there was one, `code` the server's `error_code`, `request_id` the
    id to quote to the server's operator.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id


class Unreachable(ControlPlaneError):
    """No reply arrived in time.

    `sent` is true if the request may have arrived: it may have taken effect although no reply came.
    `advice` is the end of the message if it names an argument of the call that raised; `reason` is
    the message without it.
    """

    def __init__(
        self,
        message: str,
        *,
        sent: bool = False,
        status: int | None = None,
        advice: str | None = None,
    ) -> None:
        super().__init__(message if advice is None else f"{message}; {advice}", status=status)
        self.sent = sent
        self.advice = advice
        self.reason = message


class ServerError(ControlPlaneError):
    """The control plane failed (5xx)."""


class AuthenticationError(ControlPlaneError):
    """The API key is missing, wrong or revoked (401)."""


class PermissionDenied(ControlPlaneError):
    """The API key may not do this (403)."""


class NotFound(ControlPlaneError):
    """The thing that was named does not exist, or belongs to another app (404)."""


class Conflict(ControlPlaneError):
    """The request contradicts an earlier one (409): a reused key, a decided approval."""


class RateLimited(ControlPlaneError):
    """Too many requests (429); `retry_after` is in seconds, None if the server named none."""

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, status=status, code=code, request_id=request_id)
        self.retry_after = retry_after


class InvalidRequest(ControlPlaneError):
    """The request is wrong (400, 413); `fields` are the paths at fault (`resource.repo`)."""

    def __init__(
        self,
        message: str,
        *,
        fields: Sequence[str] = (),
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, status=status, code=code, request_id=request_id)
        self.fields = tuple(fields)


class InvalidResponse(ControlPlaneError):
    """The reply does not follow this protocol: HTML, other JSON, an unknown decision."""


class InvalidReceipt(NomosError):
    """A receipt does not verify. `code` is the reason for programs, the message for people."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


WebhookReason = Literal["missing", "malformed", "forged", "too_old", "from_the_future"]


class InvalidWebhookSignature(NomosError):
    """A webhook message was not sent by the control plane, or was not sent now.

    `reason` is one of `WebhookReason`. Messages with `too_old` and `from_the_future` have a valid
    signature; the clocks may disagree.
    """

    def __init__(self, message: str, *, reason: WebhookReason) -> None:
        super().__init__(message)
        self.reason: WebhookReason = reason


class SignerError(NomosError):
    """The signing binary gave no answer, or refused; `code` is its refusal code, `hop` the link."""

    def __init__(self, message: str, *, code: str | None = None, hop: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hop = hop


class BinaryNotFound(SignerError):
    """`nomos-ucan` is not installed, or cannot be executed."""


class SignerCrashed(SignerError):
    """The signing binary exited or stopped responding before it answered."""


class ProtocolMismatch(SignerError):
    """The signing binary speaks another version of the protocol than this package."""


class ConfigurationError(NomosError, ValueError):
    """A setting is missing or wrong; `setting` is the argument's or variable's name."""

    def __init__(self, message: str, *, setting: str) -> None:
        super().__init__(message)
        self.setting = setting


@dataclass(frozen=True)
class PolicyProblem:
    """One problem in a Cedar bundle.

    `policy` is the policy's name, `message` the problem; it starts in `line` (from 1) of `file`.
    """

    file: str
    line: int
    policy: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}"
        return f"{where}: {'' if self.policy == where else f'{self.policy}: '}{self.message}"


def _restored(kind: type[NomosError], args: tuple[Any, ...], state: dict[str, Any]) -> NomosError:
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(state)
    return error


class InvalidPolicy(ConfigurationError):
    """A Cedar bundle does not parse or validate; `problems` lists every problem found."""

    def __init__(self, problems: Sequence[PolicyProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems), setting="policies")
