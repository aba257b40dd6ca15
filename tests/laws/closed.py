"""Random policies and grants for a service: it accepts no call that policy would deny.

By hand: `python tests/laws/closed.py 10000 1` plays ten thousand worlds from seed 1 on. A world
is a bundle of policies and some grants; each grant that is signed is used for calls at a service,
and each call that the service accepts is asked for exactly: policy must allow it. And a grant in
which everything is named must not be refused.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nomos.errors import InvalidPolicy, InvalidRequest
from nomos.policy.bundle import Bundle, Source, load
from nomos.policy.decide import decide
from nomos.policy.decision import PolicyDecision, PolicyQuestion
from nomos.resources import (
    Argument,
    Catalog,
    CommandSpec,
    Provider,
    ResourceField,
    canonical_resource,
    commands_under,
    find_command,
)
from nomos.server.domain import closed_grants, decision, token_claims
from nomos.server.domain.accounts import ApiKey
from nomos.server.domain.authorization import CanonicalRequest, Evaluation
from nomos.server.domain.delegation import DelegationContext

READ: Final = "/desk/ticket/read"
CLOSE: Final = "/desk/ticket/close"
MOVE: Final = "/desk/ticket/file/move"
FILE: Final = "/desk/file/read"
WRITE: Final = "/desk/file/write"
COMMANDS: Final = (READ, CLOSE, MOVE, FILE, WRITE)
GROUPS: Final = ("/desk", "/desk/ticket", "/desk/file")

PROVIDER: Final = Provider(
    name="desk",
    kind="Desk",
    fields={
        "queue": ResourceField(required=True, case="lower"),
        "number": ResourceField(type="integer"),
        "path": ResourceField(type="path"),
        "tag": ResourceField(),
        "folder": ResourceField(type="path"),
    },
    commands={
        each.name: each
        for each in (
            CommandSpec(name=READ, risk="read", resource=("queue",), optional=("number", "tag")),
            CommandSpec(
                name=CLOSE,
                risk="write",
                method="POST",
                resource=("queue", "number"),
                args={"comment": Argument(place="body")},
            ),
            CommandSpec(name=MOVE, risk="write", resource=("queue", "path", "folder")),
            CommandSpec(name=FILE, risk="read", resource=("path",), optional=("queue", "tag")),
            CommandSpec(name=WRITE, risk="destructive", resource=("queue", "path")),
        )
    },
)
CATALOG: Final[Catalog] = {"desk": PROVIDER}
VALUES: Final[Mapping[str, tuple[Any, ...]]] = {
    "queue": ("a", "hr", "vip", "a*"),
    "number": (0, 3, 7, 2**53 - 1),
    "path": ("", "a", "a/b", "a/b/c", "b", "a/b.md", "ab", "a/secret/x"),
    "tag": ("a", "t", "x/y"),
    "folder": ("", "a", "a/b", "b"),
}
AGENT: Final = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
OTHER: Final = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
BOOLS: Final = ("true", "false")
FACTS: Final = {"team": "String"}


class Writer:
    """Writes policies that are well typed, or nearly so."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    def bundle(self) -> Bundle:
        """A bundle of up to six policies; those that do not validate are written anew."""
        texts: list[str] = []
        for number in range(self.dice.randint(1, 6)):
            for _ in range(20):
                text = self.policy(number)
                try:
                    load((Source("a", text),), CATALOG, FACTS)
                except InvalidPolicy:
                    continue
                texts.append(text)
                break
        return load((Source("a", "\n".join(texts)),), CATALOG, FACTS)

    def policy(self, number: int) -> str:
        kind = self.dice.choice(("permit", "permit", "forbid", "step"))
        head = f'@id("p{number}") ' + ('@step_up("lead") ' if kind == "step" else "")
        head += "permit" if kind == "permit" else "forbid"
        scope = f"({self.principal()}, {self.action()}, {self.resource()})"
        tail = self.dice.choice(("", "", f" when {{ {self.truth(3)} }}"))
        if kind != "permit" and not tail:
            tail = f" when {{ {self.truth(3)} }}"
        if kind == "step":
            tail += " unless { context.cosigned }"
        elif self.dice.random() < 0.2:
            tail += f" unless {{ {self.truth(2)} }}"
        return f"{head}{scope}{tail};"

    def principal(self) -> str:
        return self.dice.choice(
            ("principal",) * 6
            + (f'principal == Agent::"{AGENT}"', 'principal in App::"app_1"', "principal is Agent")
        )

    def action(self) -> str:
        some = ", ".join(f'Action::"{each}"' for each in self.dice.sample(COMMANDS, 2))
        return self.dice.choice(
            (
                "action",
                'action in Action::"/desk"',
                f'action in Action::"{self.dice.choice(GROUPS)}"',
                f'action == Action::"{self.dice.choice(COMMANDS)}"',
                f"action in [{some}]",
            )
        )

    def resource(self) -> str:
        return self.dice.choice(("resource", "resource is Desk"))

    def truth(self, depth: int) -> str:
        """An expression that is true or false."""
        if depth == 0 or self.dice.random() < 0.35:
            return self.dice.choice(self.leaves)(self)
        one, other = self.truth(depth - 1), self.truth(depth - 1)
        return self.dice.choice(
            (
                f"({one} && {other})",
                f"({one} || {other})",
                f"({one} || {other})",
                f"!({one})",
                f"(if {one} then {other} else {self.truth(depth - 1)})",
                f"({one}) == ({other})",
            )
        )

    def on_queue(self) -> str:
        queue = self.dice.choice(VALUES["queue"])
        name = self.dice.choice(("resource.queue", 'resource["queue"]', "{q: resource.queue}.q"))
        return self.dice.choice(
            (
                f'{name} == "{queue}"',
                f'{name} != "{queue}"',
                f'{name} like "{queue}"',
                f'{name} like "*{queue[-1]}"',
                f'["a", "hr"].contains({name})',
                f'[{name}, "a"].containsAny(["vip"])',
                f'{{q: {name}}} == {{q: "{queue}"}}',
                f"context.purpose == {name}",
            )
        )

    def on_path(self, field_: str = "path") -> str:
        path = self.dice.choice(VALUES["path"])
        name = f"resource.{field_}"
        test = self.dice.choice(
            (
                f'{name} == "{path}"',
                f'{name} like "{path}*"',
                f'{name} like "{path}/*"',
                f'({name} == "{path}" || {name} like "{path}/*")',
                f'({name} == "a" || {name} like "a/*")',
                f'{name} like "*.md"',
                f'{name} like "*b*"',
                f'["a/b", "b"].contains({name})',
                f'{name} != "{path}"',
            )
        )
        return self.dice.choice(
            (
                f"(resource has {field_} && {test})",
                f"resource has {field_}",
                f"(!(resource has {field_}) || {test})",
                f"(if resource has {field_} then {test} else {self.dice.choice(BOOLS)})",
            )
        )

    def on_folder(self) -> str:
        return self.on_path("folder")

    def on_number(self) -> str:
        number, other = self.dice.choice((0, 3, 7)), self.dice.choice((1, 2**62, -4))
        test = self.dice.choice(
            (
                f"resource.number == {number}",
                f"resource.number > {number}",
                f"resource.number + {other} < {number}",
                f"resource.number * {other} >= {number}",
                f"-resource.number < {number}",
                f"[{number}, 1].contains(resource.number)",
                "resource.number <= context.rate",
            )
        )
        return self.dice.choice(
            (f"(resource has number && {test})", "resource has number", 'resource has "number"')
        )

    def on_tag(self) -> str:
        tag = self.dice.choice(VALUES["tag"])
        return self.dice.choice(
            (
                "resource has tag",
                f'(resource has tag && resource.tag == "{tag}")',
                f'(resource has tag && resource["tag"] like "{tag}*")',
                "(resource has tag && resource.tag == resource.queue)",
            )
        )

    def on_context(self) -> str:
        return self.dice.choice(
            (
                "context.argsBound",
                "context.cosigned",
                'context.purpose == "tidy"',
                'context.purpose like "t*"',
                "context.rate < 5",
                "context.now.hour < 24",
                '(context.agent has team && context.agent.team == "blue")',
                "context has rate",
                "[context.argsBound].contains(true)",
            )
        )

    def on_principal(self) -> str:
        return self.dice.choice(
            (
                "principal.delegationDepth == 0",
                "principal.delegationDepth < 2",
                f'principal == Agent::"{AGENT}"',
                f'principal.rootAgent == "{AGENT}"',
                'principal in App::"app_1"',
                'principal in App::"app_2"',
                f'principal.invokedBy.contains("{AGENT}")',
                "principal.invokedBy.isEmpty()",
                f'principal.invokedBy.containsAll(["{OTHER}"])',
                'principal.swarmId == ""',
                "principal is Agent",
            )
        )

    def on_action(self) -> str:
        return self.dice.choice(
            (
                f'action == Action::"{self.dice.choice(COMMANDS)}"',
                f'action in Action::"{self.dice.choice(GROUPS)}"',
                f'[Action::"{READ}"].contains(action)',
            )
        )

    def odd(self) -> str:
        return self.dice.choice(
            (
                'ip("10.0.0.1").isInRange(ip("10.0.0.0/8"))',
                'decimal("1.0").lessThan(decimal("2.0"))',
                "[resource].contains(resource)",
                "[principal].contains(principal)",
                "true",
                "false",
                "resource is Desk",
                "{r: resource} == {r: resource}",
                "9223372036854775807 + context.rate > 0",
            )
        )

    leaves: Final = (
        *(on_queue, on_queue, on_path, on_path, on_path, on_folder, on_number, on_tag),
        *(on_context, on_principal, on_action, odd),
    )


