"""Which operator accounts count as one person. Pure.

Whoever registers an account has seen its API key and may have kept it, so the account counts as
its maker: the maker's own account, and so on up the line. That ends with the first account that
nobody registered (the server made it), or that was confirmed as another person's. Rotating a key
or signing in by a link proves nothing about who does it, and changes nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAX_LINE: Final = 16
"""Accounts in a line, from one that nobody registered to the last one of it."""


@dataclass(frozen=True)
class Account:
    """An app as the line sees it: who registered it, and whether it was confirmed since."""

    owner: str | None
    confirmed: bool = False


Accounts = Mapping[str, Account]
"""Accounts by id, with all of their makers."""


def makers(accounts: Accounts, ident: str) -> tuple[str, ...]:
    """Everyone who made this account, directly or through others, the nearest first."""
    found: list[str] = []
    at = accounts.get(ident)
    while at is not None and at.owner is not None and at.owner not in (ident, *found):
        found.append(at.owner)
        at = accounts.get(at.owner)
    return tuple(found)


def person(accounts: Accounts, ident: str) -> str:
    """The account that stands for the person whom `ident` counts as: itself, or a maker of it."""
    line = (ident, *makers(accounts, ident))
    for each in line:
        account = accounts.get(each)
        if account is not None and account.confirmed:
            return each
    # A line that leads back to itself is one person's, at whichever account one enters it.
    last = accounts.get(line[-1])
    cycle = last is not None and last.owner is not None and last.owner in line
    return min(line) if cycle else line[-1]


def asker(accounts: Accounts, owner: str | None) -> str | None:
    """The person who may not answer an app's questions; None for an app that the server made."""
    return None if owner is None else person(accounts, owner)


def outside(accounts: Accounts, operator: str, ident: str) -> bool:
    """Whether `operator` is no part of the line of `ident`, neither above it nor below it."""
    above = (ident, *makers(accounts, ident))
    mine = (operator, *makers(accounts, operator))
    return person(accounts, operator) not in above and operator not in above and ident not in mine
