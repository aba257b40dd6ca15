"""Rules of all HTTP edges: JSON, bearer tokens, request ids, queries, errors."""

from __future__ import annotations

import json
from typing import Final, get_args

import pytest

from nomos._core.http_rules import bearer, query, request_id, strict_json
from nomos._core.http_rules.bearer import BearerFault
from nomos._core.http_rules.errors import FAILURES, FailureCode, RequestError, error_body
from nomos._core.http_rules.query import QueryFault
from nomos._core.http_rules.shown import shown
from nomos._core.http_rules.strict_json import JsonFault
from nomos.http_status import STATUS_BY_REASON

BAD_JSON: Final[dict[str, tuple[bytes, str, tuple[str, ...]]]] = {
    "nothing": (b"", "the body is not JSON", ()),
    "a list": (b"[]", "the body must be a JSON object", ()),
    "another encoding": ('{"a": "é"}'.encode("latin-1"), "the body is not UTF-8", ()),
    "a byte order mark": (b"\xef\xbb\xbf{}", "the body is not JSON", ()),
    "NaN": (b'{"a": NaN}', "NaN is not JSON", ()),
    "an endless number": (b'{"a": 1e999}', "a is a number too large", ("a",)),
    "an integer beyond doubles": (b'{"a": {"b": 9007199254740992}}', "beyond 2^53-1", ("a.b",)),
    "a float that is one": (b'{"a": [9007199254740994.0]}', "beyond 2^53-1", ("a.0",)),
    "a name twice": (b'{"b": {"a": 1, "a": 1}}', "a is there more than once", ("a",)),
    "half a surrogate pair": (b'{"a": "\\ud800"}', "a holds half of a surrogate pair", ("a",)),
    "a name of half a pair": (b'{"a": {"\\ud800": 1}}', "not in NFC", ("a",)),
    "a name that is decomposed": ('{"e\u0301": 1}'.encode(), "not in NFC", ()),
    "deep": (b'{"a":' * 17 + b"1" + b"}" * 17, "deeper than 16", ("a.a",)),
    "bottomless": (b'{"a":' + b"[" * 30_000, "the body is not JSON", ()),
}


@pytest.mark.parametrize(("content", "says", "fields"), BAD_JSON.values(), ids=BAD_JSON)
def test_ambiguous_json_is_refused(content: bytes, says: str, fields: tuple[str, ...]) -> None:
    with pytest.raises(JsonFault) as raised:
        strict_json.parse(content)
    assert says in str(raised.value)
    assert raised.value.fields == fields
    assert len(str(raised.value)) < 300
    assert str(raised.value).isascii()


def test_error_messages_contain_no_text_of_the_sender() -> None:
    for content in (b'{"hunter2": "\\ud800"}', b'{"hunter2": 1, "hunter2": 1}'):
        with pytest.raises(JsonFault) as raised:
            strict_json.parse(content)
        assert "hunter2" not in raised.value.reason
        assert "hunter2" in str(raised.value)


def test_the_largest_numbers_and_the_deepest_object_are_read() -> None:
    for text in ('{"a": 9007199254740991}', '{"a": -9007199254740991}', '{"a": 1e300}'):
        assert strict_json.parse(text.encode()) == json.loads(text)
    deep = b'{"a":' * 16 + b"1" + b"}" * 16
    assert strict_json.parse(deep) == json.loads(deep)
    assert strict_json.parse(b'{"a":' * 20 + b"1" + b"}" * 20, nesting=20)


@pytest.mark.parametrize(
    "sent",
    [
        *("a", "A-z_0.9", "x" * 128, "trace:123", "8f14e45f-ceea-467f-a2b1-3f0f6f4d1d2c"),
        *("Root=1-67891233-abcdef;Sampled=1", "YWJj+/ZGVm==", "|7a3b.1.", "a@b~c,d"),
    ],
)
def test_an_id_in_use_is_repeated(sent: str) -> None:
    assert request_id.choose([sent], lambda _: "new") == sent


@pytest.mark.parametrize(
    "sent",
    [
        *([], [""], ["x" * 129], ["a b"], ["é"], ["a\r\nset-cookie: x"], ["a\n"], ["a\x00"]),
        *(["<script>"], ['"'], ["'"], ["${jndi:x}"], ["`id`"], ["a\\n"], ["a", "a"], ["a", "b"]),
    ],
)
def test_any_other_id_is_replaced(sent: list[str]) -> None:
    assert request_id.choose(sent, lambda size: "0" * 2 * size) == f"req_{'0' * 24}"


def test_the_token_of_one_header_is_read() -> None:
    assert bearer.read(["bearer  a.b.c "], b"state=open&q=access%20tokens") == "a.b.c"


