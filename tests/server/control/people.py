"""Questions that need approval, and the operators who decide them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import httpx

from nomos.server.control import credentials
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from server.control.conftest import Plane

POLICY: Final = """
@id("github") permit(principal, action in Action::"/github", resource is Github);
@id("files") permit(principal, action in Action::"/filesystem", resource is Filesystem);

@id("frozen") @reason("the archive is frozen")
forbid(principal, action in Action::"/github", resource is Github)
when { resource has repo && resource.repo == "archive" };

@id("issues") @step_up("lead") @reason("a lead reads new issues first")
forbid(principal, action == Action::"/github/issue/create", resource is Github)
when { context.purpose != "routine" } unless { context.cosigned };

@id("urgent") @step_up("security")
forbid(principal, action == Action::"/github/issue/create", resource is Github)
when { context.purpose == "urgent" } unless { context.cosigned };

@id("pulls") @step_up("lead")
forbid(principal, action == Action::"/github/pr/create", resource is Github)
unless { context.cosigned };

@id("one") @step_up("lead")
forbid(principal, action == Action::"/github/repo/delete", resource is Github)
unless { context.cosigned };

@id("two") @step_up("security")
forbid(principal, action == Action::"/github/repo/delete", resource is Github)
unless { context.cosigned };

@id("reading") @step_up("lead")
forbid(principal, action == Action::"/github/issue/read", resource is Github)
unless { context.cosigned };

@id("listing") @step_up("lead")
forbid(principal, action == Action::"/github/issue/list", resource is Github)
when { resource has repo && resource.repo == "secret" } unless { context.cosigned };

@id("writes") @step_up("lead")
forbid(principal, action == Action::"/filesystem/file/write", resource is Filesystem)
unless { context.cosigned };
"""

REPO: Final[Mapping[str, Any]] = {"provider": "github", "owner": "acme", "repo": "app"}
ISSUE: Final[Mapping[str, Any]] = {
    "command": "/github/issue/create",
    "resource": REPO,
    "args": {"title": "It broke", "body": "Again", "labels": ["bug", "ui"], "milestone": 7},
    "context": {"team": "blue", "ticket": 12},
}
DELETE: Final[Mapping[str, Any]] = {"command": "/github/repo/delete", "resource": REPO}


async def operator(plane: Plane, *covers: str, owner: str | None = None) -> dict[str, str]:
    """The headers of a new operator; `owner` makes it one that another app registered."""
    issued = credentials.issue(
        "a person", "operator", DEFAULT, plane.clock(), covers=covers, owner=owner
    )
    await plane.system.store.add_app(issued.app, issued.key)
    return {"authorization": f"Bearer {issued.text.reveal()}", "x-app": issued.app.id}


async def decide(
    plane: Plane, who: Mapping[str, str], envelope: str, *, approve: object = True, **more: Any
) -> httpx.Response:
    """Read a question and answer what it says; `version` in `more` is another one."""
    path = f"/v1/approvals/{envelope}"
    read = (await plane.client.get(path, headers=who)).json()
    body = {"approve": approve, "version": read.get("version", "0" * 64), **more}
    return await plane.client.post(f"{path}/decide", json=body, headers=who)


async def asked(plane: Plane, **question: Any) -> str:
    """Ask, and return the envelope that people have to answer."""
    answer = (await plane.ask(**question)).json()
    assert answer["decision"] == "requires_step_up", answer
    envelope: str = answer["approvalEnvelopeId"]
    return envelope


async def approved(plane: Plane, who: Mapping[str, str], **question: Any) -> str:
    """Ask, have it approved, and return the envelope."""
    envelope = await asked(plane, **question)
    reply = await decide(plane, who, envelope)
    assert reply.json()["state"] == "approved", reply.text
    return envelope


async def seen(plane: Plane, envelope: str, **query: Any) -> dict[str, Any]:
    """The question as its own app sees it."""
    reply = await plane.client.get(f"/v1/approvals/{envelope}", params=query)
    assert reply.status_code == 200, reply.text
    view: dict[str, Any] = reply.json()
    return view
