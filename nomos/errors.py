"""Everything Nomos raises.

    NomosError
    ├─ Denied                 the answer is no                          .grant .code .hop .field
    │  │                                                                .wanted .found .fix
    │  └─ StepUpRequired      a person must decide first                .approval_envelope_id
    ├─ ChainError             a delegation chain cannot be used         .code .hop
    │  ├─ MalformedChain
    │  ├─ ExpiredChain
    │  ├─ WrongAudience
    │  ├─ ChainTooDeep
    │  └─ Widening
    ├─ ControlPlaneError      no usable answer came                     .status .code .request_id
    │  ├─ Unreachable         nothing answered in time              .sent
    │  ├─ ServerError         5xx
    │  ├─ AuthenticationError the API key is missing or wrong
    │  ├─ PermissionDenied    the API key may not do this
    │  ├─ NotFound
    │  ├─ Conflict            an idempotency key was reused, or somebody has decided already
    │  ├─ RateLimited                                                   .retry_after
    │  ├─ InvalidRequest      a field is wrong                          .fields
    │  └─ Unintelligible      an answer came that is not of this protocol
    ├─ NotProven              a record is not what was signed           .code
    ├─ WebhookRefused         a message is not from the control plane   .reason
    ├─ SignerError            the signing binary gave no answer
    │  ├─ BinaryNotFound
    │  ├─ SignerDied
    │  └─ ProtocolMismatch
    └─ ConfigurationError     a setting is wrong (also a ValueError)    .setting
       └─ InvalidPolicy       a Cedar bundle does not validate          .problems

Branches answer "who should act?": the policy's author, the holder of a chain, the operator
of the control plane, the packager, the caller. Codes are for machines and never change;
messages are for people. No message holds a token, a key or an API key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from nomos.models import GrantBase


class NomosError(Exception):
    """Base of everything Nomos raises. It pickles, so that worker processes can report it."""

    def __reduce__(self) -> tuple[Any, ...]:
        # A grant stays behind: its authority belongs to the process that asked.
        state = {name: None if name == "grant" else value for name, value in vars(self).items()}
        return _restored, (type(self), self.args, state)


class Denied(NomosError):
    """The action is not allowed.

    `grant` is the answer that said so (None when a token was refused without one), `code` one
    of `nomos.models.DenyReason`, or `unavailable` from a verifier that cannot tell. `hop` is the
    index of the token at fault: the chain's root is 0, and the invocation comes last. `field` is
    the claim or the policy statement that failed, `wanted` and `found` the beginnings of the JSON
    text of what it had to be and of what it was; a statement is `wanted` in words. `fix` says what
    would help. What is not known is None. `record` is the receipt of a verifier that signs them.
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
        self.record: str | None = None


class StepUpRequired(Denied):
    """A person must approve first; `approval_envelope_id` names the question they see."""

    def __init__(
        self,
        message: str,
        *,
        approval_envelope_id: str | None,
        grant: GrantBase | None = None,
    ) -> None:
        super().__init__(message, code="step_up_required", grant=grant)
        self.approval_envelope_id = approval_envelope_id


class ChainError(NomosError):
    """A delegation chain cannot be used."""

    def __init__(self, message: str, *, code: str, hop: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hop = hop


class MalformedChain(ChainError):
    """The chain is not a list of well-formed delegations."""


class ExpiredChain(ChainError):
    """A link is past its expiry."""


class WrongAudience(ChainError):
    """The chain ends in another key than the one at hand, or is for another service."""


class ChainTooDeep(ChainError):
    """The chain has more links than allowed."""


class Widening(ChainError):
    """A link claims more than the one before it gave."""


class ControlPlaneError(NomosError):
    """The control plane gave no usable answer; nothing was allowed.

    `status` is the HTTP status if there was one, `code` the server's `error_code`,
    `request_id` what to quote to the server's operator.
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
    """Nothing answered in time.

    `sent` is true where the request may have arrived: it may have been acted on, although no
    answer came.
    """

    def __init__(self, message: str, *, sent: bool = False, status: int | None = None) -> None:
        super().__init__(message, status=status)
        self.sent = sent


class ServerError(ControlPlaneError):
    """The control plane failed (5xx)."""


class AuthenticationError(ControlPlaneError):
    """The API key is missing, wrong or revoked (401)."""


class PermissionDenied(ControlPlaneError):
    """The API key may not do this (403)."""


class NotFound(ControlPlaneError):
    """No such thing (404)."""


class Conflict(ControlPlaneError):
    """It cannot be done twice: another question under one key, another decision (409)."""


class RateLimited(ControlPlaneError):
    """Too many requests (429); `retry_after` is in seconds, if the server said."""

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
    """The question is wrong (400, 413); `fields` are the paths at fault (`resource.repo`)."""

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


class Unintelligible(ControlPlaneError):
    """An answer came that is not of this protocol: HTML, other JSON, an unknown decision."""


class NotProven(NomosError):
    """A receipt does not hold. `code` says how, for machines; the message, for people."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


WebhookReason = Literal["missing", "malformed", "forged", "too_old", "from_the_future"]


class WebhookRefused(NomosError):
    """A message to a webhook is not one of the control plane's, or not of now.

    `too_old` and `from_the_future` are genuine, and say that clocks may disagree.
    """

    def __init__(self, message: str, *, reason: WebhookReason) -> None:
        super().__init__(message)
        self.reason: WebhookReason = reason


class SignerError(NomosError):
    """The signing binary gave no answer, or refused; `code` is the refusal's."""

    def __init__(self, message: str, *, code: str | None = None, hop: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hop = hop


class BinaryNotFound(SignerError):
    """`nomos-ucan` is not where it should be, or cannot be run."""


class SignerDied(SignerError):
    """The binary ended or stopped answering before it gave its answer."""


class ProtocolMismatch(SignerError):
    """The binary is of another version than this package."""


class ConfigurationError(NomosError, ValueError):
    """A setting is missing or wrong; `setting` is the argument's or variable's name."""

    def __init__(self, message: str, *, setting: str) -> None:
        super().__init__(message)
        self.setting = setting


@dataclass(frozen=True)
class PolicyProblem:
    """One thing wrong in a Cedar bundle: `file` and `line` (from 1) say where it starts."""

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
    """A Cedar bundle does not parse or validate; `problems` lists every one found."""

    def __init__(self, problems: Sequence[PolicyProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems), setting="policies")
