"""Which operator accounts count as one person. Pure.

Whoever registers an account has seen its API key and may have kept it, so the account counts as
its maker: the maker's own account, and so on up the line. That ends with the first account that
nobody registered (the server made it), or that was confirmed as another person's. Rotating a key
or signing in by a link proves nothing about who does it, and changes nothing here.

What an account registered before it was confirmed may have been registered by its maker, who
could use it then. So that counts as both, until it is confirmed itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAX_LINE: Final = 16
"""Accounts in a line, from one that nobody registered to the last one of it."""


UNKNOWN: Final = ""
"""The owner of an account whose row is damaged; no app has this id."""


@dataclass(frozen=True)
class Account:
    """An app as the line sees it: who registered it and when, and when it was confirmed.

    Times are Unix seconds; `confirmed_at` None while it is not.
    """

    owner: str | None
    created_at: int = 0
    confirmed_at: int | None = None


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


def is_known(accounts: Accounts, ident: str) -> bool:
    """Whether it is known who made this account, as far up the line as there is anyone."""
    return accounts.keys() >= set(makers(accounts, ident))


def persons(accounts: Accounts, ident: str) -> tuple[str, ...]:
    """The accounts that stand for whoever may be behind `ident`: itself, or makers of it.

    The first is the person whom it counts as. Others follow where it, or one between, was
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
    # A line that leads back to itself is one person's, at whichever account one enters it.
    last = accounts.get(line[-1])
    again = last.owner if last is not None else None
    end = line[-1] if again is None or again not in line else min(line[line.index(again) :])
    return tuple(dict.fromkeys((*found, end)))


def behind(accounts: Accounts, ident: str) -> tuple[str, ...]:
    """Every account whose person may use `ident`: itself and its makers, the nearest first.

    It ends with one that is confirmed, if it was so before the others here were registered; with
    one that is no account of ours, if its maker is unknown.
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
    """Whether `operator` is no part of the line of `ident`, neither above it nor below it.

    False where it is unknown who made one of them.
    """
    if not (is_known(accounts, operator) and is_known(accounts, ident)):
        return False
    above = {ident, *makers(accounts, ident)}
    mine = (operator, *makers(accounts, operator))
    return (
        above.isdisjoint(persons(accounts, operator))
        and operator not in above
        and ident not in mine
    )
