"""`PdpContext`: everything external that the PDP uses, as one frozen value.

The server's composition makes it. The PDP reads no environment, opens no database and starts no
process of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from nomos._limits import KIB, MAX_TOKEN
from nomos._protocol import Answer, Refused, Request
from nomos.models import MAX_CHAIN_DEPTH
from nomos.policy.bundle import Bundle
from nomos.resources import Catalog
from nomos.server.http.quotas import Quotas
from nomos.server.pdp.revocations import RevocationView
from nomos.server.policies.active import ActivePolicy
from nomos.server.settings import UpstreamTarget

if TYPE_CHECKING:
    from nomos.audit.record import Record

MIB = 1024 * KIB


class SignerPort(Protocol):
    """The signing binary, as far as the PDP uses it: one request, one answer."""

    async def ask(self, request: Request) -> Answer | Refused: ...


class DelegationPort(Protocol):
    """The stored records of delegations that agents signed."""

    async def note(self, links: Sequence[Record]) -> str | None:
        """Store the new ones of a chain's links; return the record id of the last link."""
        ...


class StorePort(Protocol):
    """The durable store: used nonces, receipts, links of chains."""

    @property
    def delegations(self) -> DelegationPort: ...

    async def ready(self) -> None:
        """Raise unless the store answers."""
        ...

    async def claim_nonce(
        self, issuer: str, audience: str, nonce: str, expires_at: int, family: str | None = None
    ) -> bool:
        """Return True to exactly one caller per nonce; each `family` may store a limited number."""
        ...

    async def record(self, receipt: Record) -> None:
        """Store `receipt`; it is durable when this returns."""
        ...


@dataclass(frozen=True)
class PdpLimits:
    """Limits of what one call may make the PDP read, hold, send or wait for."""

    token: int = MAX_TOKEN
    body: int = 256 * KIB
    file: int = MIB
    entries: int = 1000
    upstream: int = 5 * MIB
    upstream_seconds: float = 20.0
    body_seconds: float = 20.0
    revocations_max_age: int = 5
    unproven_receipts_per_minute: int = 600

    def request_body(self, *, holds_file: bool) -> int:
        """Return the limit of a request's JSON in bytes; a file may need escapes or base64."""
        return 2 * self.file + 64 * KIB if holds_file else self.body


RECEIPT_BYTES: Final = 1024  # bytes that the receipts of a call take besides the call itself


def call_quotas() -> Quotas:
    """Return quotas of the bytes that the receipts of an app's calls take, in any number."""
    return Quotas(math.inf, kept=RECEIPT_BYTES)


@dataclass(frozen=True)
class PdpContext:
    """Everything external that the PDP uses.

    `trusted_issuers` maps the DID of each issuer that may sign a chain's root to its tenant;
    `clock` returns Unix time in seconds, `elapsed` a monotonic time in seconds. `control_url` is
    the control plane, where questions are sent. `quotas` are by tenant and app.
    """

    signer: SignerPort
    store: StorePort
    revocations: RevocationView
    live: ActivePolicy
    catalog: Catalog
    pdp_did: str
    trusted_issuers: Mapping[str, str]
    clock: Callable[[], float]
    workspace: Path
    upstreams: Mapping[str, UpstreamTarget]
    max_chain_depth: int = MAX_CHAIN_DEPTH
    control_url: str | None = None
    limits: PdpLimits = field(default_factory=PdpLimits)
    quotas: Quotas = field(default_factory=call_quotas)
    elapsed: Callable[[], float] = time.monotonic

    @property
    def bundle(self) -> Bundle:
        """The policies that are active now; read it once for each call."""
        return self.live.bundle


Action = Callable[[], Awaitable[dict[str, Any]]]
"""A call that is ready to be performed; it returns the reply's JSON object."""
