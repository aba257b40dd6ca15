"""The table of permissions: what operators may do to accounts, keys, grants and services. Pure.

Every route that acts on an object of the tenant uses it. A row has alternatives; one of them must
hold in all of its conditions. What no row allows is refused.

Roles of API keys (`agent`, `operator`, `auditor`) are checked before, by the table of routes.
Agents without an operator's key may revoke what is their own, which their chains prove.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from nomos.server.control.errors import ControlError
from nomos.server.domain.accounts import EVERY_ROLE, ApiKey

Act = Literal["register", "rotate", "disable", "confirm", "revoke", "remove", "change"]

Kind = Literal[
    "agent's app",
    "auditor",
    "operator",
    "agent",
    "delegation",
    "approval",
    "issuer key",
    "service",
    "PDP",
    "policies",
]

Condition = Literal[
    "any operator",
    "covers a role",
    "covers `*`",
    "covers all that it covers",
    "covers a role that it needs",
    "registered it",
    "registered its app",
    "itself",
    "another operator",
    "the server made it",
    "not confirmed as another person's",
    "outside of its line",
    "never",
]

Rule = tuple[tuple[Condition, ...], ...]

_OTHERS_APP: Final[Rule] = (("registered it",), ("covers a role",))
_OF_AN_APP: Final[Rule] = (("registered its app",), ("covers a role",))
_KEY: Final[Rule] = (("registered it",), ("covers `*`", "the server made it"))
_EVERY: Final[Rule] = (("covers `*`",),)

TABLE: Final[Mapping[tuple[Act, Kind], Rule]] = {
    ("register", "agent's app"): (("any operator",),),
    ("register", "auditor"): (("any operator",),),
    ("register", "operator"): (("covers all that it covers",),),
    ("rotate", "agent's app"): _KEY,
    ("rotate", "auditor"): _KEY,
    ("rotate", "operator"): (
        ("itself",),
        ("registered it", "covers all that it covers", "not confirmed as another person's"),
    ),
    ("disable", "agent's app"): _OTHERS_APP,
    ("disable", "auditor"): _OTHERS_APP,
    ("disable", "operator"): (("another operator", "covers all that it covers"),),
    ("confirm", "operator"): (("covers all that it covers", "outside of its line"),),
    ("revoke", "agent's app"): _OTHERS_APP,
    ("revoke", "auditor"): _OTHERS_APP,
    ("revoke", "operator"): (("itself",), ("covers all that it covers",)),
    ("revoke", "agent"): _OF_AN_APP,
    ("revoke", "delegation"): _OF_AN_APP,
    ("revoke", "approval"): (("registered its app",), ("covers a role that it needs",)),
    ("revoke", "issuer key"): _EVERY,
    ("revoke", "service"): (("never",),),
    ("revoke", "PDP"): (("never",),),
    ("rotate", "issuer key"): _EVERY,
    ("register", "service"): _EVERY,
    ("remove", "service"): _EVERY,
    ("change", "policies"): _EVERY,
}

_SENTENCES: Final[Mapping[tuple[Act, Kind], str]] = {
    ("rotate", "agent's app"): (
        "an agent's key is replaced by the operator who registered its app; "
        "that of an app which the server made, by one who covers every role"
    ),
    ("rotate", "auditor"): "an auditor's key is replaced by the operator who registered it",
    ("rotate", "operator"): (
        "an operator's key is replaced by that operator, or by its owner until it is confirmed as "
        "another person's"
    ),
    ("confirm", "operator"): (
        "an account is confirmed by an operator outside of its line (the accounts that registered "
        "it, directly or indirectly, and those that it registered); or on the server's machine: "
        "nomos operators confirm {id}"
    ),
    ("revoke", "service"): (
        "{id} is a registered service, the audience of grants: remove it first (nomos services "
        "remove NAME), and register it with another key"
    ),
    ("revoke", "PDP"): "{id} is this server's own PDP; no call could be made without it",
}


@dataclass(frozen=True)
class PermissionTarget:
    """The object of an action.

    `owner` is the operator who registered the app that it is or belongs to, `covers` the roles that
    it votes for, `roles` the roles that it needs, `outside` whether the operator is outside of its
    line.
    """

    kind: Kind
    id: str
    owner: str | None = None
    covers: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    confirmed: bool = False
    outside: bool = False


def check(operator: ApiKey, act: Act, target: PermissionTarget) -> None:
    """Raise ControlError unless the table allows this action to the operator."""
    rule, facts = TABLE.get((act, target.kind), (("never",),)), _facts(operator, target)
    if any(all(facts[each] for each in every) for every in rule):
        return
    raise ControlError("forbidden", _sentence(operator, act, target, rule))


def covers_every(operator: ApiKey) -> bool:
    """Return whether the operator covers every role."""
    return EVERY_ROLE in operator.covers


def uncovered_roles(operator: ApiKey, covers: tuple[str, ...]) -> list[str]:
    """Return those of these roles that the operator does not cover."""
    return [] if covers_every(operator) else sorted(set(covers) - set(operator.covers))


def _facts(operator: ApiKey, target: PermissionTarget) -> dict[Condition, bool]:
    """Return which conditions hold."""
    registered = target.owner == operator.app
    return {
        "any operator": True,
        "covers a role": bool(operator.covers),
        "covers `*`": covers_every(operator),
        "covers all that it covers": not uncovered_roles(operator, target.covers),
        "covers a role that it needs": any(
            not uncovered_roles(operator, (r,)) for r in target.roles
        ),
        "registered it": registered,
        "registered its app": registered,
        "itself": target.id == operator.app,
        "another operator": target.id != operator.app,
        "the server made it": target.owner is None,
        "not confirmed as another person's": not target.confirmed,
        "outside of its line": target.outside,
        "never": False,
    }


def _sentence(operator: ApiKey, act: Act, target: PermissionTarget, rule: Rule) -> str:
    """Return why the action is refused, and who may do it."""
    covered = ", ".join(operator.covers) or "no role"
    wanted = {each for every in rule for each in every}
    missing = uncovered_roles(operator, target.covers)
    if "covers all that it covers" in wanted and missing:
        what = "every role" if EVERY_ROLE in missing else ", ".join(missing)
        return (
            f"that key covers {what}, and yours does not: an operator who covers these roles "
            "can do this"
        )
    known = _SENTENCES.get((act, target.kind))
    if known is not None:
        return known.format(id=target.id)
    if rule == _EVERY:
        return (
            "this changes what operators must approve, so it needs an operator's key that "
            f"covers every role ({EVERY_ROLE}); yours covers {covered}"
        )
    needed = " or ".join(target.roles) or "some role"
    return (
        f"only the operator who registered its app, or one who covers {needed}, may {act} this "
        f"{target.kind}; your key covers {covered}"
    )
