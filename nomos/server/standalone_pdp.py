"""Composition of a PDP without a control plane in its process: `nomos pdp`.

It has its own key, policies and database. Its operator pins one DID, the issuer of its control
plane. Chains must be rooted in that issuer, or in a key that follows it in the key log, and
revocations come from the feed that the issuer signs. While the feed cannot be read or verified,
calls are refused once the last known state of it is too old.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp

from nomos._core.trust_anchor import TrustedIssuers
from nomos._identifiers import is_did
from nomos._io.http import AsyncHttp, Endpoint
from nomos._io.revocation_feed import FIRST_LOOK_SECONDS, TIMEOUT, RevocationFeed
from nomos.errors import ConfigurationError
from nomos.models import Secret
from nomos.policy import bundle as policy
from nomos.server.background.tasks import BackgroundTasks
from nomos.server.connections.hosts import host_names
from nomos.server.data_folder import consistency
from nomos.server.data_folder.layout import lock_data_dir, unusable
from nomos.server.log_limits import limit_logs
from nomos.server.pdp.context import PdpContext
from nomos.server.pdp.routes import create_pdp, stale_revocations
from nomos.server.policies import activation
from nomos.server.policies.active import ActivePolicy
from nomos.server.providers.catalog import load_catalog
from nomos.server.settings import Settings
from nomos.server.signing.keys import SignerPort
from nomos.server.startup import PDP_KEY, check_depth, open_folder
from nomos.server.storage import feed_position as ends
from nomos.server.storage.tenants import DEFAULT

_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Trust:
    """A PDP's pinned issuer and API key for the feed; `allow_insecure` hosts may use plain http."""

    issuer: str
    api_key: Secret
    tenant: str = DEFAULT
    allow_insecure: tuple[str, ...] = ()


class StandalonePdp:
    """A PDP on a data folder of its own. `StandalonePdp.open` makes one."""

    def __init__(
        self,
        context: PdpContext,
        followed: RevocationFeed,
        closing: AsyncExitStack,
        host_names: Sequence[str] = (),
    ) -> None:
        self.pdp: ASGIApp = create_pdp(context)
        self.pdp_did = context.pdp_did
        self.followed = followed
        self.host_names = tuple(host_names)
        self._context = context
        self._closing = closing

    @classmethod
    async def open(
        cls,
        settings: Settings,
        trust: Trust,
        signer: SignerPort,
        *,
        clock: Callable[[], float] = time.time,
    ) -> StandalonePdp:
        """Validate the settings, lock the folder, begin to follow the feed.

        Raises InvalidPolicy, ConfigurationError or SignerError, after releasing everything.
        """
        limit_logs()
        check_depth(settings.max_chain_depth)
        _check_trust(trust)
        names = host_names(settings.host_names, settings.pdp_url)
        catalog = load_catalog(settings.providers)
        live = ActivePolicy(policy.load(settings.policies, catalog, settings.facts))
        activation.warn(live.bundle)
        endpoint = Endpoint(
            settings.control_url,
            api_key=trust.api_key,
            timeout=TIMEOUT,
            allow_insecure=trust.allow_insecure,
        )
        try:
            async with AsyncExitStack() as closing:
                closing.callback(lock_data_dir(settings).release)
                _refuse_control_plane(settings.data)
                store, keys = await open_folder(settings.data, signer, clock, closing)
                issuers = TrustedIssuers(trust.issuer, trust.tenant, clock)
                http = AsyncHttp(endpoint)
                closing.push_async_callback(http.close)
                looked = asyncio.Event()
                followed = RevocationFeed(
                    http,
                    signer,
                    issuers,
                    trust.tenant,
                    clock=clock,
                    looked=looked.set,
                    floor=await store.database.read(ends.floor, trust.tenant),
                    keep=lambda which, head: store.database.write(
                        ends.keep, trust.tenant, head, which
                    ),
                )
                context = PdpContext(
                    signer=signer,
                    store=store,
                    revocations=followed,
                    live=live,
                    catalog=catalog,
                    pdp_did=await keys.did(PDP_KEY),
                    trusted_issuers=issuers,
                    clock=clock,
                    control_url=settings.control_url,
                    workspace=settings.served_folder,
                    upstreams=settings.upstreams,
                    max_chain_depth=settings.max_chain_depth,
                )
                tasks = BackgroundTasks()
                closing.push_async_callback(tasks.close)
                tasks.start(
                    "checks of the database",
                    consistency.checking(store, settings.checkpoint_seconds),
                )
                tasks.start("following of revocations", followed.run)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(looked.wait(), FIRST_LOOK_SECONDS)
                return cls(context, followed, closing.pop_all(), names)
        except OSError as failure:
            raise unusable(settings.data, failure) from failure

    async def feed_problem(self) -> str | None:
        """Return why the revocation feed prevents all calls now; None if it does not."""
        return await stale_revocations(self._context)

    async def close(self) -> None:
        """Finish running work and release the folder. Idempotent."""
        await self._closing.aclose()


def _check_trust(trust: Trust) -> None:
    if not is_did(trust.issuer):
        raise ConfigurationError(
            "the issuer must be a did:key:z6Mk…, as `issuers` in the control plane's "
            "/.well-known/nomos has it. Obtain it from a source that you trust: it is all that "
            "this PDP trusts",
            setting="issuer",
        )
    if not _TENANT.fullmatch(trust.tenant):
        raise ConfigurationError("a tenant is a short lower-case name", setting="tenant")


def _refuse_control_plane(data: Path) -> None:
    """Reject a control plane's folder: it has the records and nonces of the control plane's PDP."""
    if any((data / "keys").glob("issuer-*.key")):
        raise ConfigurationError(
            f"the data folder {data} belongs to a control plane, which already has a PDP. "
            "Choose another folder for this PDP",
            setting="data",
        )
