"""`guard.approvals`: the operator's side of an embedded guard, for tests and small programs.

An agent may not answer its own questions, so its API key cannot. An embedded server gives the
program that started it an operator's key, and these calls use that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from nomos._core import approvals
from nomos._unawaited import Asynchronous
from nomos.errors import ConfigurationError
from nomos.models import Secret
from nomos.outcomes import Approval, ApprovalState

if TYPE_CHECKING:
    from nomos.guard import AsyncAuthGuard, AuthGuard

Queue = ApprovalState | Literal["all"]

LISTED: Final = 50


class Approvals:
    """Questions that wait for a person, and a way to answer them."""

    def __init__(self, guard: AuthGuard) -> None:
        self._guard = guard

    @property
    def operator_key(self) -> Secret:
        """The operator's API key, for a person or a program outside of this process."""
        return self._guard._operator_key  # noqa: SLF001 - its own guard

    def list(self, state: Queue = "pending", *, limit: int = LISTED) -> tuple[Approval, ...]:
        """Return the newest questions in a state, or in any (`"all"`)."""
        pauses = self._guard._pauses()  # noqa: SLF001 - its own guard
        return self._guard._operate(approvals.queue(state, limit, pauses))  # noqa: SLF001

    def get(self, envelope_id: str) -> Approval:
        """Return one question as it is now; raises `NotFound` if there is none."""
        pauses = self._guard._pauses()  # noqa: SLF001
        return self._guard._operate(approvals.get_approval(envelope_id, pauses))  # noqa: SLF001

    def decide(
        self,
        envelope_id: str,
        *,
        approve: bool,
        reason: str | None = None,
        version: str | None = None,
    ) -> Approval:
        """Say yes or no as the embedded server's operator; return what became of the question.

        `reason` (280 characters) is recorded with who decided. `version` is that of the `Approval`
        that was shown to the person who decides; without one the question is read now, and the
        answer is to that. Raises `Conflict` if it was decided before, has expired, or has changed
        since it was shown, `NotFound` if there is no such question.
        """
        pauses = self._guard._pauses()  # noqa: SLF001
        flow = approvals.decide(
            envelope_id, approve=approve, reason=reason, pauses=pauses, version=version
        )
        return self._guard._operate(flow)  # noqa: SLF001


class AsyncApprovals(Asynchronous):
    """`Approvals`, awaited."""

    def __init__(self, guard: AsyncAuthGuard) -> None:
        self._guard = guard

    @property
    def operator_key(self) -> Secret:
        """See `Approvals.operator_key`."""
        return self._guard._operator_key  # noqa: SLF001 - its own guard

    async def list(self, state: Queue = "pending", *, limit: int = LISTED) -> tuple[Approval, ...]:
        """See `Approvals.list`."""
        pauses = self._guard._pauses()  # noqa: SLF001 - its own guard
        return await self._guard._operate(approvals.queue(state, limit, pauses))  # noqa: SLF001

    async def get(self, envelope_id: str) -> Approval:
        """See `Approvals.get`."""
        pauses = self._guard._pauses()  # noqa: SLF001
        return await self._guard._operate(approvals.get_approval(envelope_id, pauses))  # noqa: SLF001

    async def decide(
        self,
        envelope_id: str,
        *,
        approve: bool,
        reason: str | None = None,
        version: str | None = None,
    ) -> Approval:
        """See `Approvals.decide`."""
        pauses = self._guard._pauses()  # noqa: SLF001
        flow = approvals.decide(
            envelope_id, approve=approve, reason=reason, pauses=pauses, version=version
        )
        return await self._guard._operate(flow)  # noqa: SLF001


def operator_key_required(url: str) -> ConfigurationError:
    """What to say to whoever asks a guard that holds no operator's key."""
    return ConfigurationError(
        "guard.approvals answers questions on embedded guards only: here the guard has an "
        "agent's API key, and an agent may not decide for itself. A person can, at the grant's "
        "approval_url or with `nomos approvals`; a program can, with an operator's API key, at "
        f"POST {url}/v1/approvals/{{id}}/decide",
        setting="approvals",
    )
