"""What the PDP needs from outside, as one frozen value.

The PDP is given these by whoever composes the server. It reads no environment, opens no
database and starts no process of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nomos._limits import KIB, MAX_TOKEN
from nomos._protocol import Answer, Refused, Request
from nomos.models import MAX_CHAIN_DEPTH, Secret
from nomos.policy.bundle import Bundle
from nomos.resources import Catalog
from nomos.server.pdp.revocations import RevocationView
from nomos.server.policies.active import ActivePolicy

if TYPE_CHECKING:
    from nomos.audit.record import Record

MIB = 1024 * KIB


class SignerPort(Protocol):
    """The signing binary, as far as the PDP uses it: one question, one answer."""

    async def ask(self, request: Request) -> Answer | Refused: ...


class DelegationPort(Protocol):
    """The record of what agents handed on."""

    async def note(self, links: Sequence[Record]) -> str | None:
        """Store those of a chain's links that are new, and return the id of the last one's."""
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
        """Return True to exactly one caller for each nonce; `family` shares what may be kept."""
        ...

    async def record(self, receipt: Record) -> None:
        """Store `receipt`; it is durable when this returns."""
        ...


class UpstreamPort(Protocol):
    """Where a provider's upstream is, and the credential that only it may see."""

    @property
    def base_url(self) -> str: ...

    @property
    def token(self) -> Secret | None: ...

    @property
    def ca_file(self) -> str | None: ...


@dataclass(frozen=True)
class PdpLimits:
    """How much one call may make the PDP read, hold, send or wait."""

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
        """Return the cap of a request's JSON, where a file's bytes may need escapes or base64."""
        return 2 * self.file + 64 * KIB if holds_file else self.body


@dataclass(frozen=True)
class PdpContext:
    """Everything the PDP reaches out to.

    `trusted_issuers` maps the DID of each issuer that may root a chain to its tenant;
    `clock` answers Unix time in seconds. `control_url` is where questions are asked.
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
    upstreams: Mapping[str, UpstreamPort]
    max_chain_depth: int = MAX_CHAIN_DEPTH
    control_url: str | None = None
    limits: PdpLimits = field(default_factory=PdpLimits)

    @property
    def bundle(self) -> Bundle:
        """The policies that decide now; take them once for each call."""
        return self.live.bundle


Action = Callable[[], Awaitable[dict[str, Any]]]
"""A call that is ready to be carried out, and answers with the reply's JSON object."""
