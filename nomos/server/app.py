"""Composition of a control plane and a PDP from settings.

`System.open` checks policies and providers first, then the folder, the keys and the database. A
failed start leaves nothing behind that would make the next start fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib import metadata

from starlette.types import ASGIApp

from nomos.models import Secret
from nomos.policy import bundle as policy
from nomos.server.background.tasks import BackgroundTasks
from nomos.server.background.webhooks import Deliverer
from nomos.server.control import credentials, grant_review, login, services
from nomos.server.control.checkpoints import checkpointing
from nomos.server.control.context import Context as ControlContext
from nomos.server.control.context import rates_of_apps
from nomos.server.control.routes import create_control
from nomos.server.data_folder import consistency
from nomos.server.data_folder.layout import lock_data_dir, unusable
from nomos.server.domain.accounts import Role
from nomos.server.http.limits import WINDOW
from nomos.server.log_limits import limit_logs
from nomos.server.pages import routes as pages
from nomos.server.pdp.context import PdpContext
from nomos.server.pdp.revocations import StoreView
from nomos.server.pdp.routes import create_pdp
from nomos.server.policies import activation
from nomos.server.providers.catalog import load_catalog
from nomos.server.settings import Settings
from nomos.server.signing.issuers import Issuers
from nomos.server.signing.keys import SignerPort
from nomos.server.startup import PDP_KEY, check_depth, open_folder
from nomos.server.storage.tenants import DEFAULT


class System:
    """A control plane and a PDP on one data folder. `System.open` makes one."""

    def __init__(
        self,
        control: ControlContext,
        pdp: PdpContext,
        tasks: BackgroundTasks,
        closing: AsyncExitStack,
        host_names: Sequence[str] = (),
    ) -> None:
        self.control: ASGIApp = create_control(control, pages.ROUTES)
        self.pdp: ASGIApp = create_pdp(pdp)
        self.issuers = control.key_log
        self.pdp_did = control.pdp_did
        self.store = control.store
        self.live = control.live
        self.tasks = tasks
        self.quotas = control.quotas
        self.host_names = tuple(host_names)
        self._context = control
        self._closing = closing

    @property
    def issuer_did(self) -> str:
        """The DID of the issuer key that signs now."""
        return self.issuers.active[DEFAULT]

    @classmethod
    async def open(
        cls, settings: Settings, signer: SignerPort, *, clock: Callable[[], float] = time.time
    ) -> System:
        """Validate the settings, lock the folder, make what is missing in it.

        Raises InvalidPolicy, ConfigurationError or SignerError, after releasing everything.
        """
        limit_logs()
        check_depth(settings.max_chain_depth)
        host_names = settings.all_host_names
        catalog = load_catalog(settings.providers)
        given = policy.load(settings.policies, catalog, settings.facts)
        activation.warn(given)
        try:
            async with AsyncExitStack() as closing:
                closing.callback(lock_data_dir(settings).release)
                store, keys = await open_folder(settings.data, signer, clock, closing)
                issuers = Issuers(store, keys, signer, clock)
                await issuers.open(DEFAULT)
                await consistency.check_checkpoints(
                    store, signer, issuers, settings.data, settings.checkpoint
                )
                live = await activation.adopt(store, settings, given, tenant=DEFAULT, clock=clock)
                pdp_did = await keys.did(PDP_KEY)
                # The number of questions of each app in each second of the last minute.
                recent = await store.decisions_since(int((clock() - WINDOW) * 1000))
                control = ControlContext(
                    signer=signer,
                    store=store,
                    keys=keys,
                    live=live,
                    catalog=catalog,
                    issuers=issuers.active,
                    key_log=issuers,
                    pdp_did=pdp_did,
                    clock=clock,
                    control_url=settings.control_url,
                    pdp_url=settings.pdp_url,
                    version=_version(),
                    max_chain_depth=settings.max_chain_depth,
                    rates=rates_of_apps(recent),
                )
                pdp = PdpContext(
                    signer=signer,
                    store=store,
                    revocations=StoreView(store),
                    live=live,
                    catalog=catalog,
                    pdp_did=pdp_did,
                    trusted_issuers=issuers.trusted,
                    clock=clock,
                    control_url=settings.control_url,
                    workspace=settings.served_folder,
                    upstreams=settings.upstreams,
                    max_chain_depth=settings.max_chain_depth,
                )
                tasks = BackgroundTasks()
                closing.push_async_callback(tasks.close)
                await grant_review.warn(control, DEFAULT)
                tasks.start("issuers", issuers.follow)
                tasks.start("policies", activation.follower(control, DEFAULT))
                tasks.start(
                    "checks of the database",
                    consistency.checking(store, settings.checkpoint_seconds),
                )
                tasks.start("checkpoints", checkpointing(control, settings.checkpoint_seconds))
                if settings.webhook is not None:
                    store.outbox.wanted = True
                    deliverer = Deliverer(settings.webhook, store.outbox, control.notifier, clock)
                    tasks.start("webhook", deliverer.run)
                return cls(control, pdp, tasks, closing.pop_all(), host_names)
        except OSError as failure:
            raise unusable(settings.data, failure) from failure

    async def create_app(
        self, name: str, role: Role = "agent", covers: Sequence[str] = (), *, succeeds: bool = False
    ) -> Secret:
        """Register an app and return its API key, which is not stored and not shown again.

        `covers` are the roles that an operator's app may decide for (`"*"`: all). If it `succeeds`
        other apps of its name that the server made, it takes over their agents.
        """
        issued = credentials.issue(name, role, DEFAULT, self._context.clock(), covers=covers)
        await self.store.add_app(issued.app, issued.key, succeeds=succeeds)
        return issued.text

    async def register_services(self, dids: Mapping[str, str]) -> None:
        """Register services as audiences of grants, by name; registered ones do not change.

        Raises ConfigurationError for a name or a DID that another service has.
        """
        known = {each.name: each.did for each in (await self.store.services.all(DEFAULT)).found}
        for name, did in dids.items():
            if known.get(name) != did:
                await services.register(self._context, DEFAULT, name, did)

    async def login_link(self, operator: Secret) -> Secret:
        """Return a one-time link that signs in to the pages as the owner of this API key."""
        sent = [f"Bearer {operator.reveal()}"]
        key = await credentials.authenticate(self.store, sent, login.OPERATORS)
        context = self._context
        made = await login.make(self.store.sessions, key, context.clock(), context.control_url)
        return made.url

    def stopping(self) -> None:
        """Answer the calls that wait, such as those for an approval."""
        self._context.notifier.stop()

    async def close(self) -> None:
        """Finish running work and release the folder. Idempotent."""
        await self._closing.aclose()


def _version() -> str:
    try:
        return metadata.version("nomos")
    except metadata.PackageNotFoundError:
        return "unknown"  # run from a source tree that is not installed
