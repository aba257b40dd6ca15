"""The attack table: how each group is written down, and its length.

A row asks what a row that is accepted asks, with one mutation, and says the code that must refuse
it and the hop at fault. Both are written by hand beside the mutation, from the order in
`ucan-bin/src/verify/verify.ts`; nothing here comes from what the binary answers. What a service
does after the binary said yes, such as claiming a nonce once, is not in the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from vectors import (
    attack_call,
    attack_checkpoint,
    attack_claims,
    attack_header,
    attack_json,
    attack_keys,
    attack_links,
    attack_order,
    attack_policy,
    attack_receipt,
    attack_requested,
    attack_service,
    attack_signatures,
    attack_statement,
    attack_text,
    attack_times,
    attack_trust,
    attack_use,
    attack_wider,
)
from vectors.attack_base import Attack
from vectors.cases import refused, verify
from vectors.forge import Payload

GROUPS: Final[dict[str, tuple[str, Callable[[], Iterator[Attack]]]]] = {
    "text": (attack_text.ABOUT, attack_text.attacks),
    "json": (attack_json.ABOUT, attack_json.attacks),
    "header": (attack_header.ABOUT, attack_header.attacks),
    "keys": (attack_keys.ABOUT, attack_keys.attacks),
    "signatures": (attack_signatures.ABOUT, attack_signatures.attacks),
    "claims": (attack_claims.ABOUT, attack_claims.attacks),
    "times": (attack_times.ABOUT, attack_times.attacks),
    "links": (attack_links.ABOUT, attack_links.attacks),
    "trust": (attack_trust.ABOUT, attack_trust.attacks),
    "wider": (attack_wider.ABOUT, attack_wider.attacks),
    "use": (attack_use.ABOUT, attack_use.attacks),
    "service": (attack_service.ABOUT, attack_service.attacks),
    "call": (attack_call.ABOUT, attack_call.attacks),
    "statement": (attack_statement.ABOUT, attack_statement.attacks),
    "policy": (attack_policy.ABOUT, attack_policy.attacks),
    "requested": (attack_requested.ABOUT, attack_requested.attacks),
    "order": (attack_order.ABOUT, attack_order.attacks),
    "checkpoint": (attack_checkpoint.ABOUT, attack_checkpoint.attacks),
    "receipt": (attack_receipt.ABOUT, attack_receipt.attacks),
}


class Count(NamedTuple):
    """How long the table is, for people."""

    group: str
    mutations: int
    rows: int


class Pool:
    """The texts of tokens, each written once; rows name them by number."""

    def __init__(self) -> None:
        self.tokens: dict[str, int] = {}

    def number(self, token: str) -> int:
        return self.tokens.setdefault(token, len(self.tokens))

    def ask(self, request: Payload) -> Payload:
        """Leave out what every request for verification says, and number its tokens."""
        common = verify()
        asked = {
            name: value
            for name, value in request.items()
            if request["op"] != "verify" or name not in common or common[name] != value
        }
        for name, value in asked.items():
            if name in ("invocation", "token"):
                asked[name] = self.number(value)
            if name == "chain":
                asked[name] = [self.number(token) for token in value]
        return asked


def document(group: str) -> str:
    """Write one group: a row a line, a token a line."""
    about, attacks = GROUPS[group]
    rows = list(attacks())
    pool = Pool()
    accepted = {row.base.name: row.base for row in rows}
    names = [name(row) for row in rows]
    assert len(set(names)) == len(names), f"two rows are named {_twice(names)}"
    for row in rows:
        assert row.base.request == accepted[row.base.name].request, row.base.name
        # As text: to Python, 1 is true.
        changed = json.dumps(row.request) != json.dumps(row.base.request)
        assert changed, f"{name(row)} changes nothing"
    good = [
        {"name": base.name, "ask": pool.ask(base.request), "answer": base.answer}
        for base in accepted.values()
    ]
    bad = [
        {
            "mutation": row.mutation,
            "where": row.where,
            "of": row.base.name,
            "ask": pool.ask(row.request),
            "refused": refused(row.code, row.hop),
        }
        for row in rows
    ]
    lists: dict[str, list[Any]] = {"tokens": list(pool.tokens), "accepted": good, "refused": bad}
    parts = [f'"about": {json.dumps(about)}', f'"request": {json.dumps(verify())}']
    parts += [f'"{name}": [\n{_lines(values)}\n]' for name, values in lists.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def name(row: Attack) -> str:
    return f"{row.mutation}, at {row.where} of {row.base.name}"


def counts() -> list[Count]:
    found = []
    for group, (_, attacks) in GROUPS.items():
        rows = list(attacks())
        found.append(Count(group, len({row.mutation for row in rows}), len(rows)))
    return found


def _lines(values: list[Any]) -> str:
    return ",\n".join(json.dumps(value, separators=(",", ":")) for value in values)


def _twice(names: list[str]) -> set[str]:
    return {name for name in names if names.count(name) > 1}
