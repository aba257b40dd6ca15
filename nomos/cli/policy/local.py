"""`nomos policy validate`, `test`, `starters` and `init`: they need no server."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from nomos.cli.console import print_json, stdout
from nomos.cli.errors import server_extra
from nomos.cli.listing import new_table, print_list
from nomos.cli.visible_text import shown
from nomos.errors import ConfigurationError

with server_extra("policy"):
    from nomos.policy import bundle, explain_text, policy_tests
    from nomos.policy.bundle import Bundle, Policy, Source
    from nomos.policy.policy_tests import PolicyTestOutcome
    from nomos.server.policies import loading as files
    from nomos.server.providers.catalog import load_catalog

_LABELS = {"expect": "decision", "reason": "reason", "policies": "policies", "roles": "roles"}


def validate(path: Path, providers: Path | None) -> None:
    """Print the policies of a bundle. Raises `InvalidPolicy` if the bundle is not valid."""
    found = load(path, providers)
    print_list(found.policies, _columns, _table)
    for each in found.warnings:
        stdout.print(Text.assemble(("warning", "bold yellow"), f"  {each}"))
    count = len(found.policies)
    stdout.print(
        Text.assemble(
            ("valid", "bold green"),
            f"  {count} {'policy' if count == 1 else 'policies'}, bundle {found.hash}",
        )
    )


def run_cases(file: Path, policies: Path | None, providers: Path | None, *, as_json: bool) -> bool:
    """Run the test cases of a file; return whether each decision is as expected."""
    suite = files.read_tests(file)
    if policies is None and suite.policies is None:
        raise ConfigurationError(
            f"{suite.file} names no policies. Pass --policies DIR, or write `policies: DIR` at "
            "its top (relative to the file)",
            setting="policies",
        )
    named = Path(suite.file).parent / (suite.policies or "")
    outcomes = policy_tests.run(load(policies or named, providers), suite)
    for outcome in outcomes:
        if as_json:
            print_json(policy_tests.as_json(outcome))
        else:
            _show_outcome(outcome)
    failures = sum(not outcome.ok for outcome in outcomes)
    if not as_json:
        count = f"{len(outcomes)} {'case' if len(outcomes) == 1 else 'cases'}"
        end = (f"{failures} failed", "bold red")
        fine = ("all passed", "bold green")
        stdout.print(Text.assemble(f"\n{count}, ", end if failures else fine))
    return not failures


def starters(*, as_json: bool) -> None:
    """List the starters, each with its purpose in one line."""
    found = files.starters()
    if as_json:
        for name, (_, line) in found.items():
            print_json({"name": name, "about": line})
        return
    width = max(map(len, found))
    for name, (_, line) in found.items():
        stdout.print(Text.assemble((f"{name:<{width}}", "bold"), f"  {line}"))
    stdout.print(Text("\nnomos policy init NAME copies a starter into a new folder", style="dim"))


def init(name: str, out: Path) -> None:
    """Copy a starter, and print the commands that test and run it."""
    files.copy_starter(name, out)
    for file in sorted(out.iterdir()):
        stdout.print(Text.assemble(("wrote ", "green"), str(file)))
    stdout.print(Text(f"\nnomos policy test {out}\nnomos dev --policies {out}", style="dim"))


def load(path: Path, providers: Path | None) -> Bundle:
    """Load a bundle, and the facts beside it, from a file, a folder, or stdin for `-`."""
    catalog = load_catalog(providers)
    return bundle.load(sources(path), catalog, files.read_facts(path))


def sources(path: Path) -> tuple[Source, ...]:
    """Return the Cedar sources of a file or folder; `-` is stdin."""
    if path == Path("-"):
        return files.read_stream(sys.stdin.buffer)
    return files.read_policies(path)


def effect(policy: Policy) -> Text:
    """Return the effect, permit or forbid, in its style."""
    return Text(policy.effect, style="green" if policy.effect == "permit" else "red")


def where(policy: Policy) -> Text:
    """Return the file and line of a policy."""
    return Text(explain_text.place(policy), style="dim")


def _columns(policy: Policy) -> tuple[str, ...]:
    cells = (policy.name, policy.effect, explain_text.place(policy), policy.step_up or "")
    return tuple(shown(cell).plain for cell in cells)


def _table(policies: Sequence[Policy]) -> Table:
    table = new_table("policy", "effect", "where", "approval role")
    for policy in policies:
        table.add_row(Text(policy.name), effect(policy), where(policy), Text(policy.step_up or ""))
    return table


def _show_outcome(outcome: PolicyTestOutcome) -> None:
    mark = (" ok   ", "green") if outcome.ok else ("FAIL  ", "bold red")
    stdout.print(Text.assemble(mark, outcome.case.name))
    if outcome.ok:
        return
    for each in outcome.differences:
        stdout.print(
            Text.assemble(
                (f"        {_LABELS[each.member]:<12}", "bold"),
                ("expected ", "dim"),
                (each.expected, "green"),
                (", got ", "dim"),
                (each.got, "red"),
            )
        )
    for policy in outcome.decided:
        by = f"{policy.effect} {policy.name}  {explain_text.place(policy)}"
        stdout.print(Text.assemble((f"        {'decided by':<12}", "bold"), by))
    because = outcome.verdict.message
    if because:
        stdout.print(Text.assemble((f"        {'because':<12}", "bold"), because))
