"""Routes for policy versions: upload, show, activate and roll back.

A version is validated against this server's providers before it is stored, and again before it is
activated. An activation takes effect once it is on the disk: at once in the control plane and the
PDP of this server, within a second in other servers on the same database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field
from starlette.requests import Request

from nomos._limits import MAX_POLICIES
from nomos._times import iso
from nomos.errors import ConfigurationError, InvalidPolicy, InvalidRequest, PolicyProblem
from nomos.models import Absent
from nomos.policy.bundle import Bundle, Source
from nomos.server.control import body, grant_review, messages
from nomos.server.control.context import Context
from nomos.server.control.errors import ControlError, shown
from nomos.server.control.grant_review import OutdatedGrant
from nomos.server.control.messages import (
    DAMAGED,
    MessageModel,
    PolicyProblemReply,
    ReplyModel,
)
from nomos.server.control.route import route
from nomos.server.domain.accounts import ApiKey
from nomos.server.http.query import Number, Query
from nomos.server.policies import activation
from nomos.server.storage.bundles import Activation, Content, PolicyAuthor, Version

MAX_SOURCES: Final = 256
MAX_LISTED: Final = 100
MAX_PROBLEMS: Final = 50
MAX_NAMED: Final = 5
MAX_MESSAGE: Final = 500
TRIES: Final = 8
"""How often a rollback is retried because another activation came first."""

_LISTED: Final = Query(
    Number(
        "limit",
        least=1,
        default=MAX_LISTED,
        description=f"The number of versions; at most {MAX_LISTED} are listed.",
    ),
    Number("before", least=1, description="Only versions below this number."),
)

Options = TypeVar("Options", bound=MessageModel)

Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,200}$")]
FactName = Annotated[str, Field(max_length=64)]


class PolicyRequest(MessageModel):
    """Policies to store as a version."""

    sources: dict[Name, str] = Field(
        max_length=MAX_SOURCES,
        description="Cedar texts by name; errors and explanations use these names.",
        examples=[{"github.cedar": '@id("all") permit (principal, action, resource);'}],
    )
    facts: dict[FactName, str] = Field(
        default_factory=dict,
        max_length=MAX_SOURCES,
        description="The facts that agents assert and these policies read, with Cedar types.",
    )


class VersionReply(ReplyModel):
    """A version of the policies; `putBy` is absent if it came from files at a start."""

    version: int
    hash: str = Field(description="The hash by which receipts name the policies.")
    origin: Literal["file", "api"]
    put_at: str
    put_by: str | Absent = None
    active: bool


class PutReply(VersionReply):
    """`created` is false if the same content was stored before: that version is returned."""

    created: bool
    warnings: list[PolicyProblemReply] | Absent = Field(
        default=None,
        description="Conditions in these policies that can never hold; the policies are valid.",
    )


class WholeVersionReply(VersionReply):
    """A version with its content."""

    sources: dict[str, str]
    facts: dict[str, str]


class VersionsReply(ReplyModel):
    """Versions, newest first; with `before`, only earlier ones."""

    policies: list[VersionReply]
    damaged: list[str] = Field(default=[], description=DAMAGED)
    active: int
    server_time: str


class ActivateRequest(MessageModel):
    """Options of an activation. All of them may be left out."""

    revoke_live: bool = Field(
        default=False,
        description="Revoke the live grants for services that these policies would not give.",
    )


class RollbackRequest(ActivateRequest):
    """Options of a rollback."""

    replaces: int | Absent = Field(
        default=None,
        ge=1,
        description="The version that is to be replaced: if another one is active by now, nothing "
        "is changed, since a second rollback would undo the first.",
    )


class ActivationReply(ReplyModel):
    """The active version; `before` is the one that was active until now."""

    version: int
    hash: str
    before: int | Absent = None
    activated_at: str
    activated_by: str | Absent = None
    outdated: int = Field(
        description="Live grants for services that these policies would not give. Services "
        "evaluate no policy, and accept them until they expire or are revoked."
    )
    outdated_grants: list[OutdatedGrant] = Field(description="At most 100 of them.")
    revoked: int | Absent = Field(
        default=None, description="How many were revoked, if that was requested."
    )


@route("GET", "/v1/policies", ("operator", "auditor"), VersionsReply, query=_LISTED)
async def get_policies(context: Context, request: Request, caller: ApiKey) -> VersionsReply:
    """The policy versions, newest first, and the active one (`limit`, `before`)."""
    query = _LISTED.read(request.scope["query_string"])
    found = await context.store.policies.listed(
        caller.tenant, min(query["limit"], MAX_LISTED), query["before"]
    )
    active = await _active(context, caller)
    return VersionsReply(
        policies=[VersionReply(**_version_members(each, active)) for each in found.found],
        damaged=list(found.damaged),
        active=active.version,
        server_time=iso(context.clock()),
    )


@route("GET", "/v1/policies/{version}", ("operator", "auditor"), WholeVersionReply)
async def get_policy(context: Context, request: Request, caller: ApiKey) -> WholeVersionReply:
    """One version with its texts."""
    version = await _version(context, request, caller)
    return WholeVersionReply(
        **_version_members(version, await _active(context, caller)),
        sources={each.name: each.text for each in version.content.sources},
        facts=dict(version.content.facts),
    )


@route(
    "POST",
    "/v1/policies",
    ("operator",),
    PutReply,
    accepts=PolicyRequest,
    act=("change", "policies"),
)
async def post_policies(context: Context, request: Request, caller: ApiKey) -> PutReply:
    """Store policies as a version, at most 1 MiB.

    If they are invalid, `problems` has the errors.
    """
    sent = messages.read(PolicyRequest, await body.read(request, MAX_POLICIES))
    sources = tuple(Source(name, text) for name, text in sorted(sent.sources.items()))
    candidate = Version(0, Content("", sources, sent.facts), "api", 0, None)
    bundle = await _valid(context, candidate)
    content = Content(bundle.hash, sources, sent.facts)
    version, created = await context.store.policies.put(_who(context, request, caller), content)
    return PutReply(
        **_version_members(version, await _active(context, caller)),
        created=created,
        warnings=[PolicyProblemReply(**each) for each in _problems(bundle.warnings)] or None,
    )


@route(
    "POST",
    "/v1/policies/{version}/activate",
    ("operator",),
    ActivationReply,
    accepts=ActivateRequest,
    act=("change", "policies"),
)
async def post_activate(context: Context, request: Request, caller: ApiKey) -> ActivationReply:
    """Activate this version.

    Lists the live grants for services that it would not give, and revokes them with `revokeLive`.
    """
    sent = await _options(request, ActivateRequest)
    version = await _version(context, request, caller)
    bundle = await _valid(context, version)
    before = await _active(context, caller)
    done = await context.store.policies.activate(_who(context, request, caller), version)
    assert done is not None, "no predecessor was required"
    change = _Change(version, bundle, done, before)
    return await _activated(context, request, caller, sent, change)


@route(
    "POST",
    "/v1/policies/rollback",
    ("operator",),
    ActivationReply,
    accepts=RollbackRequest,
    refuses=(404, 409),
    act=("change", "policies"),
)
async def post_rollback(context: Context, request: Request, caller: ApiKey) -> ActivationReply:
    """Activate the version that was active before; otherwise the same as activating a version."""
    sent = await _options(request, RollbackRequest)
    for _ in range(TRIES):
        last = await _active(context, caller)
        if sent.replaces not in (None, last.version):
            raise ControlError(
                "already_decided",
                f"version {last.version} is active, and no longer version {sent.replaces}: another "
                "operator has changed it meanwhile. Nothing was changed",
            )
        version = await context.store.policies.before(caller.tenant, last)
        if version is None:
            raise ControlError("not_found", f"no version was active before version {last.version}")
        bundle = await _valid(context, version)
        who = _who(context, request, caller)
        done = await context.store.policies.activate(
            who, version, act="rollback", after=last.number
        )
        if done is not None:
            change = _Change(version, bundle, done, last)
            return await _activated(context, request, caller, sent, change)
    raise ControlError("unavailable", "policy versions changed concurrently; retry")


async def _options(request: Request, kind: type[Options]) -> Options:
    """Return the options of the request; an empty body has none."""
    sent = await body.raw(request)
    return messages.read(kind, body.parse(sent) if sent else {})


@dataclass(frozen=True)
class _Change:
    """A version that became the active one, and the one before it."""

    version: Version
    bundle: Bundle
    done: Activation
    before: Activation


async def _activated(
    context: Context, request: Request, caller: ApiKey, sent: ActivateRequest, change: _Change
) -> ActivationReply:
    """Let a version decide; return it, and the live grants of services that it would not give."""
    version, done, before = change.version, change.done, change.before
    context.live.activate(change.bundle, done.version, done.number)
    context.notifier.notify(activation.policy_topic(caller.tenant))
    tenant, request_id = caller.tenant, request.state.request_id
    revoke = partial(grant_review.revoke, context, tenant, by=caller.app, request_id=request_id)
    wanted = revoke if sent.revoke_live else None
    found = await grant_review.find(context, tenant, revoke=wanted)
    return ActivationReply(
        version=version.number,
        hash=version.content.hash,
        before=before.version if before.version != version.number else None,
        activated_at=iso(done.at),
        activated_by=done.by,
        outdated=found.count,
        outdated_grants=grant_review.listed(found.first),
        revoked=found.revoked if sent.revoke_live else None,
    )


async def _valid(context: Context, version: Version) -> Bundle:
    """Return the version's bundle. Raises ControlError with the problems."""
    try:
        return await activation.load(version, context.catalog)
    except InvalidPolicy as invalid:
        which = f"policy version {version.number}" if version.number else "the upload"
        problems = "; ".join(str(each)[:MAX_MESSAGE] for each in invalid.problems[:MAX_NAMED])
        more = len(invalid.problems) - MAX_NAMED
        raise ControlError(
            "invalid_policy",
            f"{which} is not valid: {problems}{f'; and {more} more' if more > 0 else ''}",
            details={"problems": _problems(invalid.problems)},
        ) from None
    except ConfigurationError as wrong:
        raise InvalidRequest(str(wrong)[:MAX_MESSAGE], fields=(wrong.setting,)) from None


