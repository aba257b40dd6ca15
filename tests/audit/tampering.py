"""Ways to tamper with an export, each with the finding that must be reported."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from audit.exports import Export, Json, encoded, fitted, load, rechained


@dataclass(frozen=True)
class Tampering:
    """A changed export, and the finding: one of `kinds`, at rows `first` to `last`."""

    name: str
    lines: Sequence[bytes] = field(repr=False)
    kinds: str
    rows: tuple[int | None, int | None] = (None, None)
    pinned: bool = False


def tamperings(export: Export) -> Iterator[Tampering]:
    for make in (rows_changed, rows_moved, rows_refitted, checkpoints, frames, tails, texts):
        yield from make(export)


# What stands in a row


def rows_changed(export: Export) -> Iterator[Tampering]:
    for index in export.of("row"):
        line = export.json(index)
        row, seq = line["row"], line["row"]["seq"]
        what = f"row {seq} ({row['kind']})"
        for name, value in row.items():
            for how, other in others(value):
                changed = {**line, "row": {**row, name: other}}
                # Without its number it is no row at all.
                kind = "malformed" if name == "seq" and type(other) is not int else "changed"
                yield Tampering(
                    f"{what}: {name} {how}", swap(export, index, changed), kind, (seq, seq)
                )
            rest = {key: item for key, item in row.items() if key != name}
            kind = "malformed" if name == "seq" else "changed"
            yield Tampering(
                f"{what}: {name} removed",
                swap(export, index, {**line, "row": rest}),
                kind,
                (seq, seq),
            )
        added = {**line, "row": {**row, "extra": 1}}
        yield Tampering(
            f"{what}: a member added", swap(export, index, added), "changed", (seq, seq)
        )
        flipped = {**line, "hash": turned(line["hash"])}
        yield Tampering(
            f"{what}: its hash", swap(export, index, flipped), "hash_changed", (seq, seq)
        )
        both = {**line, "hash": turned(line["hash"]), "row": {**row, "at": row["at"] + 1}}
        yield Tampering(f"{what}: row and hash", swap(export, index, both), "changed", (seq, seq))


def others(value: Any) -> Iterator[tuple[str, Any]]:
    """Other values than this one, near and far."""
    match value:
        case bool():
            yield "turned", not value
        case int():
            yield "one more", value + 1
            yield "a text", str(value)
        case str():
            yield "one letter", turned(value)
            yield "cut", value[:-1]
        case list():
            yield "one fewer", value[:-1]
            yield "turned around", [*value[::-1], "x"]
        case dict():
            yield "emptied", {}
            name = next(iter(value))
            yield "one member", {**value, name: f"{value[name]}x"}


def turned(text: str) -> str:
    """The same text with another last letter."""
    return f"{text[:-1]}{'0' if text[-1] != '0' else '1'}"


# Where rows stand


def rows_moved(export: Export) -> Iterator[Tampering]:
    lines, rows = list(export.lines), export.of("row")
    for at, index in enumerate(rows):
        seq = export.json(index)["row"]["seq"]
        last = index == rows[-1]
        yield Tampering(
            f"row {seq} removed", lines[:index] + lines[index + 1 :], "removed", (seq, seq)
        )
        yield Tampering(
            f"row {seq} twice", lines[: index + 1] + lines[index:], "repeated", (seq, seq)
        )
        if at + 1 < len(rows):
            other = rows[at + 1]
            swapped = lines.copy()
            swapped[index], swapped[other] = swapped[other], swapped[index]
            yield Tampering(f"row {seq} swapped with the next", swapped, "moved", (seq, seq))
            copied = lines.copy()
            copied[index] = lines[other]
            yield Tampering(
                f"row {seq} replaced by a copy of the next", copied, "moved removed", (seq, seq)
            )
        if at + 3 < len(rows):
            later = rows[at + 3]
            moved = (
                lines[:index] + lines[index + 1 : later + 1] + [lines[index]] + lines[later + 1 :]
            )
            yield Tampering(f"row {seq} moved down by three", moved, "moved", (seq, seq))
            up = [*lines[:index], lines[later], *lines[index:later], *lines[later + 1 :]]
            yield Tampering(f"row {seq + 3} moved up by three", up, "moved", (seq, seq))
            gone = lines[:index] + lines[later:]
            kept = f"rows {seq} to {seq + 2} removed with what is between them"
            yield Tampering(kept, gone, "removed", (seq, seq + 2))
        if at and not last:
            back = [*lines[: index + 1], lines[rows[0]], *lines[index + 1 :]]
            yield Tampering(f"row 1 again after row {seq}", back, "repeated", (1, 1))


# Rows whose hashes were made to fit, which anyone can do


def rows_refitted(export: Export) -> Iterator[Tampering]:
    rows, tokens = export.of("row"), export.of("checkpoint")
    for index in rows:
        row = export.json(index)["row"]
        seq = row["seq"]
        signed = index + 1 in tokens
        changed = {**row, "at": row["at"] + 1}
        yield Tampering(
            f"row {seq} changed, its hash too",
            swap_raw(export, index, fitted(changed)),
            "rewritten" if signed else "refitted",
            span(export, seq) if signed else (seq, seq),
        )
        chained = rechained(swap_raw(export, index, fitted(changed)), index)
        yield Tampering(
            f"row {seq} changed, all hashes after it too", chained, "rewritten", span(export, seq)
        )
        other = fitted({**row, "prev_hash": turned(row["prev_hash"])})
        yield Tampering(
            f"row {seq} with another prev_hash, its hash too",
            swap_raw(export, index, other),
            "refitted",
            (seq, seq),
        )
        renumbered = fitted({**row, "seq": seq + 5})
        yield Tampering(
            f"row {seq} renumbered, its hash too",
            swap_raw(export, index, renumbered),
            "refitted",
            (seq, seq),
        )
        stolen = fitted({**row, "tenant": "other"})
        yield Tampering(
            f"row {seq} of another tenant, its hash too",
            swap_raw(export, index, stolen),
            "other_tenant",
            (seq, seq),
        )
        yield from put_in(export, index, row)
        if index != rows[-1]:
            yield taken_out(export, index, seq)  # what is left of the last one is a cut tail


def put_in(export: Export, index: int, row: Json) -> Iterator[Tampering]:
    seq = row["seq"]
    made = fitted({**row, "id": "evt_made_up"})
    lines = [*export.lines[:index], made, *export.lines[index:]]
    yield Tampering(f"a made-up row before row {seq}", lines, "repeated", (seq, seq))
    after = {**row, "seq": seq + 1, "prev_hash": export.json(index)["hash"]}
    lines = [*export.lines[: index + 1], fitted(after), *export.lines[index + 1 :]]
    lines = renumbered(lines, index + 1)
    yield Tampering(
        f"a made-up row after row {seq}, all after it renumbered",
        lines,
        "checkpoint_moved rewritten",
        (None, None),
    )


def taken_out(export: Export, index: int, seq: int) -> Tampering:
    lines = [*export.lines[:index], *export.lines[index + 1 :]]
    rows = export.of("row")
    lines = renumbered(lines, rows[max(0, seq - 2)], seq=1 if seq == 1 else None)
    # With no checkpoint between it and the end, all that shows is that one row too few is there.
    first_row, last_row = span(export, seq)
    final = last_row == export.json(-1)["last"]
    return Tampering(
        f"row {seq} taken out, all after it renumbered",
        lines,
        "removed" if final else "rewritten",
        (last_row, last_row) if final else (first_row, last_row),
    )


def renumbered(lines: Sequence[bytes], start: int, seq: int | None = None) -> list[bytes]:
    """Number and chain the rows again from `start` on."""
    made = list(lines)
    before: Json | None = None
    for index in range(start, len(made)):
        said = json.loads(made[index])
        if said["type"] != "row":
            continue
        row = said["row"]
        if before is not None:
            row = {**row, "seq": before["row"]["seq"] + 1, "prev_hash": before["hash"]}
        elif seq is not None:
            row = {**row, "seq": seq, "prev_hash": "0" * 64}
        made[index] = fitted(row)
        before = json.loads(made[index])
    return made


def span(export: Export, seq: int) -> tuple[int, int]:
    """The rows between the checkpoint before row `seq` and the one after it."""
    signed = [export.row_before(index) for index in export.of("checkpoint")]
    return max([0, *(at for at in signed if at < seq)]) + 1, min(at for at in signed if at >= seq)


# Checkpoints


def checkpoints(export: Export) -> Iterator[Tampering]:
    lines, tokens = list(export.lines), export.of("checkpoint")
    for index in tokens:
        at, final = export.row_before(index), index == tokens[-1]
        what = f"checkpoint over row {at}"
        token: str = export.json(index)["token"]
        head, payload, signature = token.split(".")
        said = export.said(token)
        forged: dict[str, tuple[str, str]] = {
            "its signature": (f"{head}.{payload}.{middle(signature)}", "forged"),
            "what it says": (f"{head}.{middle(payload)}.{signature}", "forged"),
            "its header": (f"{middle(head)}.{payload}.{signature}", "forged"),
            "no signature": (f"{head}.{payload}.", "forged"),
            "no token": ("x", "forged"),
            "by an unknown key": (export.sign(export.unrelated, at, said.head), "unknown_signer"),
            "of the log of revocations": (
                export.sign(said.iss, at, said.head, log="revocations"),
                "other_log",
            ),
            "of another tenant": (
                export.sign(said.iss, at, said.head, tenant="other"),
                "other_tenant",
            ),
        }
        for how, (text, kind) in forged.items():
            changed = swap(export, index, {"type": "checkpoint", "token": text})
            yield Tampering(f"{what}: {how}", changed, kind, (at, at))
        dropped = lines[:index] + lines[index + 1 :]
        yield Tampering(
            f"{what} dropped",
            dropped,
            "unsigned" if final else "not_as_exported",
            (export.row_before(tokens[-2]) + 1, at) if final else (None, None),
        )
        twice = lines[: index + 1] + lines[index:]
        yield Tampering(f"{what} twice", twice, "not_as_exported")
        up = [*lines[: index - 1], lines[index], lines[index - 1], *lines[index + 1 :]]
        yield Tampering(f"{what} before its row", up, "checkpoint_moved", (at - 1, at - 1))
        if not final:
            down = [*lines[:index], lines[index + 1], lines[index], *lines[index + 2 :]]
            yield Tampering(f"{what} one row later", down, "checkpoint_moved", (at + 1, at + 1))
            last = [*lines[: tokens[-1]], lines[index], *lines[tokens[-1] + 1 :]]
            end = export.row_before(tokens[-1])
            yield Tampering(f"{what} as the last", last, "checkpoint_moved", (end, end))
    body = lines[1 : tokens[0]]
    over = [lines[0], *body, lines[tokens[1]], *lines[tokens[0] + 1 :]]
    at = export.row_before(tokens[0])
    yield Tampering("the second checkpoint for the first", over, "checkpoint_moved", (at, at))


def middle(text: str) -> str:
    """The same text with another letter in its middle."""
    at = len(text) // 2
    return f"{text[:at]}{'A' if text[at] != 'A' else 'B'}{text[at + 1 :]}"


# Header and end


def frames(export: Export) -> Iterator[Tampering]:
    lines, header = list(export.lines), export.json(0)
    kinds = {
        "type": "unreadable",
        "v": "unreadable",
        "first": "unreadable",
        "tenant": "key_log",
        "issuer": "unknown_issuer",
        "keys": "unknown_issuer key_log",
        "at": "not_as_exported",
    }
    for name, kind in kinds.items():
        for how, other in others(header[name]):
            wrong = kind if isinstance(other, type(header[name])) else "unreadable"
            changed = swap(export, 0, {**header, name: other})
            yield Tampering(f"header: {name} {how}", changed, wrong)
        rest = {key: value for key, value in header.items() if key != name}
        yield Tampering(f"header: {name} removed", swap(export, 0, rest), "unreadable")
    yield Tampering("header: a member more", swap(export, 0, {**header, "x": 1}), "unreadable")
    yield Tampering("header removed", lines[1:], "header")
    yield Tampering("header twice", [lines[0], *lines], "header")
    yield Tampering("two exports in one", [*lines[:-1], *lines], "header")
    yield from key_logs(export, header)
    end = export.json(-1)
    last = end["last"]
    yield Tampering("end: one row more", swap(export, -1, {**end, "rows": last + 1}), "end")
    yield Tampering("end: one row fewer", swap(export, -1, {**end, "rows": last - 1}), "end")
    more = swap(export, -1, {"type": "end", "rows": last + 2, "last": last + 2})
    yield Tampering("end: two rows more", more, "removed", (last + 1, last + 2))
    fewer = swap(export, -1, {"type": "end", "rows": last - 1, "last": last - 1})
    yield Tampering("end: another last row", fewer, "end")
    texts = swap(export, -1, {**end, "rows": str(last)})
    yield Tampering("end: a text", texts, "malformed", (last + 1, last + 1))
    yield Tampering("end twice", [*lines, lines[-1]], "end")
    yield Tampering("a row after the end", [*lines, lines[1]], "end")
    yield Tampering("an empty line after the end", [*lines, b"\n"], "end")


def key_logs(export: Export, header: Json) -> Iterator[Tampering]:
    keys = header["keys"]
    for number, entry in enumerate(keys):
        changes: dict[str, Json] = {
            f"{name} changed": {**entry, "row": {**entry["row"], name: other}}
            for name, value in entry["row"].items()
            for _, other in others(value)
        }
        changes["hash"] = {**entry, "hash": turned(entry["hash"])}
        changes["checkpoint"] = {**entry, "checkpoint": keys[number - 1]["checkpoint"]}
        changes["no checkpoint"] = {"row": entry["row"], "hash": entry["hash"]}
        for how, changed in changes.items():
            log = [*keys[:number], changed, *keys[number + 1 :]]
            name = f"key log, row {number + 1}: {how}"
            yield Tampering(name, swap(export, 0, {**header, "keys": log}), "key_log")
    for name, log, kind in (
        ("one row fewer", keys[:-1], "unknown_issuer"),
        ("without its first row", keys[1:], "key_log"),
        ("turned around", keys[::-1], "key_log"),
        ("a row twice", [*keys, keys[-1]], "key_log"),
        ("no rows", [], "unknown_issuer"),
        ("no rows but texts", ["x"], "key_log"),
    ):
        changed = {**header, "keys": log}
        yield Tampering(f"key log: {name}", swap(export, 0, changed), kind)
    row = {**keys[-1]["row"], "did": export.unrelated}
    row_hash = json.loads(fitted(row))["hash"]
    unknown = load(export.signer, "5d" * 32)
    for name, key in (("by itself", export.unrelated), ("by another unknown key", unknown)):
        token = export.sign(key, row["seq"], row_hash, log="keys")
        forged = {"row": row, "hash": row_hash, "checkpoint": token}
        changed = {**header, "keys": [*keys[:-1], forged], "issuer": export.unrelated}
        yield Tampering(
            f"key log: an unknown key, signed {name}", swap(export, 0, changed), "key_log"
        )
    alone = {**row, "seq": 1, "prev_hash": "0" * 64}
    alone_hash = json.loads(fitted(alone))["hash"]
    token = export.sign(export.unrelated, 1, alone_hash, log="keys")
    forged = {"row": alone, "hash": alone_hash, "checkpoint": token}
    changed = {**header, "keys": [forged], "issuer": export.unrelated}
    yield Tampering("key log: an unknown key's own", swap(export, 0, changed), "unknown_issuer")


# The end of the log


def tails(export: Export) -> Iterator[Tampering]:
    lines, rows, tokens = list(export.lines), export.of("row"), export.of("checkpoint")
    final, pinned = tokens[-1], tokens[-2]
    last = export.row_before(final)
    for count in range(1, last - export.row_before(pinned) + 1):
        left = last - count
        kept = lines[: rows[-count]]
        end = encoded({"type": "end", "rows": left, "last": left})
        yield Tampering(
            f"the last {count} rows cut, its checkpoint kept",
            [*kept, lines[final], lines[-1]],
            "removed",
            (left + 1, last),
        )
        if left > export.row_before(pinned):
            yield Tampering(
                f"the last {count} rows cut with the checkpoint",
                [*kept, end],
                "unsigned",
                (export.row_before(pinned) + 1, left),
            )
    for index in tokens[:-1]:
        at = export.row_before(index)
        end = encoded({"type": "end", "rows": at, "last": at})
        cut = [*lines[: index + 1], end]
        yield Tampering(f"cut after the checkpoint over row {at}", cut, "not_as_exported")
        if index != pinned:
            before = export.row_before(pinned)
            yield Tampering(f"the same, pinned: {at}", cut, "cut", (at + 1, before), pinned=True)
    yield from made_anew(export)


def made_anew(export: Export) -> Iterator[Tampering]:
    """Changes with the issuer's key: only a pinned checkpoint detects them."""
    rows = export.of("row")
    pinned = export.row_before(export.of("checkpoint")[-2])
    for index in rows[:pinned]:
        row = export.json(index)["row"]
        changed = swap_raw(export, index, fitted({**row, "at": row["at"] + 1}))
        lines = export.resigned(rechained(changed, index), export.issuer)
        yield Tampering(
            f"row {row['seq']} changed and all signed anew",
            lines,
            "pin_contradicted",
            (1, pinned),
            pinned=True,
        )