@dataclass
class Tally:
    """What was played, so that a law cannot hold over nothing."""

    seen: Counter[str] = field(default_factory=Counter)


def question(dice: random.Random) -> CanonicalRequest | None:
    """Something to ask for; None when the server would not read it."""
    command = dice.choice((*COMMANDS, *COMMANDS, *GROUPS))
    found = find_command(CATALOG, command)
    spec = None if found is None else found[1]
    takes = PROVIDER.fields if spec is None else (*spec.resource, *spec.optional)
    names = [each for each in takes if (spec and each in spec.resource) or dice.random() < 0.4]
    fields = {name: dice.choice(VALUES[name]) for name in names}
    try:
        resource = canonical_resource(PROVIDER, {"provider": "desk", **fields}, spec)
    except InvalidRequest:
        return None
    pol: list[Any] = []
    if dice.random() < 0.3:
        name = dice.choice(tuple(PROVIDER.fields))
        pol.append(["==", f".resource.{name}", dice.choice(VALUES[name])])
    if dice.random() < 0.1:
        pol.append(["like", ".resource.path", "a/*"])
    if dice.random() < 0.1:
        pol.append(["or", [["==", ".resource.queue", "a"], ["==", ".resource.queue", "hr"]]])
    return CanonicalRequest(
        command=command,
        provider=PROVIDER,
        spec=spec,
        resource=resource,
        args=dice.choice((None, {})) if spec is not None else None,
        ttl=300,
        agent=AGENT,
        purpose=dice.choice((None, "tidy")),
        context=dice.choice((None, {"team": "blue"})),
        audience=OTHER,
        commands=() if spec is not None else commands_under(CATALOG, command),
        pol=tuple(pol),
        service=True,
    )


