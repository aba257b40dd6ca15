"""`guard.approvals`: approvals listed and decided by an embedded guard's operator.

The API key of an agent cannot decide about the agent's own questions. An embedded server gives the
process that started it an operator's API key as well, and these calls use that key. This is for
tests and small programs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from nomos._core import approvals
from nomos._unawaited import Asynchronous
from nomos.approvals import Approval, ApprovalState
from nomos.errors import ConfigurationError
from nomos.models import Secret

if TYPE_CHECKING:
    from nomos.guard import AsyncAuthGuard, AuthGuard

Queue = ApprovalState | Literal["all"]

LISTED: Final = 50
"""How many approvals `list` returns at most, unless `limit` is given."""


class Approvals:
    """The approvals of an embedded server: list them, read one, decide one."""

    def __init__(self, guard: AuthGuard) -> None:
        self._guard = guard

    @property
    def operator_key(self) -> Secret:
        """The operator's API key, for use by a person or a program outside of this process."""
        return self._guard._operator_key  # noqa: SLF001 - its own guard

    def list(self, state: Queue = "pending", *, limit: int = LISTED) -> tuple[Approval, ...]:
        """Return the newest approvals in `state`: `pending`, `approved`, …, or `"all"`.

        `limit` is 1 to 200. Raises `InvalidRequest` for another limit or an unknown state.
        """
        pauses = self._guard._pauses()  # noqa: SLF001 - its own guard
        return self._guard._operate(approvals.queue(state, limit, pauses))  # noqa: SLF001

    def get(self, envelope_id: str) -> Approval:
        """Return the approval `envelope_id` as it is now. Raises `NotFound` if there is none."""
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
        """Vote on `envelope_id` as the embedded server's operator; return the changed approval.

        `approve` is True to approve and False to deny. `reason` (at most 280 characters) is
        recorded together with the operator. `version` is the `version` of the `Approval` that was
        shown to the person who decides; without it the approval is read first, and the vote is for
        the version that was read. Raises `Conflict` if the approval was decided before, has
        expired, or has changed since that version, and `NotFound` if there is none with this id.
        """
        pauses = self._guard._pauses()  # noqa: SLF001
        flow = approvals.decide(
            envelope_id, approve=approve, reason=reason, pauses=pauses, version=version
        )
        return self._guard._operate(flow)  # noqa: SLF001


class AsyncApprovals(Asynchronous):
    """The same as `Approvals`, with methods to be awaited."""

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
    """Return the error for `guard.approvals` on a guard without an operator's API key."""
    return ConfigurationError(
        "guard.approvals works on embedded guards only: this guard has an agent's API key, and "
        "an agent may not decide about its own questions. A person decides at the grant's "
        "approval_url or with `nomos approvals`; a program decides with an operator's API key, at "
        f"POST {url}/v1/approvals/{{id}}/decide",
        setting="approvals",
    )
