"""Parts of the pages without a server: texts, values, times, limits, colors."""

from __future__ import annotations

import hashlib
import re
import string
import sys
import unicodedata
from html import unescape
from typing import Final

import pytest

from nomos.invisible_text import is_invisible
from nomos.server.control.limits import MOST_CALLERS, MOST_FAILURES, LoginThrottle
from nomos.server.pages import render, time_format
from nomos.server.pages.browser_sessions import safe_redirect
from nomos.server.pages.values import differing, shown_values
from nomos.server.pages.visible_text import count_unseen, has_rtl, visible

NOW: Final = 1_800_000_000


def test_plain_text_is_unchanged() -> None:
    plain = string.ascii_letters + string.digits + string.punctuation + "äß漢字😀é"
    assert unescape(str(visible(plain))) == plain
    assert visible("") == ""


def test_every_invisible_character_is_marked() -> None:
    for number in range(sys.maxunicode + 1):
        letter = chr(number)
        if unicodedata.category(letter)[0] in "CZ" and letter not in " \n\t":
            assert is_invisible(letter), hex(number)
    for letter in "\u115f\u3164\uffa0\u2800\ufe0f\U000e0100\u034f\u180b":
        assert is_invisible(letter), hex(ord(letter))
    for letter in " \n\tazäא漢😀":
        assert not is_invisible(letter)


def test_each_marked_character_has_its_own_mark() -> None:
    text = "a\u200bb" + "\u200b" * 5000
    assert "U+200B</span>b" in visible(text)
    assert "U+200B \u00d75,000</span>" in visible(text)
    assert count_unseen(text) == 5001


def test_spaces_at_the_edges_and_layout_are_seen() -> None:
    shown = str(visible("  a b  \n c\t \n"))
    assert shown == (
        '<span class="edge">  </span>a b<span class="edge">  </span><span class="line"></span>\n'
        ' c<span class="tab"></span>\t<span class="edge"> </span><span class="line"></span>\n'
    )


def test_right_to_left_letters_are_noticed() -> None:
    assert has_rtl("notes/\u05d0")
    assert has_rtl("\u0627")
    assert not has_rtl("äöü 漢字")


def test_long_values_get_a_box_and_short_ones_their_ascii_form() -> None:
    short, long, lines, flag, nothing = shown_values(
        {"a": "é", "b": "x" * 97, "c": "1\n2\n", "d": True, "e": None}
    )
    assert (short.long, short.ascii, short.size) == (False, '"\\u00e9"', 2)
    assert (long.long, long.scrolls, long.lines) == (True, False, 1)
    assert (lines.long, lines.lines) == (True, 2)
    assert (flag.kind, flag.text) == ("true or false", "true")
    assert (nothing.kind, nothing.text) == ("null", "null")
    assert shown_values({"x": "y\n" * 17})[0].scrolls
    assert shown_values({"x": "y" * 2000})[0].scrolls


def test_names_are_checked_as_values_are() -> None:
    (row,) = shown_values({"\u202epath": "x"})
    assert row.unseen == 1
    assert row.ascii == '{"\\u202epath": "x"}'


def test_args_signed_in_another_form_are_listed() -> None:
    hashed = {"sha256": hashlib.sha256("é".encode()).hexdigest()}
    sent = {"same": [1, {"a": 2}], "text": "é", "one": 1, "other": "x", "order": {"a": 1, "b": 2}}
    bound = {**sent, "text": hashed, "one": True, "other": hashed, "more": 1}
    bound["order"] = {"b": 2, "a": 1}
    assert [row.name for row in differing(sent, bound)] == ["one", "other", "more"]
    assert differing(sent, {}) == ()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, ""),
        (0.9, ""),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (125, "2 minutes 5 seconds"),
        (899, "14 minutes"),
        (3600, "1 hour"),
        (3700, "1 hour 1 minute"),
        (90_000, "1 day 1 hour"),
    ],
)
def test_spans_in_words(seconds: float, words: str) -> None:
    assert time_format.span(seconds) == words


def test_moments_in_words() -> None:
    assert time_format.left(NOW + 60, NOW) == "1 minute"
    assert time_format.left("2027-01-15T08:00:00.000Z", NOW) == "no time"
    assert time_format.ago(NOW - 1, NOW) == "1 second ago"
    assert time_format.ago(NOW, NOW) == "just now"
    assert str(time_format.at(NOW)) == (
        '<time datetime="2027-01-15T08:00:00+00:00">08:00:00 UTC on 15 January 2027</time>'
    )


def test_only_paths_of_the_pages_are_local() -> None:
    ident = "/approvals/env_" + "0" * 26
    assert safe_redirect(ident) == ident
    assert (
        safe_redirect(None)
        == safe_redirect("")
        == safe_redirect("/approvals/")
        == safe_redirect(ident + "/")
        == "/approvals"
    )


def test_failures_are_forgotten_after_a_minute_and_by_number() -> None:
    attempts = LoginThrottle()
    for second in range(MOST_FAILURES):
        assert attempts.wait("a", NOW + second) == 0
        attempts.failed("a", NOW + second)
    assert attempts.wait("a", NOW + 20) == 41
    assert attempts.wait("b", NOW + 20) == 0
    assert attempts.wait("a", NOW + 60) == 0
    for number in range(MOST_CALLERS + 5):
        attempts.failed(str(number), NOW)
    assert len(attempts._failed) == MOST_CALLERS


def _luminance(color: str) -> float:
    channels = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_enough_contrast_with_its_background(scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\n\s*\}", render.STYLE.decode(), re.DOTALL)
    colors = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", blocks[scheme]))
    pairs = [
        (text, behind, 4.5)
        for text in ("ink", "quiet", "link")
        for behind in ("page", "panel", "sunken")
    ]
    pairs += [(state, f"{state}-bg", 4.5) for state in ("wait", "yes", "no", "used", "gone")]
    pairs += [(text, f"{state}-bg", 4.5) for text in ("ink",) for state in ("wait", "yes", "no")]
    pairs += [("wait", "panel", 4.5), ("no", "panel", 4.5), ("no", "no-hover", 4.5)]
    pairs += [("primary-ink", "primary", 4.5), ("primary-ink", "primary-hover", 4.5)]
    pairs += [("strong-line", "panel", 3), ("focus", "page", 3), ("quiet", "yes-bg", 4.5)]
    pairs += [("white", "yes-solid", 4.5), ("quiet", "no-bg", 4.5), ("quiet", "used-bg", 4.5)]
    colors["white"] = "#ffffff"
    for text, behind, least in pairs:
        light, dark = sorted((_luminance(colors[text]), _luminance(colors[behind])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least, (text, behind)