# How lines are written


def texts(export: Export) -> Iterator[Tampering]:
    for index in export.of("row"):
        raw, seq = export.lines[index], export.json(index)["row"]["seq"]
        said = export.json(index)
        at = said["row"]["at"]
        ways = {
            "a space": raw.replace(b'"row":', b'"row": ', 1),
            "a space at its end": raw.replace(b"\n", b" \n"),
            "members in another order": json.dumps(
                dict(reversed(said.items())), separators=(",", ":"), ensure_ascii=False
            ).encode()
            + b"\n",
            "a number as a fraction": raw.replace(f'"at":{at}'.encode(), f'"at":{at}.0'.encode()),
            "a letter escaped": raw.replace(b'"kind":', b'"\\u006bind":', 1),
            "a member twice": raw.replace(b'"at":', b'"at":1,"at":', 1),
            "NaN": raw.replace(f'"at":{at}'.encode(), b'"at":NaN'),
            "not UTF-8": raw.replace(b'"kind"', b'"\xff"', 1),
            "half of it": raw[: len(raw) // 2] + b"\n",
            "empty": b"\n",
            "a list": b"[]\n",
            "a byte order mark": b"\xef\xbb\xbf" + raw,
            "far too long": raw.rstrip(b"\n") + b" " * (1024 * 1024) + b"\n",
            "nested without end": b"[" * 100_000 + b"\n",
            "of another type": raw.replace(b'"type":"row"', b'"type":"note"'),
            "a member more": encoded({**said, "x": 1}),
            "no hash": encoded({"type": "row", "row": said["row"]}),
            "a hash that is a number": encoded({**said, "hash": 7}),
            "a row that is a list": encoded({**said, "row": []}),
            "number 0": encoded({**said, "row": {**said["row"], "seq": 0}}),
        }
        for how, text in ways.items():
            name = f"row {seq}: {how}"
            yield Tampering(name, swap_raw(export, index, text), "malformed", (seq, seq))
    for index in export.of("checkpoint"):
        at = export.row_before(index)
        for how, value in (("a number", 1), ("too long", "x" * 5000)):
            changed = swap(export, index, {"type": "checkpoint", "token": value})
            yield Tampering(
                f"checkpoint over row {at}: {how}", changed, "malformed", (at + 1, at + 1)
            )


def swap(export: Export, index: int, value: Any) -> list[bytes]:
    return swap_raw(export, index, encoded(value))


def swap_raw(export: Export, index: int, raw: bytes) -> list[bytes]:
    lines = list(export.lines)
    lines[index] = raw
    return lines
