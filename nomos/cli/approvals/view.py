"""Approval requests in a terminal, and as one line of plain text.

An agent chose most of this text, so it must not pass for output of this program: an invisible
character is shown as its code point, and each line of multi-line text begins with a bar. Lines
are folded here, not by the terminal. Nothing is left out or shortened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nomos._times import in_words
from nomos.cli.visible_text import shown

View = Mapping[str, Any]

SOON: Final = 60
CALM: Final = 300
SHORT: Final = 96
"""Maximum length of a value that is also shown in ASCII, in which lookalike letters differ."""

ONLY_HASH: Final = "The agent sent only the hash of this text. You cannot read the text."

NARROW: Final = 20  # minimum width in columns to which text is folded

STATE_STYLES: Final = {
    "pending": "bold yellow",
    "approved": "bold green",
    "denied": "bold red",
    "expired": "dim",
    "consumed": "green",
}


def card(view: View, now: datetime, width: int) -> RenderableType:
    """Return one approval request in full, as an operator must see it before deciding."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    room = max(NARROW, width - 14)
    for name, value in _rows(view, now):
        lines = [line for text in value for line in folded(text, room)] or [Text("")]
        for number, line in enumerate(lines):
            table.add_row("" if number else name, line)
    return table


def _rows(view: View, now: datetime) -> Iterator[tuple[str, Sequence[Text]]]:
    state = Text(view["state"], style=STATE_STYLES.get(view["state"], ""))
    yield "approval", [Text(view["id"], style="bold")]
    yield "state", [Text.assemble(state, "  ", time_left(view, now))]
    yield (
        "requested by",
        [Text.assemble(shown(view["app"]["name"]), (f"  {view['app']['id']}", "dim"))],
    )
    yield "agent", [Text(view["agent"])]
    yield "command", [Text(view["command"], style="bold cyan")]
    if view.get("audience"):
        yield "service", [shown(view["audience"])]
    yield "resource", list(members(view["resource"]))
    yield "args", list(_args(view))
    if view.get("constraints"):
        yield "only if", list(_constraints(view))
    if view.get("purpose"):
        yield "purpose", list(value(view["purpose"]))
    if view.get("context"):
        yield "claims", list(members(view["context"]))
    yield "valid for", [Text(f"{words(view['ttlSeconds'])}, one call")]
    yield "policies", [shown(", ".join(view["policies"]))]
    if view.get("reason"):
        yield "why", list(value(view["reason"]))
    yield "needs", [_roles(view)]
    yield from (("answer", [_vote(vote)]) for vote in view["votes"])
    yield "receipt", [Text(view["receiptId"], style="dim")]
    yield "page", [Text(view["approvalUrl"], style="dim")]


def _args(view: View) -> Iterator[Text]:
    if not view["argsBound"]:
        freely = "within the constraints" if view.get("constraints") else "freely"
        yield Text(f"ANY: the agent may choose the arguments {freely}", style="bold red")
    elif not view.get("args"):
        yield Text("none", style="dim")
    else:
        yield from members(view["args"], view.get("bound") or {})


def _constraints(view: View) -> Iterator[Text]:
    """Yield each constraint in words, and in ASCII if it has other letters."""
    for each in view["constraints"]:
        yield shown(each)
        if not each.isascii():
            in_ascii = each.encode("ascii", "backslashreplace").decode()
            yield Text.assemble(("In ASCII ", "dim"), in_ascii)


def _roles(view: View) -> Text:
    done = set(view["approvedRoles"])
    parts = [
        Text(f"{role} ✓", style="green") if role in done else Text(role, style="bold")
        for role in view["roles"]
    ]
    return Text(", ").join(parts)


def _vote(vote: View) -> Text:
    said = ("approved", "green") if vote["approve"] else ("denied", "red")
    why = Text.assemble(": ", shown(vote["reason"])) if vote.get("reason") else Text("")
    roles = f" as {', '.join(vote['roles'])}" if vote["roles"] else ""
    at = in_words(datetime.fromisoformat(vote["at"]))
    return Text.assemble(said, " by ", shown(vote["name"]), f"{roles} at {at}", why)


def members(values: Mapping[str, Any], bound: Mapping[str, Any] | None = None) -> Iterator[Text]:
    """Yield each member, `name: value` or a block of text; `bound` are the values to be signed."""
    for name, each in values.items():
        head = Text.assemble(shown(name), ": ")
        first, *rest = value(each)
        if isinstance(each, str) and "\n" in each:
            count = each.count("\n") + 1
            yield head.append(f"{count} lines, {len(each):,} characters", style="dim")
            yield from (first, *rest)
        else:
            yield head + first
            yield from rest
        yield from _ascii(name, each)
        if isinstance(each, dict) and set(each) == {"sha256"} and each == (bound or {}).get(name):
            yield Text(ONLY_HASH, style="bold red")


