"""Which operator accounts count as one person, by who registered each account. Pure.

The operator who registers an account has seen its API key and may have kept it, so the account
counts as the same person as its maker, as the maker's own maker, and so on up the line. The line
ends with the first account that the server made, or that was confirmed as another person's.
Rotating a key or signing in by a link does not prove which person does it, and changes nothing
here.

What an account registered before it was confirmed may have been registered by its maker, who could
use it then. So that counts as both, until it is confirmed itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAX_LINE: Final = 16
"""The maximum number of accounts in a line, the one that the server made included."""


UNKNOWN: Final = ""
"""The owner of an account whose row is damaged; no app has this id."""


@dataclass(frozen=True)
class Account:
    """An app in a line: its owner, and Unix times; `confirmed_at` is None before confirmation."""

    owner: str | None
    created_at: int = 0
    confirmed_at: int | None = None


Accounts = Mapping[str, Account]  # accounts by id, with all of their makers


def makers(accounts: Accounts, ident: str) -> tuple[str, ...]:
    """Return the makers of this account, direct and indirect, nearest first."""
    found: list[str] = []
    at = accounts.get(ident)
    while at is not None and at.owner is not None and at.owner not in (ident, *found):
        found.append(at.owner)
        at = accounts.get(at.owner)
    return tuple(found)


def is_known(accounts: Accounts, ident: str) -> bool:
    """Return whether all makers of this account are known."""
    return accounts.keys() >= set(makers(accounts, ident))


def persons(accounts: Accounts, ident: str) -> tuple[str, ...]:
    """Return the accounts that `ident` counts as: itself, or makers of it.

    The first is the person that it counts as. Others follow if it, or an account between, was
    registered no later than that person was confirmed.
    """
    found: list[str] = []
    oldest: int | None = None
    line = (ident, *makers(accounts, ident))
    for each in line:
        account = accounts.get(each)
        if account is not None and account.confirmed_at is not None:
            found.append(each)
            if oldest is None or oldest > account.confirmed_at:
                return tuple(found)
        if account is not None:
            oldest = account.created_at if oldest is None else min(oldest, account.created_at)
    # A line that is a circle counts as one person, from whichever account it is entered.
    last = accounts.get(line[-1])
    again = last.owner if last is not None else None
    end = line[-1] if again is None or again not in line else min(line[line.index(again) :])
    return tuple(dict.fromkeys((*found, end)))


def behind(accounts: Accounts, ident: str) -> tuple[str, ...]:
    """Return every account whose person may use `ident`: itself and its makers, nearest first.

    The last one was confirmed before the others here were registered; or it is an account that is
    not stored, whose maker is unknown; or the line ends with it.
    """
    found: list[str] = []
    oldest: int | None = None
    for each in (ident, *makers(accounts, ident)):
        found.append(each)
        account = accounts.get(each)
        if account is None:
            continue
        confirmed = account.confirmed_at
        if confirmed is not None and (oldest is None or oldest > confirmed):
            break
        oldest = account.created_at if oldest is None else min(oldest, account.created_at)
    return tuple(found)


def outside(accounts: Accounts, operator: str, ident: str) -> bool:
    """Return whether `operator` is neither above nor below `ident`; False for an unknown maker."""
    if not (is_known(accounts, operator) and is_known(accounts, ident)):
        return False
    above = {ident, *makers(accounts, ident)}
    own_line = (operator, *makers(accounts, operator))
    return (
        above.isdisjoint(persons(accounts, operator))
        and operator not in above
        and ident not in own_line
    )
