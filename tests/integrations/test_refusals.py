"""Refusals as HTTP: status, challenge, retry-after, and no secret."""

from __future__ import annotations

import re
from typing import Any, Final, get_args

import pytest

from nomos._core import remedies
from nomos._core.http_rules.errors import FAILURES
from nomos.errors import Denied
from nomos.http_status import STATUS_BY_REASON
from nomos.integrations import _refusals
from nomos.integrations._refusals import CallRefused, bearer, refusal
from nomos.models import DenyReason
from nomos.server.pdp import statuses as pdp

REASONS: Final = tuple(code for part in get_args(DenyReason) for code in get_args(part) or (part,))
COMMAND: Final = "/github/issue/list"
DID: Final = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
JWT: Final = "eyJhbGciOiJFZERTQSJ9.eyJhIjoxfQ.c2lnbmF0dXJl"

CHALLENGE: Final = re.compile(
    r'Bearer(?: error="(invalid_request|invalid_token|insufficient_scope)"'
    r', error_description="([\x20-\x21\x23-\x5b\x5d-\x7e]+)"'
    r'(?:, scope="([\x21\x23-\x5b\x5d-\x7e]+)")?)?'
)
"""RFC 6750, section 3: what may stand in each of the attributes."""


def denied(code: str, **more: Any) -> Denied:
    return Denied("a sentence", code=code, **{"fix": remedies.remedy(code), **more})


def test_every_reason_has_a_status_a_sentence_and_the_pdps_status() -> None:
    assert set(REASONS) == set(STATUS_BY_REASON) == set(_refusals._MESSAGES)
    assert pdp.STATUS_BY_REASON is STATUS_BY_REASON


@pytest.mark.parametrize("code", REASONS)
def test_each_reason_has_the_challenge_of_rfc_6750(code: DenyReason) -> None:
    said = refusal(denied(code), COMMAND, DID)
    assert said.status == STATUS_BY_REASON[code]
    challenge = CHALLENGE.fullmatch(said.headers.get("www-authenticate", "Bearer"))
    assert challenge is not None
    error, description, scope = challenge.groups()
    match said.status:
        case 401:
            assert (error, scope) == ("invalid_token", None)
        case 403:
            assert (error, scope) == ("insufficient_scope", COMMAND)
        case _:
            assert (said.status, error) == (503, None)
            assert said.headers == {"retry-after": "2"}
    assert description is None or description == said.message.replace('"', "'")


@pytest.mark.parametrize("code", REASONS)
def test_each_reason_has_a_fix(code: DenyReason) -> None:
    body = _refusals.body(refusal(denied(code, hop=1, field="pol[1]"), COMMAND, DID), "r-1")
    assert body.pop("fix")
    assert body == {
        "error": _refusals._MESSAGES[code],
        "error_code": code,
        "request_id": "r-1",
        "hop": 1,
        "field": "pol[1]",
    }


WORDS: Final = 'path is under "reports"'


@pytest.mark.parametrize("code", ["resource_out_of_scope", "resource_mismatch"])
def test_a_failed_statement_is_described_in_words(code: DenyReason) -> None:
    said = refusal(denied(code, field="pol[1]", wanted=WORDS, found='"secret"'), COMMAND, DID)
    assert said.message == f"{_refusals._MESSAGES[code]}: it holds only where {WORDS}"
    assert "reports" not in said.headers["www-authenticate"]
    assert "secret" not in str(_refusals.body(said, "r"))


@pytest.mark.parametrize(
    "more",
    [
        {"wanted": '["==",".args.a",1]'},
        {"wanted": f"owner is {DID}"},
        {"wanted": f'token is "{JWT}"'},
        {"wanted": f'key is "{"a" * 40}"'},
        {"wanted": None},
        {"wanted": ""},
        {"wanted": WORDS, "field": "args.path"},
        {"wanted": WORDS, "field": "pol"},
        {"wanted": WORDS, "field": None},
        {"wanted": WORDS, "code": "malformed_ucan"},
    ],
)
def test_other_text_of_a_token_is_not_repeated(more: dict[str, Any]) -> None:
    how = {"code": "resource_out_of_scope", "field": "pol[1]", **more}
    said = refusal(denied(**how), COMMAND, DID)
    assert said.message == _refusals._MESSAGES[how["code"]]


def test_a_token_for_another_audience_gets_this_services_did() -> None:
    said = refusal(denied("audience_mismatch"), COMMAND, DID)
    assert said.members["fix"] == f"authorize with audience={DID!r}"
    other = refusal(denied("audience_mismatch"), COMMAND, None)
    assert other.members["fix"] == remedies.remedy("audience_mismatch")


@pytest.mark.parametrize(
    "fix",
    [f"trust {DID}", f"send {JWT}", "ask nomos_app_" + "a" * 40, f"not {'0f' * 32}"],
    ids=["did", "token", "api key", "cid"],
)
def test_a_sentence_with_a_value_in_it_is_not_repeated(fix: str) -> None:
    assert "fix" not in refusal(denied("expired", fix=fix), COMMAND, DID).members


@pytest.mark.parametrize("code", REASONS)
def test_no_part_of_a_token_or_chain_is_repeated(code: DenyReason) -> None:
    secret = f"{DID} {JWT} hunter2"
    leaky = Denied(secret, code=code, field="aud", wanted=secret, found=secret, fix=secret)
    said = refusal(leaky, COMMAND, None)
    shown = f"{_refusals.body(said, 'r')} {_refusals.headers(said, 'r')} {said!r}"
    assert not re.search("did:key|eyJ|hunter2", shown)


