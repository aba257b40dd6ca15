"""Redaction of secrets in upstream replies."""

from __future__ import annotations

import time
from typing import Any

import pytest

from nomos.server.domain.redaction import MAX_DEPTH, redact

SECRETS = [
    ("github_pat", "ghp_" + "a1B2" * 9),
    ("github_pat", "gho_" + "a1B2" * 9),
    ("github_pat", "ghs_" + "a1B2" * 9),
    ("github_pat", "ghu_" + "a1B2" * 9),
    ("github_pat", "ghr_" + "a1B2" * 9),
    ("github_pat", "github_pat_" + "a1B2_" * 10),
    ("slack_token", "xoxb-123456789012-abcdef"),
    ("slack_token", "xoxp-123456789012-abcdef"),
    ("jwt", "eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJtZSJ9.c2lnbmF0dXJl"),
    ("aws_access_key", "AKIAIOSFODNN7EXAMPLE"),
    ("aws_access_key", "ASIAIOSFODNN7EXAMPLE"),
    ("google_oauth_token", "ya29." + "a0Af_-" * 8),
]


@pytest.mark.parametrize(("kind", "secret"), SECRETS)
def test_a_secret_is_replaced_by_its_kind_in_keys_and_values(kind: str, secret: str) -> None:
    mark = f"[REDACTED:{kind}]"
    given = {"a": [f"use {secret}, please", {"b": secret}], secret: 1, "n": 5, "t": True}
    said = redact(given)
    assert said == {"a": [f"use {mark}, please", {"b": mark}], mark: 1, "n": 5, "t": True}
    assert secret not in repr(said)


def test_every_secret_in_one_text_is_replaced() -> None:
    text = " ".join(secret for _, secret in SECRETS)
    assert redact(text) == " ".join(f"[REDACTED:{kind}]" for kind, _ in SECRETS)


@pytest.mark.parametrize(
    "text",
    ["ghp_short", "eyJ is how it starts", "a.b.c", "AKIA", "xoxo-hugs", "", "ya29.", None, 3.5],
)
def test_other_text_is_unchanged(text: Any) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("_eyJhbGciOiJI.eyJzdWIiOiJ.abcdef", "_[REDACTED:jwt]"),
        ("a-eyJhbGciOiJI.eyJzdWIiOiJ.abcdef", "a-[REDACTED:jwt]"),
        ("key_sk-ant-" + "a" * 40, "key_[REDACTED:model_api_key]"),
        ("x_sk_live_" + "a" * 24, "x_[REDACTED:stripe_key]"),
        ("ghp%5F" + "a" * 36, "[REDACTED:github_pat]"),
        ("ghp%5f" + "a" * 36, "[REDACTED:github_pat]"),
        ("github%5Fpat%5F" + "a" * 40, "[REDACTED:github_pat]"),
        ("p://u:p@ss@h", "p://[REDACTED:url_password]@h"),
        ("p://u@server:pass@h/x@y", "p://[REDACTED:url_password]@h/x@y"),
        (f"p://{'u' * 300}:pw@h", "p://[REDACTED:url_password]@h"),
        (f"p://u:{'p' * 600}@h", "p://[REDACTED:url_password]@h"),
        ("redis://:hunter2@h", "redis://[REDACTED:url_password]@h"),
    ],
)
def test_a_secret_is_found_beside_other_letters_too(text: str, said: str) -> None:
    assert redact(text) == said
    assert redact(said) == said


@pytest.mark.parametrize("text", ["https://host:8080/a@b", "task_live_" + "a" * 20, "xeyJ.a.b"])
def test_text_similar_to_a_secret_is_unchanged(text: str) -> None:
    assert redact(text) == text


PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,AA\n\n"
    "QUJDREVG\n-----END RSA PRIVATE KEY-----"
)


@pytest.mark.parametrize("text", [PEM, PEM.replace("\n", "\\n"), PEM.replace("\n", "\r\n> ")])
def test_a_private_key_is_redacted_completely_with_any_line_breaks(text: str) -> None:
    assert redact(f"a\n{text}\nb") == "a\n[REDACTED:private_key]\nb"
    assert "QUJDREVG" not in redact(text[:-5])


def test_a_known_secret_is_redacted_in_any_form() -> None:
    assert redact({"k": "my pass is hunter2!"}, ("hunter2", "")) == {
        "k": "my pass is [REDACTED:credential]!"
    }


def test_values_nested_too_deep_are_redacted() -> None:
    value: Any = "ghp_" + "a1B2" * 9
    for _ in range(MAX_DEPTH):
        value = [value]
    assert "[REDACTED:github_pat]" in repr(redact(value))
    assert redact([value]) != [value]
    assert "[REDACTED:depth]" in repr(redact([value]))


@pytest.mark.parametrize(
    "unit",
    [
        *("eyJ", "ghp_", "github_pat_", "xoxb-", "AKIA", "ya29.", "eyJa.", "a"),
        *("_eyJ", "-eyJ", "_eyJaaaaaaa", "_eyJaaaaaaa.", "_sk-", "_sk_live_", "%5F", "ghp%5F"),
        *("://a@", "://:a@", "://a@:", "-----BEGIN PRIVATE KEY-----x-"),
    ],
)
def test_redaction_takes_linear_time(unit: str) -> None:
    """Twenty times the text, far less than four hundred times the time."""
    short, long = (unit * (size // len(unit)) for size in (50_000, 1_000_000))
    assert least(long) < 100 * max(least(short), 0.001)


def least(text: str) -> float:
    """The least of three times: other processes can only make it longer."""
    return min(seconds(text) for _ in range(3))


def seconds(text: str) -> float:
    # Of this thread: those that other tests left behind have work of their own.
    start = time.thread_time()
    redact(text)
    return time.thread_time() - start
