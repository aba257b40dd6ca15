"""Verdicts on tokens as terminal text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.text import Text

from nomos._core import token_report, unverified
from nomos._core.unverified import UnverifiedToken
from nomos._limits import MAX_LINKS, MAX_TOKEN
from nomos.cli.token.chain import claims_of
from nomos.cli.token.input import TokenInput
from nomos.cli.token.verdict import TokenVerdict, VerificationTerms, sentence
from nomos.cli.token.view import (
    MAX_TEXT,
    NARROW,
    arguments,
    compared,
    moment_of,
    outlet,
    receipt_rows,
    resource,
    rows_of,
)
from nomos.cli.visible_text import plain
from nomos.errors import Denied

LINE: Final = 4096

HANG: Final = 9
"""Columns of the labels; a folded line continues to the right of them."""


def render_verdict(found: TokenVerdict, terms: VerificationTerms, console: Console) -> None:
    """Print the verdict in one line, then its facts, and what was not checked."""
    out = outlet(console)
    if found.refusal is None:
        out.print(_good(found, terms))
        out.print(_proven(found, terms))
    else:
        out.print(Text.assemble(("✗ denied  ", "bold red"), (plain(found.refusal.code), "red")))
        out.print(rows_of(_refused(found.refusal)))
    _print_unchecked(found, terms, out)


def render_report(
    found: TokenVerdict, given: TokenInput, terms: VerificationTerms, console: Console
) -> None:
    """Print the text of `Verifier.explain` and what was not checked, or a receipt's verdict."""
    report = text(found, given, terms)
    if report is None:
        render_verdict(found, terms, console)
        return
    out = outlet(console)
    for line in report.splitlines():
        style = next((style for start, style in _STYLES.items() if line.startswith(start)), "")
        for part in _folded(Text(plain(line, LINE), style), out):
            out.print(part)
    _print_unchecked(found, terms, out)


def _folded(line: Text, out: Console) -> Iterator[Text]:
    """Fold a line to the terminal's width. If the output is not a terminal, do not fold it."""
    if not out.is_terminal or line.cell_len <= out.width:
        yield line
        return
    width = max(out.width - HANG, NARROW)
    for number, part in enumerate(line[HANG:].wrap(out, width, overflow="fold")):
        part.rstrip()
        yield Text.assemble(" " * HANG if number else line[:HANG], part)


_STYLES: Final = {
    "REFUSED": "bold red",
    "NOT KNOWN": "bold red",
    "The token is valid for": "bold green",
    "The token is valid;": "bold yellow",
    "The chain is valid": "bold yellow",
}


def text(found: TokenVerdict, given: TokenInput, terms: VerificationTerms) -> str | None:
    """Return the text of `Verifier.explain` for an invocation or a chain; None for a receipt."""
    if given.kind == "receipt" or not terms.rules.audience:
        return None
    call = terms.call
    return token_report.render_token(
        _claims(given),
        found.refusal,
        audience=terms.rules.audience,
        trusted=terms.rules.trusted_issuers,
        call=None if call is None else (call.command, call.resource, call.args),
        now=terms.now,
    )


def _claims(given: TokenInput) -> UnverifiedToken | None:
    """Return a token's claims; None if it cannot be read or is longer than verifiers allow."""
    if given.kind == "chain":
        return claims_of(given.tokens)
    (token,) = given.tokens
    return unverified.read(token, MAX_LINKS) if len(token) <= MAX_TOKEN else None


def _good(found: TokenVerdict, terms: VerificationTerms) -> Text:
    """Return the verdict in one line; it states no more than was checked."""
    if found.kind == "receipt":
        signed = "the receipt is signed by a trusted key"
        if not found.ok:
            return Text.assemble(
                ("! genuine  ", "bold yellow"), f"{signed}; the call was ", ("denied", "bold red")
            )
        return Text.assemble(("✓ verified  ", "bold green"), f"{signed}; the call was allowed")
    what = "the invocation" if found.kind == "invocation" else "the chain"
    if terms.call is None:
        return Text(f"✓ valid  {what} is valid; no call was checked", "bold yellow")
    within = "" if found.kind == "invocation" else ", and the call is within it"
    return Text.assemble(("✓ verified  ", "bold green"), f"{what} is valid{within}")


def _proven(found: TokenVerdict, terms: VerificationTerms) -> object:
    facts = found.facts
    if found.kind == "receipt":
        said = {name: value for name, value in facts["receipt"].items() if value is not None}
        return receipt_rows(said, terms.now)

    def rows() -> Iterator[tuple[str, Text]]:
        does = "does" if found.kind == "invocation" else "may"
        yield does, Text(plain(facts["command"], 256), "bold")
        held = facts["resource"] if found.kind == "invocation" else facts["constraint"]
        yield "on", resource(held) if held else Text("anything", "dim")
        yield from arguments(facts.get("args") or {})
        yield "agent", Text(facts["agent"])
        yield "root", Text(facts["root"])
        yield "depth", Text(f"{facts['depth']} of at most {terms.rules.max_depth}")
        yield "until", Text(moment_of(facts["expires_at"], terms.now))
        for name in ("receipt", "swarm"):
            if facts.get(name) is not None:
                yield name, Text(plain(facts[name]), "dim")

    return rows_of(rows())


def _refused(refusal: Denied) -> Iterator[tuple[str, Text]]:
    yield "why", Text(plain(sentence(refusal), MAX_TEXT))
    if refusal.hop is not None:
        yield "hop", Text(str(refusal.hop))
    yield from compared(refusal)
    if refusal.fix is not None:
        yield "fix", Text(plain(refusal.fix, MAX_TEXT), "bold")


def _print_unchecked(found: TokenVerdict, terms: VerificationTerms, out: Console) -> None:
    rows = list(_checks(found, terms))
    if rows:
        out.print(rows_of(rows))


def _checks(found: TokenVerdict, terms: VerificationTerms) -> Iterator[tuple[str, Text]]:
    if terms.view.described and found.kind != "receipt":
        yield "checked", Text(plain(terms.view.described, MAX_TEXT), "dim")
    for number, each in enumerate(found.unchecked):
        yield "" if number else "skipped", Text(each, "yellow")
