"""Policy tests: questions, each with its expected decision.

    policies: ../policies            # beside the file; or named on the command line
    cases:
      - name: reads are allowed
        command: /github/issue/list
        resource: {provider: github, owner: acme, repo: app}
        expect: allow
        policies: [reads]            # exactly these determined it

An invalid case is an error, not a failed expectation: a case without a question would always pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import Field

from nomos.errors import ConfigurationError, InvalidRequest
from nomos.models import Decision, DenyReason
from nomos.policy.bundle import Bundle, Policy
from nomos.policy.decide import decide
from nomos.policy.decision import PolicyDecision, PolicyQuestion
from nomos.policy.policy_request import PolicyRequest, validated
from nomos.resources import Catalog

MAX_CASES: Final = 10_000
MEMBERS: Final = ("policies", "cases")

_Names = Annotated[list[str], Field(max_length=1000)]


class PolicyTest(PolicyRequest):
    """One question and its expected decision; members that are left out are not compared."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    expect: Decision
    policies: _Names | None = None
    roles: _Names | None = None
    reason: DenyReason | None = None


@dataclass(frozen=True)
class Suite:
    """The cases of one file; `policies` is the path of its policies as written in the file."""

    file: str
    cases: tuple[PolicyTest, ...]
    policies: str | None = None


@dataclass(frozen=True)
class Difference:
    """A member of the decision that is not as expected."""

    member: str
    expected: str
    got: str


@dataclass(frozen=True)
class PolicyTestOutcome:
    """The outcome of one case; `decided` are the policies that determined the decision."""

    case: PolicyTest
    verdict: PolicyDecision
    differences: tuple[Difference, ...]
    decided: tuple[Policy, ...]

    @property
    def ok(self) -> bool:
        return not self.differences


def read(document: object, file: str) -> Suite:
    """Read a test file's content. Raises `ConfigurationError` naming file, case and member."""
    if not isinstance(document, Mapping) or not isinstance(document.get("cases"), list):
        raise _wrong(file, "must have a list of `cases:`")
    unknown = [str(name) for name in document if name not in MEMBERS]
    if unknown:
        raise _wrong(
            file, f"{unknown[0]}: is not a member of this format, which has policies and cases"
        )
    policies = document.get("policies")
    if "policies" in document and (not isinstance(policies, str) or not policies):
        raise _wrong(file, "policies: must be a path")
    given = document["cases"]
    if not 0 < len(given) <= MAX_CASES:
        raise _wrong(file, f"cases: must be 1 to {MAX_CASES}, not {len(given)}")
    cases = tuple(_test(each, place, file) for place, each in enumerate(given, 1))
    twice = [name for name, count in Counter(case.name for case in cases).items() if count > 1]
    if twice:
        raise _wrong(file, f"case {twice[0]!r}: name: another case has the same name")
    return Suite(file, cases, policies)


def run(bundle: Bundle, suite: Suite) -> tuple[PolicyTestOutcome, ...]:
    """Decide every case. Raises `ConfigurationError` for a case that the server would reject."""
    inquiries = [(case, _inquiry(case, bundle.catalog, suite.file)) for case in suite.cases]
    return tuple(_outcome(bundle, case, inquiry) for case, inquiry in inquiries)


def _test(given: object, place: int, file: str) -> PolicyTest:
    if not isinstance(given, Mapping):
        raise _wrong(file, f"case {place}: must be a mapping with a name, a command, …")
    name = given.get("name")
    who = f"case {name!r}" if isinstance(name, str) else f"case {place}"
    try:
        return validated(PolicyTest, {str(member): value for member, value in given.items()})
    except InvalidRequest as error:
        raise _wrong(file, f"{who}: {error}") from None


def _inquiry(case: PolicyTest, catalog: Catalog, file: str) -> PolicyQuestion:
    try:
        return case.inquiry(catalog)
    except InvalidRequest as error:
        raise _wrong(file, f"case {case.name!r}: {error}") from None


def _outcome(bundle: Bundle, case: PolicyTest, inquiry: PolicyQuestion) -> PolicyTestOutcome:
    verdict = decide(bundle, inquiry)
    decided = tuple(each for each in bundle.policies if each.name in verdict.policies)
    return PolicyTestOutcome(case, verdict, tuple(_differences(case, verdict)), decided)


def _differences(case: PolicyTest, verdict: PolicyDecision) -> Iterator[Difference]:
    if case.expect != verdict.decision:
        yield Difference("expect", case.expect, verdict.decision)
    # A misspelt command is denied, too: only a case that asks for this reason is about it.
    if case.reason is None and verdict.reason == "command_unknown":
        yield Difference("reason", "that of a known command", verdict.reason)
    if case.reason is not None and case.reason != verdict.reason:
        yield Difference("reason", case.reason, verdict.reason or "none")
    for member, expected, got in (
        ("policies", case.policies, verdict.policies),
        ("roles", case.roles, verdict.roles),
    ):
        if expected is not None and sorted(expected) != list(got):
            yield Difference(member, _listed(sorted(expected)), _listed(got))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def as_json(outcome: PolicyTestOutcome) -> dict[str, Any]:
    """Return one outcome as plain JSON."""
    verdict = outcome.verdict
    return {
        "case": outcome.case.name,
        "ok": outcome.ok,
        "expected": outcome.case.expect,
        "decision": verdict.decision,
        "reason": verdict.reason,
        "message": verdict.message,
        "roles": list(verdict.roles),
        "policies": [
            {"name": each.name, "file": each.file, "line": each.line} for each in outcome.decided
        ],
        "differences": [
            {"member": each.member, "expected": each.expected, "got": each.got}
            for each in outcome.differences
        ],
    }


def _wrong(file: str, message: str) -> ConfigurationError:
    return ConfigurationError(f"{file}: {message}", setting="tests")
