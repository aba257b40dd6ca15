"""Tokens as terminal text: a chain as a rail from its root to its use, with problems in red.

A token is untrusted text. It must not control the terminal or pass for output of this program, so
it is cut, invisible characters are replaced by marks, and each value has a label.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from nomos._core.remedies import MISSING, is_orphan
from nomos._core.token_report import dated
from nomos._json import mapping
from nomos._times import in_table, iso_seconds
from nomos.cli.swarm.view import names
from nomos.cli.token.inspect import ChainReport, Hop, ReceiptReport, TokenFinding
from nomos.cli.visible_text import MAX_LINE, plain, value_text
from nomos.constraints import from_pol
from nomos.errors import ConfigurationError, Denied
from nomos.models import describe_resource

LABEL: Final = 9
LISTED: Final = 12
"""Maximum number of statements, and of arguments, shown per token; --json has all."""

MAX_TEXT: Final = 400  # maximum number of characters shown of one value
WRONG: Final = "✗"

NARROW: Final = 24  # minimum width in columns to which text is folded
UNITS: Final = ((86400, "day"), (3600, "h"), (60, "min"), (1, "s"))

NOT_VERIFIED: Final = (
    "no issuer is trusted here, and audience and revocations are not checked. For a verdict: "
    "nomos token verify --issuer DID --audience DID"
)


@dataclass
class Rail:
    """Lines on a rail: a mark for each token, its facts folded under it. The last token ends it."""

    rows: list[tuple[str, str, Text]] = field(default_factory=list)

    def node(self, mark: str, text: Text) -> None:
        self.rows.append((mark, "", text))

    def line(self, label: str, text: Text, *, last: bool) -> None:
        self.rows.append((" " if last else "│", label, text))

    def fact(self, label: str, text: Text) -> None:
        """Add a line without a rail beside it."""
        self.rows.append(("", label, text))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for mark, label, text in self.rows:
            is_node = mark not in ("│", " ", "")
            lead = "  " if mark == "" else f" {mark}    "
            before = f" {mark:<2} " if is_node else f"{lead}{label:<{LABEL}}"
            again = " │  " if is_node else f"{lead}{'':<{LABEL}}"
            width = max(options.max_width - len(before), NARROW)
            first = Text(before, "bold" if is_node else "dim")
            if label == WRONG:
                first.highlight_words([WRONG], "not dim bold red")
            for number, part in enumerate(text.wrap(console, width, overflow="fold")):
                row = Text.assemble((again, "dim") if number else first, part)
                row.rstrip()
                yield row


def print_report(found: ChainReport, console: Console) -> None:
    """Print a chain, its problems, and what is not verified."""
    out = outlet(console)
    out.print(_heading(found))
    out.print()
    out.print(_rail(found))
    out.print()
    for line in _summary(found):
        out.print(line, soft_wrap=False)


def receipt(found: ReceiptReport, console: Console) -> None:
    """Print a receipt without verifying its issuer."""
    out = outlet(console)
    out.print(Text("a receipt of verification", "bold"))
    out.print()
    if found.claims is not None:
        out.print(receipt_rows(found.claims, found.now))
        out.print()
    if found.finding is not None:
        out.print(rows_of(problem(found.finding)))
    else:
        out.print(Text("✓ the signature is by the key that the receipt names", "green"))
    out.print(
        Text.assemble(
            ("not verified  ", "bold yellow"),
            "no issuer is trusted here. For a verdict: nomos token verify --issuer DID",
        ),
        soft_wrap=False,
    )


def receipt_rows(claims: Mapping[str, Any], now: int) -> Rail:
    """Return a receipt's claims, one line each."""
    allowed = claims["outcome"] == "allow"
    hop = f" (hop {claims['hop']})" if "hop" in claims else ""
    rows: list[tuple[str, Text]] = [
        (
            "outcome",
            Text(f"{plain(claims['outcome'])}{hop}", "bold green" if allowed else "bold red"),
        ),
        ("command", Text(plain(claims["cmd"]), "bold")),
        ("decided", Text(_when(claims["iat"], now))),
        ("by", Text(claims["iss"])),
        ("service", Text(claims["service"])),
    ]
    rows += [(name, Text(claims[name])) for name in ("agent", "root") if name in claims]
    for label, name in (("on", "resource_hash"), ("with", "args_hash")):
        if name in claims:
            rows.append((label, Text(f"sha256 {claims[name]}", "dim")))
    chain = claims.get("chain", [])
    rows += [("" if number else "chain", Text(each, "dim")) for number, each in enumerate(chain)]
    if "invocation" in claims:
        rows.append(("call", Text(claims["invocation"], "dim")))
    return rows_of(rows)


def rows_of(rows: Iterable[tuple[str, Text]]) -> Rail:
    """Return labels and texts, without a rail beside them."""
    rail = Rail()
    for label, text in rows:
        rail.fact(label, text)
    return rail


