"""Activation of policy versions: at the start, and when another process activates one.

At a start, files that changed since the last start become a new version, which is activated;
otherwise the last activation counts. One by another process is noticed within a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from nomos.audit.record import Record
from nomos.errors import ConfigurationError, InvalidPolicy
from nomos.policy import bundle as policy
from nomos.policy.bundle import Bundle
from nomos.resources import Catalog
from nomos.server.background.notifier import Notifier
from nomos.server.policies.active import ActivePolicy
from nomos.server.settings import Settings
from nomos.server.storage.bundles import Act, Content, PolicyAuthor, Version
from nomos.server.storage.records import new_receipt_id
from nomos.server.storage.store import Store

MAX_LISTED: Final = 3  # problems of a stored version that a message lists
MAX_WARNED: Final = 20  # warnings of one bundle that are logged
log = logging.getLogger("nomos.server")


def policy_topic(tenant: str) -> str:
    """Return the topic that is notified when a version of the tenant is activated."""
    return f"policies:{tenant}"


def policy_author(
    tenant: str, clock: Callable[[], float], *, by: str | None, request_id: str | None = None
) -> PolicyAuthor:
    """Return the author of changes made now; `by` is None for a start."""

    def record(act: Act, version: int, digest: str) -> Record:
        at = int(clock() * 1000)
        return Record(
            id=new_receipt_id(at),
            tenant=tenant,
            kind="policy",
            at=at,
            actor=by,
            act=act,
            detail={"version": version, "hash": digest},
            request_id=request_id,
        )

    return PolicyAuthor(tenant, int(clock()), by, record)


def warn(bundle: Bundle) -> None:
    """Log the bundle's warnings: conditions in valid policies that can never be satisfied."""
    for each in bundle.warnings[:MAX_WARNED]:
        log.warning("policy %s", each)


async def load(version: Version, catalog: Catalog) -> Bundle:
    """Return the bundle of a stored version, validated again: providers may have changed."""
    content = version.content
    return await asyncio.to_thread(policy.load, content.sources, catalog, content.facts)


async def adopt(
    store: Store,
    settings: Settings,
    given: Bundle,
    *,
    tenant: str,
    clock: Callable[[], float],
) -> ActivePolicy:
    """Return the active policy at a start, `given` or the API's. Raises ConfigurationError."""
    content = Content(given.hash, settings.policies, dict(settings.facts))
    who = policy_author(tenant, clock, by=None)
    version, activation = await store.policies.adopt(who, content)
    if version.content == content:
        return ActivePolicy(given, version.number, activation.number)
    try:
        bundle = await load(version, given.catalog)
    except ConfigurationError as invalid:
        raise _unusable(version, invalid) from invalid
    log.info("policy version %d, activated through the API, is active", version.number)
    return ActivePolicy(bundle, version.number, activation.number)


def _unusable(version: Version, invalid: ConfigurationError) -> ConfigurationError:
    problems = invalid.problems if isinstance(invalid, InvalidPolicy) else (invalid,)
    listed = "; ".join(str(each) for each in problems[:MAX_LISTED])
    return ConfigurationError(
        f"policy version {version.number} is active and no longer validates: {listed}. "
        "Start with the providers that it was made for; or change the policy files, which then "
        "become a new version and replace it",
        setting="policies",
    )


class FollowerContext(Protocol):
    """The part of a server that the follower uses: `nomos.server.control.context.Context`."""

    @property
    def store(self) -> Store: ...
    @property
    def live(self) -> ActivePolicy: ...
    @property
    def catalog(self) -> Catalog: ...
    @property
    def notifier(self) -> Notifier: ...


def follower(context: FollowerContext, tenant: str) -> Callable[[], Awaitable[None]]:
    """Return a background task that activates here the versions that other processes activate."""

    async def follow() -> None:
        while True:
            await context.notifier.wait(policy_topic(tenant))
            await catch_up(context.store, context.live, context.catalog, tenant)

    return follow


async def catch_up(store: Store, live: ActivePolicy, catalog: Catalog, tenant: str) -> None:
    """Activate the last activation's version, if that is not active here already."""
    last = await store.policies.active(tenant)
    if last is None or last.number <= live.activation:
        return
    version = await store.policies.find(tenant, last.version)
    assert version is not None, "an activated version is stored"
    try:
        bundle = await load(version, catalog)
    except ConfigurationError as invalid:
        error = _unusable(version, invalid)
        log.error("%s. Version %d stays active", error, live.version)  # noqa: TRY400 (no traceback)
        live.skip(last.number)
        return
    live.activate(bundle, version.number, last.number)
    log.info("policy version %d is active, activated by another process", version.number)
