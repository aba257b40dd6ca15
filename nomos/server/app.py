"""Composition: settings in, a control plane and a PDP out.

A system opens in the order in which things can be wrong for its operator: policies and providers,
the folder, the keys, the database. What fails leaves nothing behind that the next try would
trip over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib import metadata
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp

from nomos.errors import ConfigurationError
from nomos.models import Secret
from nomos.policy import bundle as policy
from nomos.server.control import credentials
from nomos.server.control.ports import Ports as ControlPorts
from nomos.server.control.rates import WINDOW, Rates
from nomos.server.control.routes import create_control
from nomos.server.folder import take_folder, unusable
from nomos.server.keys import Asks, Keys
from nomos.server.live import Live
from nomos.server.pdp.catalog import load_catalog
from nomos.server.pdp.ports import Ports as PdpPorts
from nomos.server.pdp.routes import create_pdp
from nomos.server.settings import DEEPEST_CHAIN, Settings
from nomos.server.storage.apps import Role
from nomos.server.storage.database import StorageUnavailable
from nomos.server.storage.store import Store
from nomos.server.storage.tenants import DEFAULT

ISSUER_KEY: Final = f"issuer-{DEFAULT}"
PDP_KEY: Final = "pdp"


class System:
    """A control plane and a PDP on one data folder. `System.open` makes one."""

    def __init__(self, control: ControlPorts, pdp: PdpPorts, closing: AsyncExitStack) -> None:
        self.control: ASGIApp = create_control(control)
        self.pdp: ASGIApp = create_pdp(pdp)
        self.issuer_did = control.issuers[DEFAULT]
        self.pdp_did = control.pdp_did
        self.store = control.store
        self._clock = control.clock
        self._closing = closing

    @classmethod
    async def open(
        cls, settings: Settings, signer: Asks, *, clock: Callable[[], float] = time.time
    ) -> System:
        """Validate the settings, take the folder, make what is missing in it.

        Raises InvalidPolicy, ConfigurationError or SignerError, and then holds nothing.
        """
        _check_depth(settings.max_chain_depth)
        catalog = load_catalog(settings.providers)
        live = Live(policy.load(settings.policies, catalog, settings.facts))
        try:
            async with AsyncExitStack() as closing:
                closing.callback(take_folder(settings).release)
                keys = Keys(settings.data / "keys", signer)
                store = Store(settings.data, clock)
                closing.push_async_callback(store.close)
                await _migrate(store, settings.data)
                closing.push_async_callback(keys.forget)
                issuer, pdp_did = await _issuer(store, keys), await keys.did(PDP_KEY)
                control = ControlPorts(
                    signer=signer,
                    store=store,
                    keys=keys,
                    live=live,
                    catalog=catalog,
                    issuers={DEFAULT: issuer},
                    pdp_did=pdp_did,
                    clock=clock,
                    control_url=settings.control_url,
                    pdp_url=settings.pdp_url,
                    version=_version(),
                    max_chain_depth=settings.max_chain_depth,
                    rates=Rates(await store.decisions_since(int((clock() - WINDOW) * 1000))),
                )
                pdp = PdpPorts(
                    signer=signer,
                    store=store,
                    live=live,
                    catalog=catalog,
                    pdp_did=pdp_did,
                    trusted_issuers={issuer: DEFAULT},
                    clock=clock,
                    workspace=settings.served_folder,
                    upstreams=settings.upstreams,
                    max_chain_depth=settings.max_chain_depth,
                )
                return cls(control, pdp, closing.pop_all())
        except OSError as failure:
            raise unusable(settings.data, failure) from failure

    async def create_app(self, name: str, role: Role = "agent") -> Secret:
        """Register an app and return its API key, which is not kept and not shown again."""
        issued = credentials.issue(name, role, DEFAULT, self._clock())
        await self.store.add_app(issued.app, issued.key)
        return issued.text

    async def close(self) -> None:
        """Finish what is under way and let go of the folder. Doing it twice is harmless."""
        await self._closing.aclose()


def _check_depth(depth: int) -> None:
    if not 1 <= depth <= DEEPEST_CHAIN:
        message = f"max_chain_depth is {depth}, and must be from 1 to {DEEPEST_CHAIN}"
        raise ConfigurationError(message, setting="max_chain_depth")


async def _migrate(store: Store, folder: Path) -> None:
    try:
        await store.migrate()
    except StorageUnavailable as failure:
        why = getattr(failure.__cause__, "orig", failure)
        raise ConfigurationError(
            f"the database in {folder} cannot be used: {why}. Restore it from a backup, or choose "
            "another data folder",
            setting="data",
        ) from failure


async def _issuer(store: Store, keys: Keys) -> str:
    """The DID that signs for the tenant, which must be the one that always did."""
    known = await store.issuer_of(DEFAULT)
    if known is not None and not keys.exists(ISSUER_KEY):
        raise ConfigurationError(
            f"the key file {ISSUER_KEY}.key is missing from the data folder's keys, and the "
            "database belongs to it. Restore it from a backup, or start with an empty data folder",
            setting="data",
        )
    did = await keys.did(ISSUER_KEY)
    if known is None:
        await store.add_tenant(DEFAULT, did)
    elif known != did:
        raise ConfigurationError(
            f"{ISSUER_KEY}.key is another key than the one this database was made with. "
            "Restore the right one from a backup",
            setting="data",
        )
    return did


def _version() -> str:
    try:
        return metadata.version("nomos")
    except metadata.PackageNotFoundError:
        return "unknown"  # run from a source tree that was never installed
