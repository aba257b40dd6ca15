"""Requests to the control plane: validation of arguments, bodies and headers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from nomos._core.effects import ChildCredential, Send
from nomos._core.recent_denials import RecentDenials
from nomos._json import encode, same
from nomos.constraints import listed
from nomos.errors import ConfigurationError, InvalidRequest
from nomos.models import MAX_ARGS_BYTES, MAX_PURPOSE, MAX_TTL_SECONDS, Chain, GrantBase, Question

EXPECTED = {
    "command": "must be a path of lower-case words, such as /github/issue/list",
    "resource": 'must be a mapping such as {"provider": "github", "owner": "acme", "repo": "app"}',
    "args": "must be a mapping of the call's other parameters, or left out",
    "ttl_seconds": f"must be a whole number of seconds from 1 to {MAX_TTL_SECONDS}",
    "purpose": f"must be text of at most {MAX_PURPOSE} characters, without control characters",
    "context": "must be a mapping of facts, or left out",
}

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,128}")

MIN_DIGESTED = 128
"""Texts of at most this many characters are not replaced by their digest."""

JSON_HEADERS = {"content-type": "application/json", "accept": "application/json"}


@dataclass(frozen=True)
class AuthorizeCall:
    """One call of `authorize`: the question, and what distinguishes this call from others.

    `now` is when it was made (Unix seconds). `parent` is the chain that a child sends; `covered`
    says whether that chain covers the question, only then may an outage be passed over. `held`
    are earlier allows of the same question, best first, for use during an outage; `refusals` are
    earlier refusals, which an outage does not undo.
    """

    question: Question
    agent: str
    idempotency_key: str
    nonce: str
    jitter: Sequence[float]
    now: float
    parent: Chain | None = None
    covered: bool = True
    held: Sequence[GrantBase] = ()
    refusals: RecentDenials | None = None


def question(*, constraints: object = None, **fields: Any) -> Question:
    """Validate a question and digest long texts (`digested`); `InvalidRequest` names the fields."""
    if "args" in fields:
        fields["args"] = digested(fields["args"])
    try:
        fields["pol"] = None if constraints is None else listed(constraints) or None
    except ConfigurationError as wrong:
        raise InvalidRequest(f"invalid question: {wrong}", fields=("constraints",)) from None
    try:
        asked = Question.model_validate(fields)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        found: dict[str, str] = {}
        for problem in problems:
            found.setdefault(str(problem["loc"][0]), problem["msg"])
        sentence = "; ".join(f"{name} {EXPECTED.get(name, found[name])}" for name in found)
        raise InvalidRequest(f"invalid question: {sentence}", fields=tuple(found)) from None
    _ = asked.encoded  # a question that JSON cannot hold is refused before anything is sent
    return asked


def digested(args: object) -> object:
    """Return arguments that fit into a request: the longest texts as `{"sha256": "<hex>"}`.

    A command can declare an argument with `digest: sha256`, such as the content of a file; the
    grant is then bound to the digest, and the call sends the text. Arguments that fit, or are not a
    mapping of JSON values, are returned unchanged.
    """
    if not isinstance(args, Mapping):
        return args
    found = dict(args)
    try:
        texts = sorted(
            (name for name, value in found.items() if isinstance(value, str)),
            key=lambda name: (-len(found[name]), name),
        )
        for name in texts:
            if len(found[name]) <= MIN_DIGESTED or len(encode(found)) <= MAX_ARGS_BYTES:
                break
            found[name] = _digest(found[name])
    except (InvalidRequest, TypeError):
        return args
    return found


def same_args(args: Mapping[str, Any], bound: Mapping[str, Any]) -> bool:
    """Return whether these are the arguments that a grant is bound to, a text by its digest."""
    return args.keys() == bound.keys() and all(
        same(value, bound[name]) or (isinstance(value, str) and bound[name] == _digest(value))
        for name, value in args.items()
    )


def _digest(text: str) -> dict[str, str]:
    return {"sha256": hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()}


def authorize(call: AuthorizeCall) -> Send:
    """Build `POST /v1/authorize` from the question's bytes and the members about its sender."""
    question, parent = call.question, call.parent
    sender: dict[str, Any] = {"agentDid": call.agent}
    claim = None
    if parent is not None:
        sender["delegatedChain"] = list(parent)
        args = {**question.sent.get("args", {}), "resource": question.sent["resource"]}
        claim = ChildCredential(parent, question.command, args)
    body = b"%b,%b" % (question.encoded[:-1], encode(sender)[1:])
    headers = JSON_HEADERS | {"idempotency-key": call.idempotency_key}
    return Send("POST", "/v1/authorize", headers, body, claim=claim)


def get(path: str, *, patience: float = 0.0) -> Send:
    """Build a request without a body; `patience` is the `extra_timeout` of `Send`."""
    return Send("GET", path, {"accept": "application/json"}, extra_timeout=patience)


def post(path: str, body: Mapping[str, Any]) -> Send:
    """Build a request with a JSON body."""
    return Send("POST", path, JSON_HEADERS, encode(body))


def reason(text: str | None) -> dict[str, str]:
    """Return the member with the reason for an act; none if no reason is given."""
    if text is None:
        return {}
    if not isinstance(text, str) or not 0 < len(text) <= MAX_PURPOSE:
        raise InvalidRequest(
            f"reason must be text of 1 to {MAX_PURPOSE} characters, or left out",
            fields=("reason",),
        )
    return {"reason": text}


def idempotency_key(call_id: str, agent_did: str, envelope_id: str | None) -> str:
    """Return the key of all attempts of a call; `InvalidRequest` for an id that no header holds."""
    for name, value in (("idempotency_key", call_id), ("cosigner_envelope_id", envelope_id)):
        usable = isinstance(value, str) and IDEMPOTENCY_KEY.fullmatch(value)
        if value is not None and not usable:
            raise InvalidRequest(
                f"{name} must be 1 to 128 printable ASCII characters without spaces",
                fields=(name,),
            )
    return f"{call_id}:{agent_did}:{envelope_id or '-'}"
