"""Lines that are not valid requests."""

from __future__ import annotations

import json

from vectors.cases import Case, verify, verify_use


def protocol() -> list[Case]:
    """Lines as text or as bytes in hex; the id that comes back is part of what is expected."""

    def line(name: str, text: str | bytes, code: str, answered: int | None = 7) -> Case:
        raw = {"line": text} if isinstance(text, str) else {"hex": text.hex()}
        return {"name": name, **raw, "id": answered, "refused": {"code": code}}

    head = '{"id":7,"protocol":1,"op":'
    seed = '"seed":"' + "0" * 64 + '"'
    return [
        line("not JSON", "hello", "invalid_request", None),
        line("nothing", "", "invalid_request", None),
        line("a list", "[]", "invalid_request", None),
        line("a number", "7", "invalid_request", None),
        line("no id", '{"protocol":1,"op":"hello"}', "invalid_request", None),
        line("an id that is text", '{"id":"7","protocol":1,"op":"hello"}', "invalid_request", None),
        line("a negative id", '{"id":-1,"protocol":1,"op":"hello"}', "invalid_request", None),
        line("a fraction as id", '{"id":1.5,"protocol":1,"op":"hello"}', "invalid_request", None),
        line("half a request", head + '"hel', "invalid_request"),
        line("two requests on one line", head + '"hello"}{}', "invalid_request"),
        line("no protocol", '{"id":7,"op":"hello"}', "protocol"),
        line("protocol 2", '{"id":7,"protocol":2,"op":"hello"}', "protocol"),
        line("protocol as text", '{"id":7,"protocol":"1","op":"hello"}', "protocol"),
        line("protocol 2 and an unknown op", '{"id":7,"protocol":2,"op":"fly"}', "protocol"),
        line("an unknown op", head + '"fly"}', "unknown_op"),
        line("an op that every object has", head + '"constructor"}', "unknown_op"),
        line("an op that is a list", head + '["hello"]}', "unknown_op"),
        line("no op", '{"id":7,"protocol":1}', "unknown_op"),
        line("an unknown member", head + '"hello","x":1}', "invalid_request"),
        line("a member that every object has", head + '"hello","__proto__":{}}', "invalid_request"),
        line("a missing member", head + '"load_key"}', "invalid_request"),
        line("a short seed", head + '"load_key","seed":"00"}', "invalid_request"),
        line("an upper-case seed", head + f'"load_key","seed":"{"A" * 64}"}}', "invalid_request"),
        line(
            "a DID that is no did:key", head + '"forget_key","key":"did:web:a"}', "invalid_request"
        ),
        line("a name given twice", head + f'"load_key",{seed},{seed}}}', "invalid_request"),
        line("one name spelled twice", head + '"hello","\\u006fp":"hello"}', "invalid_request"),
        line("a name twice further in", head + '"hello","x":[{"a":1,"a":1}]}', "invalid_request"),
        line("NaN", head + '"hello","x":NaN}', "invalid_request"),
        line("Infinity", head + '"hello","x":-Infinity}', "invalid_request"),
        line("a number beyond doubles", head + '"hello","x":1e400}', "invalid_request"),
        line("an integer beyond 2^53-1", head + '"hello","x":9007199254740992}', "invalid_request"),
        line(
            "an integer below -2^53+1", head + '"hello","x":-9007199254740993}', "invalid_request"
        ),
        line(
            "an id beyond 2^53-1", '{"id":9007199254740993,"protocol":1}', "invalid_request", None
        ),
        line("a lone surrogate", head + '"hello","x":"\\ud800"}', "invalid_request"),
        line("a lone surrogate in a name", head + '"hello","\\udc00":1}', "invalid_request"),
        line("a control character", head + '"hello","x":"\t"}', "invalid_request"),
        line("nested without end", head + '"hello","x":' + "[" * 5000, "invalid_request"),
        line("invalid UTF-8", head.encode() + b'"hello","x":"\xff"}', "invalid_request"),
        line(
            "an overlong UTF-8 form", head.encode() + b'"hello","x":"\xc0\xaf"}', "invalid_request"
        ),
        line(
            "a surrogate in UTF-8",
            head.encode() + b'"hello","x":"\xed\xa0\x80"}',
            "invalid_request",
        ),
        line(
            "a byte order mark",
            b"\xef\xbb\xbf" + head.encode() + b'"hello"}',
            "invalid_request",
            None,
        ),
        line(
            "neither chain nor invocation",
            json.dumps({"id": 7, "protocol": 1, **verify()}),
            "invalid_request",
        ),
        line(
            "both chain and invocation",
            json.dumps({"id": 7, "protocol": 1, **verify_use("x", chain=[])}),
            "invalid_request",
        ),
        line(
            "an invocation for nobody",
            json.dumps({"id": 7, "protocol": 1, **verify(invocation="x")}),
            "invalid_request",
        ),
        line(
            "an invocation from anybody",
            json.dumps({"id": 7, "protocol": 1, **verify_use("x", trusted_issuers=...)}),
            "invalid_request",
        ),
        line(
            "a call for a bare chain",
            json.dumps(
                {
                    "id": 7,
                    "protocol": 1,
                    **verify(chain=[], call={"cmd": "/a", "resource": {}, "args": {}}),
                }
            ),
            "invalid_request",
        ),
        line(
            "more leeway than a minute",
            json.dumps({"id": 7, "protocol": 1, **verify(chain=[], leeway=61)}),
            "invalid_request",
        ),
        line(
            "a deeper chain than any",
            json.dumps({"id": 7, "protocol": 1, **verify(chain=[], max_depth=33)}),
            "invalid_request",
        ),
    ]
