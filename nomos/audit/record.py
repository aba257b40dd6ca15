"""`Record`: the content of one row of the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from nomos.models import Decision, DenyReason

Kind = Literal[
    "decision", "call", "delegation", "approval", "revocation", "policy", "key", "app", "session"
]
"""`decision`: of the control plane; `call`: at the PDP; `delegation`: a link that an agent signed,
recorded when it is first used. The others are acts of people."""


@dataclass(frozen=True)
class Record:
    """The record of one decision, of one call at the PDP, or of an act of a person.

    `at` is in milliseconds, `expires_at` in seconds. `app` and `agent` made the request; `actor` is
    the app whose API key a person used. `cid` names the delegation that was signed or used,
    `bundle` the policies that decided, `status` the HTTP status of a call's reply, `envelope` the
    approval, `parent` the record that led to this one. `act` is the act of a person (`approve`,
    `revoke`, `activate`, …), and `detail` describes it in plain JSON. `root` is the root agent of
    the swarm: `agent` itself, or an ancestor that delegated to it.

    In the record of a delegation, `agent` is its audience, and `detail` has its issuer (`by`) and
    the number of links before it (`depth`). If there are too many refused calls to record each, one
    record says that they are counted from there on (`act` is `fold_begin`), and others have the
    number of refused calls of one agent and reason (`fold`; `detail` has `count`, and `since` and
    `until` in milliseconds). Secrets are removed before a record is made.
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
    """Return a record as JSON, without absent and empty members."""
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
    """Return the record in a row of the log, without the members that place the row."""
    known = {name: row[name] for name in MEMBERS if name in row}
    return Record(**{**known, "policies": tuple(known.get("policies", ()))})
