"""Verification of webhooks by a receiver, and its errors."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import Message
from typing import Any

import httpx
import pytest
import starlette.datastructures
from hypothesis import given
from hypothesis import strategies as st

from nomos import ConfigurationError, InvalidWebhookSignature, webhooks
from nomos.models import Secret

SECRET = "s3cret-" * 6
NOW = 1_800_000_000
BODY = json.dumps(
    {
        "id": "out_1",
        "event": "approval.requested",
        "createdAt": "2027-01-15T08:00:00.000Z",
        "tenant": "default",
        "approval": {"id": "env_1", "state": "pending", "args": {"text": "naïve ✓"}},
    },
    ensure_ascii=False,
).encode()


def mac(body: bytes = BODY, at: object = NOW, secret: str = SECRET) -> str:
    """The signature, worked out from its description and not by our own code."""
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


def headers(value: str | None = None) -> dict[str, str]:
    return {"Nomos-Signature": value or f"t={NOW},v1={mac()}", "Content-Type": "application/json"}


def refusal(
    sent: Mapping[str, str] | Any, body: bytes = BODY, **options: Any
) -> InvalidWebhookSignature:
    with pytest.raises(InvalidWebhookSignature) as refused:
        webhooks.verify(sent, body, **{"secret": SECRET, "now": NOW, **options})
    assert SECRET not in str(refused.value)
    assert mac() not in str(refused.value)
    return refused.value


def test_a_genuine_message_is_read() -> None:
    event = webhooks.verify(headers(), BODY, SECRET, now=NOW)
    assert (event.id, event.event, event.tenant) == ("out_1", "approval.requested", "default")
    assert event.created_at == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert event.approval["args"] == {"text": "naïve ✓"}
    assert "naïve" not in repr(event)


def test_a_signature_has_the_documented_form() -> None:
    assert webhooks.sign(Secret(SECRET), BODY, NOW) == f"t={NOW},v1={mac()}"


def test_header_names_have_no_case_and_any_library_will_do() -> None:
    assert webhooks.verify({"nomos-signature": headers()["Nomos-Signature"]}, BODY, SECRET, now=NOW)
    message = Message()
    message["NOMOS-SIGNATURE"] = headers()["Nomos-Signature"]
    assert webhooks.verify(message, BODY, SECRET.encode(), now=NOW)


def test_while_a_secret_is_replaced_one_signature_of_several_is_enough() -> None:
    old = mac(secret="o" * 32)
    for order in (f"v1={old},v1={mac()}", f"v1={mac()},v1={old}"):
        assert webhooks.verify(headers(f"t={NOW},{order}"), BODY, SECRET, now=NOW)
    assert webhooks.verify(headers(f"t={NOW},v1={mac()},v2=x"), BODY, SECRET, now=NOW)


def test_a_message_without_a_signature_is_refused() -> None:
    assert refusal({}).reason == "missing"
    assert refusal({"content-type": "application/json"}).reason == "missing"


@pytest.mark.parametrize(
    "value",
    [
        " ",
        "t=,v1=",
        f"t={NOW}",
        f"v1={'0' * 64}",
        f"t={NOW},v1={'0' * 63}",
        f"t={NOW},v1={'G' * 64}",
        f"t={NOW},t={NOW},v1={'0' * 64}",
        f"t=-1,v1={'0' * 64}",
        f"t=1.5,v1={'0' * 64}",
        f"t={'9' * 13},v1={'0' * 64}",
        f"t=\u0661,v1={'0' * 64}",
        f"t={NOW};v1={'0' * 64}",
        f"t={NOW}," + ",".join([f"v1={'0' * 64}"] * 9),
        f"t={NOW},v1={'0' * 64}," + "x=" + "y" * 1024,
    ],
)
def test_an_invalid_header_is_malformed(value: str) -> None:
    assert refusal(headers(value)).reason == "malformed"


@pytest.mark.parametrize(
    "form",
    [
        lambda value: [("Host", "x"), ("Nomos-Signature", value)],
        lambda value: (("nomos-signature", value),),
        lambda value: iter([("NOMOS-SIGNATURE", value)]),
        lambda value: [(b"host", b"x"), (b"nomos-signature", value.encode())],
        lambda value: [[b"nomos-signature", value.encode()]],
        lambda value: {b"Nomos-Signature": value.encode()},
        lambda value: {"Nomos-Signature": [value], "Content-Length": 7, "X-None": None},
        lambda value: starlette.datastructures.Headers({"nomos-signature": value}),
        lambda value: httpx.Headers({"nomos-signature": value}),
    ],
)
def test_headers_come_as_any_framework_has_them(form: Callable[[str], Any]) -> None:
    good = headers()["Nomos-Signature"]
    assert webhooks.verify(form(good), BODY, SECRET, now=NOW).id == "out_1"
    assert refusal(form(good.replace("v1=", "v1=0")[:-1])).reason == "forged"


@pytest.mark.parametrize(
    "twice",
    [
        lambda value: [("Nomos-Signature", value), ("nomos-signature", value)],
        lambda value: [(b"nomos-signature", value.encode()), ("nomos-signature", value)],
        lambda value: {"Nomos-Signature": [value, value]},
        lambda value: httpx.Headers([("nomos-signature", value), ("nomos-signature", value)]),
    ],
)
def test_a_repeated_header_is_refused_in_every_form(twice: Callable[[str], Any]) -> None:
    assert refusal(twice(headers()["Nomos-Signature"])).reason == "malformed"


def test_missing_headers_are_a_refusal_and_other_types_a_configuration_error() -> None:
    nothings: list[Any] = [[], {}, [("Host", "x")], {"Nomos-Signature": []}]
    for nothing in nothings:
        assert refusal(nothing).reason == "missing"
    wrongs: list[Any] = ["Nomos-Signature: t=1", None, 7, ["Nomos-Signature"], [(1, 2)], object()]
    wrongs += [{"Nomos-Signature": 7}, {"Nomos-Signature": None}, {"Nomos-Signature": object()}]
    for wrong in wrongs:
        with pytest.raises(ConfigurationError, match=r"headers must be a mapping.*pairs") as error:
            webhooks.verify(wrong, BODY, SECRET)
        assert error.value.setting == "headers"


def test_two_signature_headers_are_refused() -> None:
    message = Message()
    message["Nomos-Signature"] = headers()["Nomos-Signature"]
    message["nomos-signature"] = headers()["Nomos-Signature"]
    assert refusal(message).reason == "malformed"


def test_another_secret_time_or_body_is_a_forgery() -> None:
    assert refusal(headers(), secret="t" * 40).reason == "forged"
    assert refusal(headers(f"t={NOW + 1},v1={mac()}")).reason == "forged"
    assert refusal(headers(f"t=0{NOW},v1={mac()}")).reason == "forged"
    assert refusal(headers(), body=BODY + b" ").reason == "forged"
    assert "parsed and serialized again" in str(refusal(headers(), body=b"{}"))


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_no_byte_of_the_body_can_be_changed(place: int, change: int) -> None:
    changed = bytearray(BODY)
    changed[place] ^= change
    assert refusal(headers(), body=bytes(changed)).reason == "forged"


def test_every_signature_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = mac(), "0" * 64
    compared: list[str] = []
    original = hmac.compare_digest

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return original(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    webhooks.verify(headers(f"t={NOW},v1={good},v1={bad},v1={bad}"), BODY, SECRET, now=NOW)
    assert compared == [good, bad, bad]


def test_clocks_that_disagree_are_named_with_their_difference() -> None:
    late = refusal(headers(), now=NOW + 812)
    assert late.reason == "too_old"
    assert "the clocks disagree by 812 s" in str(late)
    early = refusal(headers(), now=NOW - 4000)
    assert early.reason == "from_the_future"
    assert "the clocks disagree by 4000 s" in str(early)


def test_the_tolerance_is_inclusive_and_may_be_chosen() -> None:
    for now in (NOW - 300, NOW + 300):
        assert webhooks.verify(headers(), BODY, SECRET, now=now)
    assert refusal(headers(), now=NOW + 301).reason == "too_old"
    assert refusal(headers(), now=NOW - 301).reason == "from_the_future"
    assert refusal(headers(), now=NOW + 2, tolerance=1).reason == "too_old"
    assert webhooks.verify(headers(), BODY, SECRET, 5000, now=NOW + 4999)


def test_a_forgery_gets_no_message_about_clocks() -> None:
    assert refusal(headers(f"t=1,v1={mac()}")).reason == "forged"


def test_the_default_time_is_this_machines_clock() -> None:
    assert refusal(headers(), now=None).reason in ("too_old", "from_the_future")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"id": "out_1"}',
        BODY.replace(b'"out_1"', b"1"),
        BODY.replace(b'"2027-01-15T08:00:00.000Z"', b'"soon"'),
        BODY.replace(b'"approval": {', b'"approval": 1, "other": {'),
        b"[" * 100_000,
    ],
)
def test_a_signed_body_that_is_no_message_is_malformed(body: bytes) -> None:
    assert refusal(headers(f"t={NOW},v1={mac(body)}"), body=body).reason == "malformed"


def test_an_oversized_body_is_refused() -> None:
    assert refusal(headers(), body=b"x" * (1024 * 1024 + 1)).reason == "malformed"


@pytest.mark.parametrize("secret", ["", "short", "x" * 5000, Secret(""), b""])
def test_a_weak_secret_is_refused(secret: Any) -> None:
    with pytest.raises(ConfigurationError, match="openssl rand -hex 32") as refused:
        webhooks.verify(headers(), BODY, secret, now=NOW)
    assert refused.value.setting == "secret"


@pytest.mark.parametrize("tolerance", [-1, float("nan"), float("inf")])
def test_an_invalid_tolerance_is_refused(tolerance: float) -> None:
    with pytest.raises(ConfigurationError, match="tolerance"):
        webhooks.verify(headers(), BODY, SECRET, tolerance, now=NOW)


def test_a_decoded_body_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="must be bytes, not str"):
        webhooks.verify(headers(), BODY.decode(), SECRET)  # type: ignore[arg-type]
