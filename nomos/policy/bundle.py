"""Policy bundles: Cedar policies, parsed, validated against the schema and hashed once.

Policies that do not parse or validate never become a bundle, so an active policy cannot name an
unknown command or read a field that may be absent. A bundle without policies is valid and permits
nothing.

These annotations have a meaning:

    @id("…")        the policy's name in explanations and receipts; else `file:line`
    @step_up("…")   on a forbid that `context.cosigned` lifts: the role that must approve
    @expires("10m") beside `@step_up`: how long the approval stays open for a decision and use
    @reason("…")    a sentence for the person who is asked, or who reads the refusal
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from cedarpy import PolicySet, Schema, policies_to_json_str

from nomos.errors import InvalidPolicy, PolicyProblem
from nomos.policy.schema import NO_FACTS, attributes, generate
from nomos.policy.statements import Statement, split
from nomos.policy.unsatisfiable import NO_POLICIES, impossible_conditions
from nomos.policy.validation import lifetime, own_problems, parse_hint, schema_problems
from nomos.resources import Catalog

MAX_TEXT: Final = 1024 * 1024  # characters in all sources of one bundle
MAX_POLICIES: Final = 5_000


@dataclass(frozen=True)
class Source:
    """One Cedar text; `name` is its name in problems and policy names: `github.cedar`."""

    name: str
    text: str


@dataclass(frozen=True)
class Policy:
    """One policy of a bundle. `id` is its id in Cedar's engine, `name` the one for people.

    `expires` is in seconds: how long an approval of this step-up stays open.
    """

    id: str
    name: str
    file: str
    line: int
    effect: Literal["permit", "forbid"]
    step_up: str | None = None
    reason: str | None = None
    expires: int | None = None
    text: str = field(default="", repr=False)


@dataclass(frozen=True, eq=False)
class Bundle:
    """Policies that are ready to decide. `hash` does not depend on files, order or layout.

    `warnings` report conditions that are valid but can never hold.
    """

    hash: str
    policies: tuple[Policy, ...]
    facts: Mapping[str, str]
    catalog: Catalog = field(repr=False)
    policy_set: PolicySet = field(repr=False)
    schema: Schema = field(repr=False)
    by_id: Mapping[str, Policy] = field(repr=False)
    warnings: tuple[PolicyProblem, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class _Draft:
    """A policy that parses: its place, Cedar's JSON form of it, and that form as normal text."""

    file: str
    statement: Statement
    body: Mapping[str, Any]
    normal: str

    @property
    def annotations(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.body.get("annotations", {})
        return found

    @property
    def name(self) -> str:
        return self.annotations.get("id") or f"{self.file}:{self.statement.place}"

    def wrong(self, message: str) -> PolicyProblem:
        return _problem(self.file, self.statement, self.annotations.get("id"), message)


def load(
    sources: Sequence[Source], catalog: Catalog, facts: Mapping[str, str] = NO_FACTS
) -> Bundle:
    """Parse, validate and hash `sources`, in order, against the schema of `catalog`.

    Raises:
        InvalidPolicy: with every problem found: file, line, policy, message.
        ConfigurationError: `facts` or `catalog` do not form a schema.
    """
    schema = Schema.from_str(generate(catalog, facts))
    _check_size(sources)
    parsed = [_parse(file, each) for file, each in _statements(sources)]
    drafts = [each for each in parsed if isinstance(each, _Draft)]
    texts = [draft.statement.text for draft in drafts]
    problems = [each for each in parsed if isinstance(each, PolicyProblem)]
    problems.extend(_duplicates(drafts))
    known = attributes(catalog, facts)
    for draft in drafts:
        problems.extend(map(draft.wrong, own_problems(draft.body, known, catalog)))
    forms = [(draft.statement.text, draft.body) for draft in drafts]
    for place, message in schema_problems(forms, schema, catalog):
        problems.append(drafts[place].wrong(message))
    if problems:
        raise InvalidPolicy(sorted(problems, key=lambda each: (each.file, each.line)))
    # Cedar names the policies of a text by their order in it.
    policies = tuple(_policy(f"policy{place}", draft) for place, draft in enumerate(drafts))
    return Bundle(
        hash=_hash(drafts),
        policies=policies,
        facts=MappingProxyType(dict(facts)),
        catalog=catalog,
        policy_set=PolicySet.from_str("\n".join(texts)),
        schema=schema,
        by_id=MappingProxyType({policy.id: policy for policy in policies}),
        warnings=tuple(_warnings(drafts, sources, catalog)),
    )


def _warnings(
    drafts: Sequence[_Draft], sources: Sequence[Source], catalog: Catalog
) -> Iterator[PolicyProblem]:
    if not drafts:
        yield PolicyProblem(sources[0].name if sources else "", 1, "bundle", NO_POLICIES)
    for draft in drafts:
        yield from map(draft.wrong, impossible_conditions(draft.body, catalog))


def _check_size(sources: Sequence[Source]) -> None:
    size = 0
    for source in sources:
        size += len(source.text)
        if size > MAX_TEXT:
            message = f"the bundle is larger than {MAX_TEXT} characters; split it"
            raise InvalidPolicy([PolicyProblem(source.name, 1, "bundle", message)])


def _statements(sources: Sequence[Source]) -> Sequence[tuple[str, Statement]]:
    """Return every policy's text with its file; a bundle with too many is not parsed at all."""
    found: list[tuple[str, Statement]] = []
    for source in sources:
        for statement in split(source.text):
            if len(found) == MAX_POLICIES:
                message = (
                    f"the bundle has more than {MAX_POLICIES} policies; combine similar ones, such "
                    "as with `[…].contains(…)`"
                )
                raise InvalidPolicy([PolicyProblem(source.name, statement.line, "bundle", message)])
            found.append((source.name, statement))
    return found


def _parse(file: str, statement: Statement) -> _Draft | PolicyProblem:
    def wrong(message: str) -> PolicyProblem:
        return _problem(file, statement, statement.written_id, message)

    if statement.too_complex is not None:
        return wrong(statement.too_complex)
    try:
        found = json.loads(policies_to_json_str(statement.text))
        if found["templates"]:
            return wrong("is a template; replace its slots by a principal and a resource")
        [body] = found["staticPolicies"].values()
        normal = json.dumps(body, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        return wrong("has too long a chain of operators; use `[…].contains(…)` instead")
    except ValueError as error:
        hint = "" if statement.ended else " (is the ; at its end missing?)"
        return wrong(f"does not parse: {error}{hint}{parse_hint(str(error), statement.text)}")
    return _Draft(file, statement, body, normal)


def _problem(file: str, statement: Statement, name: str | None, message: str) -> PolicyProblem:
    """Return a problem; a policy without a name is named by its column, or by file and line."""
    where = f"{file}:{statement.line}" if statement.column is None else f"column {statement.column}"
    return PolicyProblem(file, statement.line, name or where, message)


def _duplicates(drafts: Iterable[_Draft]) -> Iterator[PolicyProblem]:
    first: dict[str, _Draft] = {}
    for draft in drafts:
        earlier = first.setdefault(draft.name, draft)
        if earlier is not draft:
            where = f"{earlier.file}:{earlier.statement.place}"
            yield draft.wrong(f"has the name of the policy at {where}, too; names are unique")


def _policy(engine_id: str, draft: _Draft) -> Policy:
    return Policy(
        id=engine_id,
        name=draft.name,
        file=draft.file,
        line=draft.statement.line,
        effect=draft.body["effect"],
        step_up=draft.annotations.get("step_up"),
        reason=draft.annotations.get("reason"),
        expires=lifetime(draft.annotations.get("expires")),
        text=draft.statement.text,
    )


def _hash(drafts: Iterable[_Draft]) -> str:
    return hashlib.sha256("\n".join(sorted(draft.normal for draft in drafts)).encode()).hexdigest()