def problem(finding: TokenFinding) -> Iterator[tuple[str, Text]]:
    """Yield a problem as labelled rows: its code, its message, and the compared values."""
    code, message = plain(finding.code), plain(finding.message, MAX_TEXT)
    yield WRONG, Text.assemble((code, "bold red"), (f"  {message}", "red"))
    yield from compared(finding)


def compared(refused: TokenFinding | Denied) -> Iterator[tuple[str, Text]]:
    """Yield the field that a refusal is about, and the two values that were compared, if known."""
    if refused.field is not None:
        yield "field", Text(plain(refused.field, MAX_TEXT))
    for label, value, style in (
        ("wanted", refused.wanted, "green"),
        ("found", refused.found, "red"),
    ):
        text = dated(refused.field, value)
        if text is not None:
            yield label, Text(plain(text, MAX_TEXT), style)


def as_json(found: ChainReport) -> dict[str, Any]:
    """Return a chain as JSON. `prf` is left out: it may contain tokens, and the cids replace it."""
    return {
        "kind": found.kind,
        "verified": False,
        "holds": found.holds,
        "now": iso_seconds(found.now),
        "hops": [_hop_as_json(hop) for hop in found.hops],
    }


def receipt_as_json(found: ReceiptReport) -> dict[str, Any]:
    finding = None if found.finding is None else found.finding.as_json()
    return {
        "kind": "receipt",
        "verified": False,
        "holds": finding is None,
        "now": iso_seconds(found.now),
        "cid": found.cid,
        "receipt": found.claims,
        "findings": [] if finding is None else [finding],
    }


def ago(at: int, now: int) -> str:
    """Return the distance of a time from now: `4 min 12 s from now`, `3 h ago`."""
    if at == now:
        return "now"
    left = abs(at - now)
    parts = []
    for size, unit in UNITS:
        count, left = divmod(left, size)
        if count:
            many = "s" if unit == "day" and count > 1 else ""
            parts.append(f"{count} {unit}{many}")
    distance = " ".join(parts[:2])
    return f"{distance} from now" if at > now else f"{distance} ago"


def moment_of(iso: str, now: int) -> str:
    """Return a time given as `2026-05-23T18:12:00Z`, with its distance from now."""
    return _when(int(datetime.fromisoformat(iso).timestamp()), now)


def outlet(console: Console) -> Console:
    """Return a console that folds lines on a terminal, and else prints each fact on one line."""
    if console.is_terminal:
        return console
    return Console(file=console.file, width=MAX_LINE, highlight=False, soft_wrap=False)


def _heading(found: ChainReport) -> Text:
    links = sum(hop.kind == "delegation" for hop in found.hops)
    chain = "1 delegation" if links == 1 else f"{links} delegations"
    heading = f"an invocation with {chain}" if found.kind == "invocation" else f"a chain of {chain}"
    if not any(hop.claims for hop in found.hops):
        heading = "the input cannot be read as a token"
    return Text(heading, "bold")


def _rail(found: ChainReport) -> Rail:
    parties = [
        str(hop.claims[party]) for hop in found.hops if hop.claims for party in ("iss", "aud")
    ]
    name = names(list(dict.fromkeys(parties)))
    rail = Rail()
    first = found.hops[0].claims if found.hops else None
    if first is not None:
        orphan = is_orphan(first)
        who = (f"  not the root: {MISSING}", "yellow") if orphan else ("  the root issuer", "dim")
        root = Text.assemble((name(str(first["iss"])), "bold"), who)
        rail.node("●", root)
        rail.line("", Text(), last=False)
    for hop in found.hops:
        last = hop is found.hops[-1]
        rail.node(str(hop.number), _who(hop, name))
        for label, text in _facts(hop, found.now):
            rail.line(label, text, last=last)
        if not last:
            rail.line("", Text(), last=False)
    return rail


def _who(hop: Hop, name: Any) -> Text:
    claims = hop.claims
    wrong = hop.signature == "bad" or claims is None
    style = "bold red" if wrong else "bold"
    if claims is None:
        what = "invocation" if hop.kind == "invocation" else "link"
        return Text(f"this {what} cannot be read", style)
    verb = "delegated to" if hop.kind == "delegation" else "used at"
    text = Text.assemble((f"{verb} ", "dim"), (name(str(claims["aud"])), style))
    text.append(f"  signed by {name(str(claims['iss']))} ", "dim")
    return text.append(*_SIGNED[hop.signature])


_SIGNED: Final = {
    "good": ("✓", "bold green"),
    "bad": ("✗", "bold red"),
    "unknown": ("?", "bold yellow"),
}


def _facts(hop: Hop, now: int) -> Iterator[tuple[str, Text]]:
    claims = hop.claims
    for finding in hop.findings:
        yield from problem(finding)
    if not hop.findings and not (hop.checked and hop.signature == "good"):
        yield "?", Text("not checked, because of the problem above", "yellow")
    if claims is not None:
        yield from _delegated(claims) if hop.kind == "delegation" else _invoked(claims)
        yield "from", Text(_when(hop.start, now), "red" if hop.start > now else "")
        yield "until", Text(_when(hop.end, now), "red" if hop.end <= now else "")
    yield "cid", Text(hop.cid, "dim")