def _problems(found: Sequence[PolicyProblem]) -> list[dict[str, Any]]:
    return [
        {
            "file": each.file,
            "line": each.line,
            "policy": each.policy,
            "message": each.message[:MAX_MESSAGE],
        }
        for each in found[:MAX_PROBLEMS]
    ]


async def _version(context: Context, request: Request, caller: ApiKey) -> Version:
    text = request.path_params["version"]
    number = int(text) if re.fullmatch(r"[1-9][0-9]{0,8}", text) else 0
    found = await context.store.policies.find(caller.tenant, number)
    if found is None:
        raise ControlError("not_found", f"there is no policy version {shown(text)}")
    return found


async def _active(context: Context, caller: ApiKey) -> Activation:
    active = await context.store.policies.active(caller.tenant)
    assert active is not None, "a server activates a version when it starts"
    return active


def _who(context: Context, request: Request, caller: ApiKey) -> PolicyAuthor:
    request_id: str = request.state.request_id
    return activation.policy_author(
        caller.tenant, context.clock, by=caller.app, request_id=request_id
    )


def _version_members(version: Version, active: Activation) -> dict[str, Any]:
    return {
        "version": version.number,
        "hash": version.content.hash,
        "origin": version.origin,
        "put_at": iso(version.at),
        "put_by": version.by,
        "active": version.number == active.version,
    }


ROUTES: Final = (get_policies, post_policies, get_policy, post_activate, post_rollback)