@pytest.mark.parametrize("field", ["x\ny", "é", "x" * 81, "", '\x00"'])
def test_a_field_with_an_unusual_name_of_the_sender_is_omitted(field: str) -> None:
    refused = refusal(denied("resource_mismatch", field=field), COMMAND, DID)
    assert "field" not in refused.members


def test_an_unavailable_verifier_is_a_503() -> None:
    said = refusal(denied("unavailable"), COMMAND, DID)
    assert (said.status, said.code, said.headers) == (503, "unavailable", {"retry-after": "2"})


def test_an_unknown_code_is_a_refusal() -> None:
    said = refusal(denied("something_new"), COMMAND, DID)
    assert (said.status, said.code) == (403, "forbidden")


@pytest.mark.parametrize(("code", "status"), FAILURES.items())
def test_failures_have_the_status_of_every_other_edge(code: Any, status: int) -> None:
    assert CallRefused(code, "no").status == status


@pytest.mark.parametrize("sent", [[], [""], ["a b"], ["é"], ["x" * 129], ["a\r\nb: x"], ["a", "a"]])
def test_a_malformed_request_id_is_replaced(sent: list[str]) -> None:
    assert re.fullmatch("req_[0-9a-f]{24}", _refusals.request_id(sent))


def test_a_request_id_is_repeated() -> None:
    assert _refusals.request_id(["trace:7"]) == "trace:7"


@pytest.mark.parametrize(
    "headers",
    [[f"Bearer {JWT}"], [f"bearer {JWT}"], [f"BEARER   {JWT} "]],
    ids=["as it is written", "small letters", "more spaces"],
)
def test_the_token_of_one_header_is_found(headers: list[str]) -> None:
    assert bearer(headers, b"state=open&page=2&q=access%20to%20tokens") == JWT


HEADERS: Final[dict[str, tuple[list[str], bytes, int, str]]] = {
    "none": ([], b"", 401, "malformed_ucan"),
    "empty": ([""], b"", 401, "malformed_ucan"),
    "two": ([f"Bearer {JWT}", f"Bearer {JWT}"], b"", 401, "malformed_ucan"),
    "two, one of them empty": (["", f"Bearer {JWT}"], b"", 401, "malformed_ucan"),
    "two in one": ([f"Bearer {JWT}, Bearer {JWT}"], b"", 401, "malformed_ucan"),
    "basic": (["Basic dXNlcjpwYXNz"], b"", 401, "malformed_ucan"),
    "no scheme": ([JWT], b"", 401, "malformed_ucan"),
    "no token": (["Bearer"], b"", 401, "malformed_ucan"),
    "scheme and more": ([f"Bearers {JWT}"], b"", 401, "malformed_ucan"),
    "tab": ([f"Bearer\t{JWT}"], b"", 401, "malformed_ucan"),
    "two words": ([f"Bearer {JWT} {JWT}"], b"", 401, "malformed_ucan"),
    "padding": ([f"Bearer {JWT}="], b"", 401, "malformed_ucan"),
    "two parts": (["Bearer eyJ.eyJ"], b"", 401, "malformed_ucan"),
    "five parts": (["Bearer a.b.c.d.e"], b"", 401, "malformed_ucan"),
    "empty parts": (["Bearer .."], b"", 401, "malformed_ucan"),
    "not ascii": (["Bearer é.é.é"], b"", 401, "malformed_ucan"),
    "newline": ([f"Bearer {JWT}\n"], b"", 401, "malformed_ucan"),
    "api key": (["Bearer nomos_app_secret"], b"", 401, "malformed_ucan"),
    "too long": ([f"Bearer {'a' * 65536}.b.c"], b"", 401, "malformed_ucan"),
    "in the query": ([], f"access_token={JWT}".encode(), 400, "invalid_request"),
    "in both": ([f"Bearer {JWT}"], f"access_token={JWT}".encode(), 400, "invalid_request"),
    "escaped name": ([], f"access%5Ftoken={JWT}".encode(), 400, "invalid_request"),
    "capitals": ([], f"Access_Token={JWT}".encode(), 400, "invalid_request"),
    "among others": ([], f"a=b&%61ccess_token={JWT}&c=d".encode(), 400, "invalid_request"),
    "without a value": ([f"Bearer {JWT}"], b"access_token", 400, "invalid_request"),
}


@pytest.mark.parametrize(("headers", "query", "status", "code"), HEADERS.values(), ids=HEADERS)
def test_a_token_sent_another_way_is_refused(
    headers: list[str], query: bytes, status: int, code: str
) -> None:
    with pytest.raises(CallRefused) as raised:
        bearer(headers, query)
    assert (raised.value.status, raised.value.code) == (status, code)
    assert CHALLENGE.fullmatch(raised.value.headers["www-authenticate"])
    assert "eyJ" not in f"{raised.value} {raised.value.headers}"


def test_a_request_without_a_token_gets_a_challenge_without_an_error() -> None:
    with pytest.raises(CallRefused) as raised:
        bearer([], b"")
    assert raised.value.headers == {"www-authenticate": "Bearer"}