def _delegated(claims: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    meta = mapping(claims.get("meta"))
    yield (
        "may",
        Text.assemble((plain(claims["cmd"], 256), "bold"), (" and everything under it", "dim")),
    )
    constraint = mapping(meta.get("resource_constraint"))
    yield (
        "on",
        resource(constraint) if constraint else Text("the resource of the link above", "dim"),
    )
    yield from _many("if", _numbered(policies(claims["pol"])))
    facts, lineage = mapping(meta.get("facts")), mapping(meta.get("lineage"))
    approval = mapping(meta.get("approval")).get("id")
    if "audience" in meta:
        closed = "" if meta.get("closed") is True else "; not closed, so for a PDP only"
        yield "at", Text(f"{plain(value_text(meta['audience']))} only{closed}")
    if meta.get("forkable", True) is not True:
        yield "note", Text("not delegable: policy depends on the agent")
    if "approval" in meta:
        yield "once", Text(f"after approval {plain(value_text(approval))}; not delegable")
    for label, value in (
        ("why", facts.get("purpose")),
        ("receipt", meta.get("receipt_id")),
        ("swarm", lineage.get("swarmId")),
    ):
        if isinstance(value, str):
            yield label, Text(plain(value, MAX_TEXT), "dim")


def _numbered(statements: Iterable[str]) -> list[Text]:
    """Return statements with the names that refusals use for them."""
    return [
        Text.assemble((f"pol[{number}] ", "dim"), plain(each, MAX_TEXT))
        for number, each in enumerate(statements)
    ]


def _invoked(claims: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    args = dict(mapping(claims["args"]))
    yield "does", Text(plain(claims["cmd"], 256), "bold")
    yield "on", resource(mapping(args.pop("resource", None)))
    yield from arguments(args)


def arguments(args: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    """Yield the arguments of a call, one row each."""
    given = [
        Text(f"{plain(name)} = {plain(json.dumps(value, ensure_ascii=False), MAX_TEXT)}")
        for name, value in args.items()
    ]
    return _many("with", given)


def _many(label: str, texts: Sequence[Text]) -> Iterator[tuple[str, Text]]:
    for number, text in enumerate(texts[:LISTED]):
        yield "" if number else label, text
    if len(texts) > LISTED:
        yield "", Text(f"and {len(texts) - LISTED} more: --json shows them", "dim")


def resource(given: Mapping[str, Any]) -> Text:
    return Text(plain(describe_resource(given), MAX_TEXT))


def policies(pol: Iterable[Any]) -> list[str]:
    """Return each statement of `pol` in words, or as JSON if it has no such form."""
    return [_worded(statement) for statement in pol]


def _worded(statement: Any) -> str:
    try:
        return str(from_pol([statement]))
    except ConfigurationError:
        return json.dumps(statement, ensure_ascii=False)


def _when(at: int, now: int) -> str:
    return f"{in_table(at)}  {ago(at, now)}"


def _summary(found: ChainReport) -> Iterator[Text]:
    wrong = [(hop.number, each) for hop in found.hops for each in hop.findings]
    if wrong:
        where, worst = wrong[0]
        more = f", and {len(wrong) - 1} more above" if len(wrong) > 1 else ""
        yield Text.assemble(
            ("✗ ", "bold red"),
            (f"every verifier rejects this token: {worst.code} at hop {where}{more}", "red"),
        )
    elif found.holds:
        yield Text("✓ every signature is valid, and no link exceeds the one before", "green")
    yield Text.assemble(("not verified  ", "bold yellow"), NOT_VERIFIED)


def _hop_as_json(hop: Hop) -> dict[str, Any]:
    claims = hop.claims
    claims_json: dict[str, Any] = {}
    if claims is not None:
        meta = mapping(claims.get("meta"))
        args = dict(mapping(claims.get("args")))
        claims_json = {
            "issuer": claims["iss"],
            "audience": claims["aud"],
            "command": claims["cmd"],
            "resource": args.pop("resource", None)
            if hop.kind == "invocation"
            else meta.get("resource_constraint"),
            "starts_at": iso_seconds(hop.start),
            "expires_at": iso_seconds(hop.end),
        }
        if hop.kind == "invocation":
            claims_json["args"] = args
        else:
            texts = policies(claims["pol"])
            claims_json["policies"] = [
                {"text": text, "statement": statement}
                for text, statement in zip(texts, claims["pol"], strict=True)
            ]
            claims_json["meta"] = dict(meta)
    return {
        "hop": hop.number,
        "kind": hop.kind,
        "cid": hop.cid,
        **claims_json,
        "signature": hop.signature,
        "checked": hop.checked,
        "findings": [finding.as_json() for finding in hop.findings],
    }
