"""The rules in docs/verification.md are those that the code checks and the vectors break."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

import pytest

from nomos.models import VerificationCode

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "verification.md"
SOURCE: Final = ROOT / "ucan-bin" / "src"
ATTACKS: Final = ROOT / "tests" / "vectors" / "attacks"
OTHER_KINDS: Final = {"checkpoint", "receipt", "order"}
"""Groups about signed heads of logs, about receipts, and about which of two rules answers."""


@dataclass(frozen=True)
class Rule:
    ident: str
    code: str
    function: str
    file: str
    groups: tuple[str, ...]


def rules() -> list[Rule]:
    row = re.compile(
        r"^\| (V\d\.\d) \| .+? \| `(\w+)` \| "
        r"\[`(\w+)`\]\(\.\./ucan-bin/src/([\w/.]+)\) \| (.+?) \|",
        re.MULTILINE,
    )
    return [
        Rule(ident, code, function, file, tuple(re.findall(r"`(\w+)`", groups)))
        for ident, code, function, file, groups in row.findall(PAGE.read_text())
    ]


RULES: Final = rules()


def refused(group: str) -> set[str]:
    """The codes that the cases of a group are refused with."""
    rows = json.loads((ATTACKS / f"{group}.json").read_text())["refused"]
    return {row["refused"]["code"] for row in rows}


def test_rules_have_unique_ids_in_order() -> None:
    idents = [rule.ident for rule in RULES]
    assert len(idents) == 31
    assert idents == sorted(set(idents))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.ident)
def test_a_rule_is_checked_in_the_function_that_the_page_names(rule: Rule) -> None:
    source = (SOURCE / rule.file).read_text()
    assert re.search(rf"function {rule.function}\b", source)
    major = rule.ident.partition(".")[0]
    assert re.search(rf"\b({re.escape(rule.ident)}|{major} of)\b", source)
    assert rule.code in get_args(VerificationCode)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.ident)
def test_the_vectors_break_each_rule(rule: Rule) -> None:
    assert rule.groups
    assert any(rule.code in refused(group) for group in rule.groups)


def test_each_group_of_attacks_breaks_a_rule() -> None:
    named = {group for rule in RULES for group in rule.groups}
    assert {path.stem for path in ATTACKS.glob("*.json")} == named | OTHER_KINDS


def test_no_other_id_is_in_the_code() -> None:
    known = {rule.ident for rule in RULES}
    for path in SOURCE.rglob("*.ts"):
        assert set(re.findall(r"\bV\d\.\d\b", path.read_text())) <= known, path