def calls(
    dice: random.Random, asked: CanonicalRequest, count: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls that a service may be sent on the grant, near to what it is for."""
    for _ in range(count):
        command = dice.choice(asked.commands or (asked.command,))
        spec = PROVIDER.commands[command]
        names = [
            each
            for each in (*spec.resource, *spec.optional)
            if each in spec.resource or each in asked.resource or dice.random() < 0.5
        ]
        fields = {name: asked.resource.get(name, dice.choice(VALUES[name])) for name in names}
        if "path" in fields and dice.random() < 0.6:
            fields["path"] = dice.choice(VALUES["path"])
        try:
            yield command, canonical_resource(PROVIDER, {"provider": "desk", **fields}, spec)
        except InvalidRequest:
            continue


def accepted(
    asked: CanonicalRequest, pol: list[Any], command: str, resource: Mapping[str, Any]
) -> bool:
    """What a service makes of a call: the constraint covers it, and every statement holds."""
    for name, value in asked.resource.items():
        if name == "path":
            if value and not f"{resource.get(name)}/".startswith(f"{value}/"):
                return False
            if name not in resource:
                return False
        elif name not in resource or resource[name] != value:
            return False
    return all(holds(each, {"cmd": command, "resource": resource, "args": {}}) for each in pol)


def holds(statement: Any, call: Mapping[str, Any]) -> bool:
    """A statement of the forms that are signed here."""
    match statement:
        case ["or", parts]:
            return any(holds(each, call) for each in parts)
        case ["and", parts]:
            return all(holds(each, call) for each in parts)
        case ["like", selector, pattern]:
            value, _ = at(selector, call)
            return isinstance(value, str) and value.startswith(pattern.removesuffix("*"))
        case ["==", selector, wanted]:
            value, there = at(selector, call)
            return bool((there or selector.endswith("?")) and value == wanted)
    raise AssertionError(f"{statement} is of no form that is signed here")


def at(selector: str, call: Mapping[str, Any]) -> tuple[Any, bool]:
    value: Any = call
    for step in selector.removesuffix("?").split(".")[1:]:
        if not isinstance(value, Mapping) or step not in value:
            return None, False
        value = value[step]
    return value, True


def exactly(
    asked: CanonicalRequest, command: str, resource: Mapping[str, Any], **who: Any
) -> PolicyQuestion:
    """The question for one call and nothing else."""
    inquiry = PolicyQuestion(
        agent=AGENT,
        app="app_1",
        command=command,
        provider="desk",
        resource=resource,
        args_bound=True,
        now=1_800_000_000,
        purpose=asked.purpose,
        facts=asked.context or {},
        rate=1,
    )
    return replace(inquiry, **who)


CHILD: Final[Mapping[str, Any]] = {
    "agent": OTHER,
    "delegation_depth": 1,
    "root_agent": AGENT,
    "invoked_by": (AGENT,),
    "swarm_id": "evt_1",
}


def world(seed: int, tally: Tally) -> None:
    """One bundle and some grants; raises AssertionError where the law is broken."""
    dice = random.Random(seed)
    bundle = Writer(dice).bundle()
    for _ in range(8):
        asked = question(dice)
        if asked is None:
            continue
        caller = ApiKey("app_1", "default", "agent", "")
        who = (asked, caller, AGENT, DelegationContext())
        case = Evaluation(*who, "req_1", None, "", 1_800_000_000_000, "evt_1", bundle)
        ruling = decision.evaluate(case, rate=1)
        tally.seen[f"{ruling.decision}{' open' if ruling.open else ''}"] += 1
        if ruling.decision == "deny":
            _is_needed(bundle, asked, ruling, seed, tally)
            continue
        assert ruling.closed, "what is allowed for a service is closed"
        exact = ruling.decision == "requires_step_up"
        pol = token_claims.statements(asked, exact=exact)
        pol += [] if exact else closed_grants.statements(bundle, asked, asked.pol)
        for command, resource in calls(dice, asked, 24):
            if accepted(asked, pol, command, resource):
                _is_allowed(bundle, ruling, exactly(asked, command, resource), tally)


def _is_allowed(
    bundle: Bundle, ruling: PolicyDecision, inquiry: PolicyQuestion, tally: Tally
) -> None:
    """Policy allows the call that a service accepted, for the agent and for an heir of it."""
    wanted = ruling.decision
    for who in ({}, CHILD) if ruling.forkable and wanted == "allow" else ({},):
        found_decision = decide(bundle, replace(inquiry, **who))
        tally.seen["heir" if who else "call"] += 1
        # An approved step-up was approved by people, as this very call.
        assert found_decision.decision in ("allow", wanted), (inquiry, who, found_decision)


def _is_needed(
    bundle: Bundle,
    asked: CanonicalRequest,
    ruling: PolicyDecision,
    seed: int,
    tally: Tally,
) -> None:
    """What was refused for what it leaves open does leave something open that is named."""
    if not ruling.message or "a service evaluates no policy" not in ruling.message:
        return
    assert ruling.open, (seed, asked)
    for each in ruling.open:
        name = each.field.removeprefix("resource.")
        if each.field == "args":
            assert asked.args is None, (seed, asked, ruling)
        elif name == "path":
            assert "path" in asked.resource or asked.commands, (seed, asked, ruling)
        else:
            assert asked.commands and name not in asked.resource, (seed, asked, ruling)
    tally.seen["needed"] += 1


def law(count: int, start: int = 0) -> Tally:
    """Play `count` worlds."""
    tally = Tally()
    for seed in range(start, start + count):
        try:
            world(seed, tally)
        except AssertionError as broken:
            raise AssertionError(f"world {seed}") from broken
    return tally


if __name__ == "__main__":
    print(dict(law(int(sys.argv[1]), int(sys.argv[2])).seen))
