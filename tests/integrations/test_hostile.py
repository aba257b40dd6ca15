"""Requests that must be refused, sent over a socket to a real service.

Every row is one request, byte by byte, and says how it is refused. The service is the example's,
served by uvicorn; what its own server refuses before the application sees it counts as refused.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from ticketing import CLOSE, LIST, OPS, SEVEN, Served, System

from nomos import AuthGuard, Capability, Grant

PATH: Final = "/queues/ops/tickets"
SHUT: Final = "/queues/ops/tickets/7/close"
JSON: Final = {"content-type": "application/json"}


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Real tokens, out of which the rows make what they send."""

    read: str
    write: str
    bound: str
    delegation: str
    other: str
    pdp: str
    child: str
    board: str
    api_key: str
    operator: str
    resigned: str


@dataclasses.dataclass(frozen=True)
class Raw:
    """One request, the statuses that will do for it, and the code if the answer is ours."""

    send: Callable[[Tokens], bytes]
    status: tuple[int, ...]
    code: str | None


def request(
    *headers: str, method: str = "GET", path: str = PATH, body: bytes = b"", version: str = "1.1"
) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "host: service", "connection: close", *headers]
    if body:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def canon(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def changed(token: str, **claims: Any) -> str:
    """The token with other claims and the old signature."""
    header, payload, signature = token.split(".")
    return f"{header}.{b64(canon({**json.loads(unb64(payload)), **claims}))}.{signature}"


def headed(token: str, **members: Any) -> str:
    """The token with another header and the old signature."""
    header, payload, signature = token.split(".")
    return f"{b64(canon({**json.loads(unb64(header)), **members}))}.{payload}.{signature}"


def reordered(token: str) -> str:
    header, payload, signature = token.split(".")
    members = dict(reversed(json.loads(unb64(payload)).items()))
    return f"{header}.{b64(json.dumps(members).encode())}.{signature}"


def chained(token: str, change: Callable[[list[str]], list[str]]) -> str:
    return changed(token, prf=change(json.loads(unb64(token.split(".")[1]))["prf"]))


def flipped(token: str, at: int) -> str:
    other = "A" if token[at] != "A" else "B"
    return token[:at] + other + token[at:][1:]


def get(value: Callable[[Tokens], str], *more: str, **how: Any) -> Callable[[Tokens], bytes]:
    return lambda t: request(f"authorization: {value(t)}", *more, **how)


def token(value: Callable[[Tokens], str], **how: Any) -> Callable[[Tokens], bytes]:
    return get(lambda t: f"Bearer {value(t)}", **how)


def post(
    value: Callable[[Tokens], str],
    body: bytes = b'{"comment":"done"}',
    kind: str = "application/json",
    **how: Any,
) -> Callable[[Tokens], bytes]:
    return get(
        lambda t: f"Bearer {value(t)}",
        f"content-type: {kind}",
        **{"method": "POST", "path": SHUT, "body": body, **how},
    )


BAD: Final = (401,)
MAY_NOT: Final = (403,)
MALFORMED: Final = "malformed_ucan"

REQUESTS: Final[dict[str, Raw]] = {
    # Headers
    "no token": Raw(lambda _: request(), BAD, MALFORMED),
    "empty header": Raw(get(lambda _: ""), BAD, MALFORMED),
    "bearer alone": Raw(get(lambda _: "Bearer"), BAD, MALFORMED),
    "basic": Raw(get(lambda t: f"Basic {b64(t.read.encode())}"), BAD, MALFORMED),
    "digest": Raw(get(lambda _: 'Digest username="a"'), BAD, MALFORMED),
    "dpop": Raw(get(lambda t: f"DPoP {t.read}"), BAD, MALFORMED),
    "no scheme": Raw(get(lambda t: t.read), BAD, MALFORMED),
    "scheme twice": Raw(get(lambda t: f"Bearer Bearer {t.read}"), BAD, MALFORMED),
    "two headers": Raw(
        get(lambda t: f"Bearer {t.read}", "authorization: Bearer a.b.c"), BAD, MALFORMED
    ),
    "two headers, the good one last": Raw(
        lambda t: request("authorization: Bearer a.b.c", f"Authorization: Bearer {t.read}"),
        BAD,
        MALFORMED,
    ),
    "the same header twice": Raw(
        lambda t: request(*[f"authorization: Bearer {t.read}"] * 2), BAD, MALFORMED
    ),
    "two tokens in one header": Raw(get(lambda t: f"Bearer {t.read},{t.read}"), BAD, MALFORMED),
    "quoted": Raw(get(lambda t: f'Bearer "{t.read}"'), BAD, MALFORMED),
    "folded": Raw(get(lambda t: f"Bearer {t.read}\r\n {t.read}"), (400, 401), None),
    "in another header": Raw(
        lambda t: request(f"x-authorization: Bearer {t.read}"), BAD, MALFORMED
    ),
    "forwarded": Raw(lambda t: request(f"proxy-authorization: Bearer {t.read}"), BAD, MALFORMED),
    "in a cookie": Raw(lambda t: request(f"cookie: authorization={t.read}"), BAD, MALFORMED),
    "in the query": Raw(
        lambda t: request(path=f"{PATH}?access_token={t.read}"), (400,), "invalid_request"
    ),
    "in both": Raw(
        token(lambda t: t.read, path=f"{PATH}?access_token=x"), (400,), "invalid_request"
    ),
    "in a form": Raw(
        lambda t: request(
            "content-type: application/x-www-form-urlencoded",
            method="POST",
            path=SHUT,
            body=f"access_token={t.write}".encode(),
        ),
        (401, 422),
        None,
    ),
    "underscore": Raw(lambda t: request(f"authorization_: Bearer {t.read}"), BAD, MALFORMED),
    "space before the colon": Raw(
        lambda t: request(f"authorization : Bearer {t.read}"), (400, 401), None
    ),
    "line feed alone": Raw(
        lambda t: request(f"x: y\nauthorization: Bearer {flipped(t.read, -1)}"), (400, 401), None
    ),
    "latin-1": Raw(get(lambda t: f"Bearer {t.read}\xe9"), BAD, MALFORMED),
    "a tab": Raw(get(lambda t: f"Bearer\t{t.read}"), BAD, MALFORMED),
    # What is no token of this kind
    "api key": Raw(token(lambda t: t.api_key), BAD, MALFORMED),
    "operator's api key": Raw(token(lambda t: t.operator), BAD, MALFORMED),
    "delegation": Raw(token(lambda t: t.delegation), BAD, MALFORMED),
    "delegation as invocation": Raw(
        token(lambda t: headed(t.delegation, typ="ucan-inv+jwt")), BAD, MALFORMED
    ),
    "invocation as delegation": Raw(token(lambda t: headed(t.read, typ="JWT")), BAD, MALFORMED),
    "three letters": Raw(token(lambda _: "a.b.c"), BAD, MALFORMED),
    "empty segments": Raw(token(lambda _: ".."), BAD, MALFORMED),
    "two segments": Raw(token(lambda t: t.read.rpartition(".")[0]), BAD, MALFORMED),
    "four segments": Raw(token(lambda t: f"{t.read}.AA"), BAD, MALFORMED),
    "no signature": Raw(token(lambda t: t.read.rpartition(".")[0] + "."), BAD, MALFORMED),
    "zero signature": Raw(
        token(lambda t: f"{t.read.rpartition('.')[0]}.{b64(bytes(64))}"), BAD, "bad_signature"
    ),
    "short signature": Raw(
        token(lambda t: f"{t.read.rpartition('.')[0]}.{b64(bytes(63))}"), BAD, MALFORMED
    ),
    "padding": Raw(token(lambda t: f"{t.read}="), BAD, MALFORMED),
    "standard base64": Raw(token(lambda t: t.read.replace("-", "+") + "+"), BAD, MALFORMED),
    "percent-encoded": Raw(token(lambda t: t.read.replace(".", "%2e")), BAD, MALFORMED),
    "alg none": Raw(token(lambda t: headed(t.read, alg="none")), BAD, MALFORMED),
    "alg none, unsigned": Raw(
        token(lambda t: headed(t.read, alg="none").rpartition(".")[0] + "."), BAD, MALFORMED
    ),
    "alg HS256": Raw(token(lambda t: headed(t.read, alg="HS256")), BAD, MALFORMED),
    "a key of its own": Raw(
        token(lambda t: headed(t.read, jwk={"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(32))})),
        BAD,
        MALFORMED,
    ),
    "a key elsewhere": Raw(
        token(lambda t: headed(t.read, jku="http://127.0.0.1:1/keys")), BAD, MALFORMED
    ),
    "kid": Raw(token(lambda t: headed(t.read, kid="../../dev/null")), BAD, MALFORMED),
    "crit": Raw(token(lambda t: headed(t.read, crit=["exp"])), BAD, MALFORMED),
    "b64": Raw(token(lambda t: headed(t.read, b64=False)), BAD, MALFORMED),
    "members in another order": Raw(token(lambda t: reordered(t.read)), BAD, MALFORMED),
    "longer than is read": Raw(token(lambda t: t.read + "A" * 60_000), (400, 401, 431), None),
    # A token that was changed
    "last letter": Raw(token(lambda t: flipped(t.read, -1)), BAD, None),
    "signature": Raw(token(lambda t: flipped(t.read, -40)), BAD, None),
    "payload": Raw(token(lambda t: flipped(t.read, len(t.read) // 2)), BAD, None),
    "another command": Raw(token(lambda t: changed(t.read, cmd=CLOSE)), BAD, "bad_signature"),
    "a shorter command": Raw(token(lambda t: changed(t.read, cmd="/")), BAD, MALFORMED),
    "a later end": Raw(token(lambda t: changed(t.read, exp=4_000_000_000)), BAD, None),
    "another audience": Raw(
        token(lambda t: changed(t.pdp, aud=_audience(t.read))), BAD, "bad_signature"
    ),
    "another resource": Raw(
        token(lambda t: changed(t.board, args={"resource": OPS})), BAD, "bad_signature"
    ),
    "another nonce": Raw(
        post(lambda t: changed(t.write, nonce="another nonce")), BAD, "bad_signature"
    ),
    "a short nonce": Raw(post(lambda t: changed(t.write, nonce="another")), BAD, MALFORMED),
    "no nonce": Raw(token(lambda t: changed(t.read, nonce="")), BAD, MALFORMED),
    "a null": Raw(token(lambda t: changed(t.read, meta=None)), BAD, MALFORMED),
    "one more claim": Raw(token(lambda t: changed(t.read, admin=True)), BAD, MALFORMED),
    "no chain": Raw(token(lambda t: chained(t.read, lambda _: [])), BAD, None),
    "a chain twice": Raw(token(lambda t: chained(t.read, lambda c: c * 2)), BAD, None),
    "nine links": Raw(token(lambda t: chained(t.read, lambda c: c * 9)), BAD, "chain_too_deep"),
    "itself as its chain": Raw(token(lambda t: chained(t.read, lambda _: [t.read])), BAD, None),
    "a chain of something else": Raw(
        token(lambda t: chained(t.read, lambda _: ["a.b.c"])), BAD, MALFORMED
    ),
    "a chain by cid": Raw(
        token(lambda t: chained(t.read, lambda c: [hashlib.sha256(c[0].encode()).hexdigest()])),
        BAD,
        MALFORMED,
    ),
    "somebody else's chain": Raw(
        token(lambda t: chained(t.read, lambda _: [t.resigned])), BAD, None
    ),
    "the child's chain, shortened": Raw(
        token(lambda t: chained(t.child, lambda c: c[:1])), BAD, "bad_signature"
    ),
    # Good tokens for something else
    "for another service": Raw(token(lambda t: t.other), BAD, "audience_mismatch"),
    "for the PDP": Raw(token(lambda t: t.pdp), BAD, "audience_mismatch"),
    "for another queue": Raw(token(lambda t: t.board), MAY_NOT, "resource_mismatch"),
    "for reading": Raw(post(lambda t: t.read), MAY_NOT, "resource_mismatch"),
    "for writing": Raw(token(lambda t: t.write), MAY_NOT, "resource_mismatch"),
    "bound to other args": Raw(
        token(lambda t: t.bound, path=f"{PATH}?state=closed"), MAY_NOT, "resource_mismatch"
    ),
    "bound to args that are missing": Raw(token(lambda t: t.bound), MAY_NOT, "resource_mismatch"),
    "the child's, for what its parent may": Raw(
        post(lambda t: t.child), MAY_NOT, "resource_mismatch"
    ),
    # Paths and methods
    "another case": Raw(
        token(lambda t: t.read, path="/queues/OPS/tickets"), MAY_NOT, "resource_mismatch"
    ),
    "an escaped letter more": Raw(
        token(lambda t: t.read, path="/queues/ops%20/tickets"), MAY_NOT, "resource_mismatch"
    ),
    "a zero": Raw(
        token(lambda t: t.read, path="/queues/ops%00/tickets"), MAY_NOT, "resource_mismatch"
    ),
    "a line feed": Raw(
        token(lambda t: t.read, path="/queues/ops%0a/tickets"), MAY_NOT, "resource_mismatch"
    ),
    "twice decoded": Raw(
        token(lambda t: t.read, path="/queues/%256fps/tickets"), MAY_NOT, "resource_mismatch"
    ),
    "unlike letters": Raw(
        token(lambda t: t.read, path="/queues/%D0%BEps/tickets"), MAY_NOT, "resource_mismatch"
    ),
    "out of the queue": Raw(
        token(lambda t: t.read, path="/queues/ops/../board/tickets"), (404,), None
    ),
    "two slashes": Raw(token(lambda t: t.read, path="//queues/ops/tickets"), (404,), None),
    "an escaped slash": Raw(
        token(lambda t: t.read, path="/queues/board%2Ftickets"), MAY_NOT, "resource_mismatch"
    ),
    "another number": Raw(
        post(lambda t: t.write, path=SHUT.replace("7", "8")), MAY_NOT, "resource_mismatch"
    ),
    "a long number": Raw(
        post(lambda t: t.write, path=SHUT.replace("7", "9" * 400)), (400, 403), None
    ),
    "another method": Raw(token(lambda t: t.read, method="DELETE"), (405,), None),
    "options": Raw(token(lambda t: t.read, method="OPTIONS"), (405,), None),
    "a method that overrides": Raw(
        get(lambda t: f"Bearer {t.read}", "x-http-method-override: POST", path=SHUT), (405,), None
    ),
    "connect": Raw(token(lambda t: t.read, method="CONNECT"), (400, 404, 405), None),
    "an absolute target": Raw(
        token(lambda t: t.read, path="http://evil.example/queues/board/tickets"),
        (400, 403, 404),
        None,
    ),
    # Arguments
    "a parameter twice": Raw(
        token(lambda t: t.bound, path=f"{PATH}?state=open&state=closed"), (400,), "invalid_request"
    ),
    "a parameter more": Raw(
        token(lambda t: t.read, path=f"{PATH}?admin=true"), (400,), "invalid_request"
    ),
    "a body that says two things": Raw(
        post(lambda t: t.write, b'{"comment":"done","comment":"x"}'), (400,), "invalid_request"
    ),
    "a body that says more": Raw(
        post(lambda t: t.write, b'{"comment":"done","number":8}'), MAY_NOT, "resource_mismatch"
    ),
    "another comment": Raw(post(lambda t: t.write, b'{"comment":"x"}'), MAY_NOT, None),
    "almost the comment": Raw(post(lambda t: t.write, b'{"comment":"done "}'), MAY_NOT, None),
    "a list": Raw(post(lambda t: t.write, b"[]"), (400, 422), None),
    "no JSON": Raw(post(lambda t: t.write, b'{"comment":'), (400, 422), None),
    "not unicode": Raw(post(lambda t: t.write, b'{"comment":"\xff"}'), (400, 422), None),
    "utf-16": Raw(post(lambda t: t.write, '{"comment":"done"}'.encode("utf-16")), (400, 422), None),
    "as text": Raw(post(lambda t: t.write, kind="text/plain"), (400, 422), None),
    "two lengths": Raw(
        post(lambda t: t.write, b'{"comment":"done"}POST / HTTP/1.1'), (400, 422), None
    ),
}


def _audience(text: str) -> str:
    return str(json.loads(unb64(text.split(".")[1]))["aud"])


@pytest.fixture(scope="module")
def tokens(system: System) -> Tokens:
    def token_of(grant: Grant) -> str:
        assert grant.ucan is not None
        return grant.ucan

    read = system.grant(LIST, OPS).require()
    whole = system.grant("/tickets", OPS).require()
    wanted = Capability(LIST, OPS)
    with (
        system.guard.fork_child(parent_chain=whole.chain, capabilities=[wanted]) as child,
        AuthGuard.from_env(child.env()) as guard,
    ):
        signed = guard.headers(command=LIST, resource=OPS)["authorization"]
    return Tokens(
        read=token_of(read),
        write=token_of(system.grant(CLOSE, SEVEN, args={"comment": "done"})),
        bound=token_of(system.grant(LIST, OPS, args={"state": "open"})),
        delegation=read.chain[0],
        other=token_of(system.grant(LIST, OPS, audience=system.other)),
        pdp=token_of(system.guard.authorize(command=LIST, resource=OPS)),
        child=signed.partition(" ")[2],
        board=token_of(system.grant(LIST, {"provider": "tickets", "queue": "board"})),
        api_key=str(system.guard.api_key),
        operator=system.guard.approvals.operator_key.reveal(),
        resigned=whole.chain[0],
    )


def sent(port: int, data: bytes) -> tuple[int, Mapping[str, str], bytes]:
    """Send bytes, and read the answer until the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(data)
        found = b""
        while chunk := line.recv(65536):
            found += chunk
    head, _, body = found.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (text.partition(": ") for text in lines)
    return int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, body


@pytest.mark.parametrize("row", REQUESTS.values(), ids=REQUESTS)
def test_a_hostile_request_is_refused_without_a_secret_in_the_reply(
    row: Raw, tokens: Tokens, tickets: Served, system: System
) -> None:
    status, headers, body = sent(tickets.port, row.send(tokens))
    assert status in row.status, body
    if row.code is not None:
        assert json.loads(body)["error_code"] == row.code
    if status == 401:
        assert headers["www-authenticate"].startswith("Bearer")
    answer = f"{headers} {body.decode('latin-1')}"
    for secret in (tokens.read[:40], tokens.api_key, tokens.operator, "eyJ", system.other):
        assert secret not in answer
    assert "Traceback" not in answer


def test_the_same_requests_with_a_valid_token_are_accepted(
    tokens: Tokens, tickets: Served, system: System
) -> None:
    """What is refused above is refused for what is wrong with it, and for nothing else."""
    assert len(REQUESTS) >= 60
    assert sent(tickets.port, token(lambda t: t.read)(tokens))[0] == 200
    assert sent(tickets.port, token(lambda t: t.child)(tokens))[0] == 200
    assert (
        sent(tickets.port, token(lambda t: t.board, path="/queues/board/tickets")(tokens))[0] == 200
    )
    assert sent(tickets.port, token(lambda t: t.bound, path=f"{PATH}?state=open")(tokens))[0] == 200
    # No hostile row has used it up.
    assert sent(tickets.port, post(lambda t: t.write)(tokens))[0] == 200
    assert sent(tickets.port, post(lambda t: t.write)(tokens))[0] == 401
