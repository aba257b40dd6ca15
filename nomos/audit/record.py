"""What one row of the audit log says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from nomos.models import Decision, DenyReason

Kind = Literal[
    "decision", "call", "delegation", "approval", "revocation", "policy", "key", "app", "session"
]
"""`decision`: the control plane answered; `call`: the PDP did; `delegation`: an agent handed
authority on, written when it is first used. The others are people's acts."""


@dataclass(frozen=True)
class Record:
    """The record of one decision, of one call at the PDP, or of what a person did.

    `at` is in milliseconds, `expires_at` in seconds. `app` and `agent` are who asked, `actor`
    is the app whose API key a person used. `cid` names the delegation that was signed or used,
    `bundle` the policies that decided, `status` the HTTP status a call was answered with,
    `envelope` the approval concerned, `parent` the record that led to this one. `act` says what
    a person did (`approve`, `revoke`, `activate`, …), `detail` to what, in plain JSON. `root` is
    the agent at whose authority it all began: `agent` itself, or an ancestor that handed it on.
    Of a delegation, `agent` is who was given it and `detail` has who gave it (`by`), and how many
    came before it (`depth`). Of refused calls that were too many to be recorded each, one record
    says that from there on they are counted (`act` is `fold_begin`), and others how many there were
    of one agent and reason (`fold`; `detail` has `count`, and `since` and `until` in milliseconds).
    Secrets are taken out before a record is made.
    """

    id: str
    tenant: str
    kind: Kind
    at: int
    app: str | None = None
    agent: str | None = None
    command: str | None = None
    resource: Mapping[str, Any] | None = None
    args: Mapping[str, Any] | None = None
    decision: Decision | None = None
    reason: DenyReason | None = None
    policies: tuple[str, ...] = ()
    bundle: str | None = None
    purpose: str | None = None
    expires_at: int | None = None
    cid: str | None = None
    request_id: str | None = None
    status: int | None = None
    envelope: str | None = None
    parent: str | None = None
    actor: str | None = None
    act: str | None = None
    root: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


MEMBERS: Final = tuple(each.name for each in fields(Record))


def content(record: Record) -> dict[str, Any]:
    """Return a record as JSON; what is absent or empty is left out."""
    found: dict[str, Any] = {}
    for name in MEMBERS:
        value = getattr(record, name)
        if value is None or (name in ("policies", "detail") and not value):
            continue
        if isinstance(value, tuple):
            value = list(value)
        found[name] = dict(value) if isinstance(value, Mapping) else value
    return found


def read(row: Mapping[str, Any]) -> Record:
    """Return the record in a row of the log; members that place the row are left out."""
    known = {name: row[name] for name in MEMBERS if name in row}
    return Record(**{**known, "policies": tuple(known.get("policies", ()))})