@pytest.mark.parametrize(
    ("authorization", "query_string", "fault"),
    [
        ([], b"", "missing"),
        (["Bearer a", "Bearer a"], b"", "malformed"),
        (["", "Bearer a"], b"", "malformed"),
        (["Basic YTpi"], b"", "malformed"),
        (["Bearer\ta"], b"", "malformed"),
        ([""], b"", "malformed"),
        (["Bearer a.b.c"], b"access_token=x", "in_query"),
        ([], b"a=b&%41ccess%5Ftoken", "in_query"),
    ],
)
def test_a_credential_sent_another_way_is_refused(
    authorization: list[str], query_string: bytes, fault: str
) -> None:
    with pytest.raises(BearerFault) as raised:
        bearer.read(authorization, query_string)
    assert raised.value.fault == fault


@pytest.mark.parametrize(
    ("authorization", "query_string", "error"),
    [
        ([], b"", ("malformed_ucan", "send one", "Bearer")),
        ([], b"access_token=x", ("invalid_request", bearer.IN_QUERY, bearer.QUERY_CHALLENGE)),
        (["Bearer a.b"], b"", ("malformed_ucan", bearer.token_fault("a.b"), None)),
        (["Bearer a.b.c"], b"", ("malformed_ucan", bearer.token_fault("a.b.c", 4), None)),
    ],
)
def test_a_call_without_a_token_has_one_error_for_all_services(
    authorization: list[str], query_string: bytes, error: tuple[str, str, str | None]
) -> None:
    with pytest.raises(BearerFault) as raised:
        bearer.read_token(authorization, query_string, missing="send one", most=4)
    fault = raised.value
    assert (fault.code, fault.message, fault.headers.get("www-authenticate")) == error
    assert bearer.read_token(["Bearer a.b.c"], b"", missing="send one") == "a.b.c"


def test_text_that_cannot_be_a_token_is_reported() -> None:
    assert bearer.token_fault("a.b.c") is None
    for text in ("a.b", "a.b.c.d", "a..c", "é.b.c", "a.b.c=", "a.b.c\n"):
        assert bearer.token_fault(text) == "the token is not three base64url parts joined by dots"
    key = bearer.token_fault("nomos_app_0_secret")
    assert key is not None
    assert key.startswith(
        "this is an API key, not a token: send the headers that `grant.headers()`"
    )
    assert bearer.token_fault("a.b.c", 4) == "the token is longer than 4 characters"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"a=1&a=2", "a"),
        (b"a=1&%61=2", "a"),
        (b"b=1", "b"),
        (b"a", None),
        (b"a=%ff", None),
        (b"a=\xc3\xa9", None),
        (b"a=1&&b=2", None),
        (b"&".join(b"a%d=1" % n for n in range(65)), None),
    ],
)
def test_an_ambiguous_query_is_refused(text: bytes, name: str | None) -> None:
    with pytest.raises(QueryFault) as raised:
        query.parameters(text, takes=("a",) if name else None)
    assert raised.value.name == name


def test_a_query_is_read_as_it_was_written() -> None:
    assert query.parameters(b"") == {}
    assert query.parameters(b"a=%C3%A9+b&c=") == {"a": "é b", "c": ""}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("0", 0), ("-3", -3), ("9007199254740991", 2**53 - 1)),
        *((text, None) for text in ("", "-0", "+1", "007", "1.0", "1e3", "\u0667", " 1", "1\n")),
        *((text, None) for text in ("9007199254740992", "-9007199254740992", "9" * 17)),
    ],
)
def test_a_whole_number_has_one_spelling(text: str, number: int | None) -> None:
    assert query.whole_number(text) == number


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [("true", bool, True), ("false", bool, False), ("-3", int, -3), ("", str, ""), ("7", str, "7")],
)
def test_a_parameter_has_its_type(text: str, kind: type[str | int | bool], value: object) -> None:
    typed = query.typed("p", text, kind)
    assert (typed, type(typed)) == (value, kind)


@pytest.mark.parametrize(("text", "kind"), [("True", bool), ("1", bool), ("1.0", int), ("", int)])
def test_another_spelling_of_a_parameter_is_refused(text: str, kind: type[int | bool]) -> None:
    with pytest.raises(QueryFault) as refused:
        query.typed("p", text, kind)
    assert refused.value.name == "p"


def test_every_code_has_one_status_and_none_is_a_success() -> None:
    assert set(FAILURES) == set(get_args(FailureCode))
    assert not set(FAILURES) & set(STATUS_BY_REASON)
    assert min(FAILURES.values()) == 400


def test_an_error_has_one_shape() -> None:
    error = RequestError("invalid_request", "a sentence", fields=["x" * 200] * 200)
    body = error_body(error, "r-1", callId="c")
    assert (error.status, body.pop("fields")) == (400, ["x" * 128] * 8)
    assert body == {
        "error": "a sentence",
        "error_code": "invalid_request",
        "request_id": "r-1",
        "callId": "c",
    }
    assert "fields" not in error_body(RequestError("internal", "no"), "r")


@pytest.mark.parametrize("text", ["\ud800", "a\nb", "\x1b[31m", "x" * 5000, "\u202egnp.exe"])
def test_a_callers_text_is_repeated_short_printable_and_in_ascii(text: str) -> None:
    said = shown(text)
    assert said.isascii()
    assert said.isprintable()
    assert len(said) <= 12 * 80