def _ascii(name: str, each: Any) -> Iterator[Text]:
    """Yield a short text with other letters in ASCII; of a long one, the number of such letters."""
    text = each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)
    if text.isascii() and name.isascii():
        return
    if len(text) <= SHORT and "\n" not in text:
        in_ascii = json.dumps(each if name.isascii() else {name: each})
        yield Text.assemble(("In ASCII ", "dim"), in_ascii)
        return
    if not name.isascii():
        yield Text.assemble(("Name in ASCII ", "dim"), json.dumps(name))
    count = sum(not letter.isascii() for letter in text)
    if count:
        plural = "" if count == 1 else "s"
        yield Text(f"{count:,} character{plural} outside ASCII", style="yellow")


def value(each: Any) -> Iterator[Text]:
    """Yield a JSON value in full; each line of multi-line text begins with a bar."""
    if isinstance(each, str):
        lines = each.split("\n")
        if len(lines) == 1:
            yield shown(each, quoted=True)
        else:
            yield from (Text.assemble(("│ ", "dim"), shown(line)) for line in lines)
    else:
        yield shown(json.dumps(each, ensure_ascii=False))


def folded(text: Text, width: int) -> list[Text]:
    """Fold a line to `width` columns; each line but the first begins with a bar."""
    lines: list[Text] = []
    start = used = 0
    for place, letter in enumerate(text.plain):
        size = cell_len(letter)
        if used + size > width and place > start:
            lines.append(text[start:place])
            start, used = place, cell_len("┆ ")
        used += size
    lines.append(text[start:])
    return [lines[0], *(Text.assemble(("┆ ", "dim"), line) for line in lines[1:])]


def queue(views: Sequence[View], now: datetime, width: int) -> RenderableType:
    """Return several requests: app, time left, and the call with args in full."""
    table = Table(box=None, padding=(0, 2, 1, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    left = max((len(view["id"]) for view in views), default=0)
    for view in views:
        who = [_state(view, now)]
        who.append(Text.assemble(("requested by ", "dim"), shown(view["app"]["name"])))
        if view["state"] == "pending":
            who.append(Text.assemble(("needs ", "dim"), _roles(view)))
        about = [line for each in who for line in folded(each, left)]
        what = _what(view, max(NARROW, width - left - 2))
        ident = Text(view["id"], style="bold")
        table.add_row(Text("\n").join((ident, *about)), Text("\n").join(what))
    return table


def _state(view: View, now: datetime) -> Text:
    if view["state"] == "pending":
        return time_left(view, now)
    state = Text(view["state"], style=STATE_STYLES.get(view["state"], ""))
    return Text.assemble(state, " ", time_left(view, now))


def _what(view: View, width: int) -> list[Text]:
    head = [Text(view["command"], style="bold cyan")]
    if view.get("audience"):
        head.append(Text.assemble(("service ", "dim"), shown(view["audience"])))
    lines = [line for each in (*head, *members(view["resource"])) for line in folded(each, width)]
    lines += _block("args", _args(view), width)
    if view.get("constraints"):
        lines += _block("only if", _constraints(view), width)
    if view.get("purpose"):
        lines += _block("purpose", value(view["purpose"]), width)
    return lines


def _block(label: str, texts: Iterable[Text], width: int) -> list[Text]:
    lines = [line for each in texts for line in folded(each, width - 2)]
    return [Text(label, style="dim"), *(Text.assemble("  ", line) for line in lines)]


def time_left(view: View, now: datetime) -> Text:
    """Return how long the request can still be decided; green, yellow or red by the time left."""
    left = (datetime.fromisoformat(view["expiresAt"]) - now).total_seconds()
    if view["state"] != "pending":
        return Text(_since(view, now), style="dim")
    if left <= 0:
        return Text(f"expired {words(-left)} ago", style="dim")
    style = "green" if left > CALM else "yellow" if left >= SOON else "bold red"
    return Text(f"{words(left)} left", style=style)


def _since(view: View, now: datetime) -> str:
    at = view.get("consumedAt") or view.get("decidedAt") or view["expiresAt"]
    return f"{words((now - datetime.fromisoformat(at)).total_seconds())} ago"


def words(seconds: float) -> str:
    """Return a duration in seconds as text: `45 s`, `12 min`, `2 h 5 min`."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def columns(view: View) -> tuple[str, ...]:
    """Return the columns of one request, for other programs.

    id, state, expiry, app, command, roles, resource, args, service, constraints. Resource, args
    and constraints are JSON in ASCII; args are `*` if any are allowed; an empty service means the
    PDP. No column contains a tab or a line end.
    """
    args = json.dumps(view.get("args") or {}) if view["argsBound"] else "*"
    return (
        *(view["id"], view["state"], view["expiresAt"], shown(view["app"]["name"]).plain),
        *(view["command"], ",".join(view["roles"]), json.dumps(view["resource"]), args),
        shown(view.get("audience") or "").plain,
        json.dumps(view.get("constraints") or []),
    )
