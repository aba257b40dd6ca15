"""Requests to the control plane: validation of arguments, bodies and headers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from nomos._core.effects import ChildCredential, Send
from nomos._json import same
from nomos.constraints import listed
from nomos.errors import ConfigurationError, InvalidRequest
from nomos.models import MAX_ARGS_BYTES, MAX_PURPOSE, MAX_TTL_SECONDS, Chain, Question

EXPECTED = {
    "command": "must be a path of lower-case words, such as /github/issue/list",
    "resource": 'must be a mapping such as {"provider": "github", "owner": "acme", "repo": "app"}',
    "args": "must be a mapping of the call's other parameters, or left out",
    "ttl_seconds": f"must be a whole number of seconds from 1 to {MAX_TTL_SECONDS}",
    "purpose": f"must be text of at most {MAX_PURPOSE} characters",
    "context": "must be a mapping of facts, or left out",
}

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,128}")

MIN_DIGESTED = 128
"""Texts of at most this many characters are not replaced by their digest."""

JSON_HEADERS = {"content-type": "application/json", "accept": "application/json"}


def question(*, constraints: object = None, **fields: Any) -> Question:
    """Validate a question before it is sent; raise `InvalidRequest` naming the fields.

    Long texts in the arguments are replaced by their digest, see `digested`.
    """
    if "args" in fields:
        fields["args"] = digested(fields["args"])
    try:
        fields["pol"] = () if constraints is None else tuple(listed(constraints))
    except ConfigurationError as wrong:
        raise InvalidRequest(f"invalid question: {wrong}", fields=("constraints",)) from None
    try:
        asked = Question.model_validate(fields)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        paths = tuple(".".join(str(part) for part in problem["loc"]) for problem in problems)
        sentence = "; ".join(
            f"{path} {EXPECTED.get(path.split('.')[0], problem['msg'])}"
            for path, problem in zip(paths, problems, strict=True)
        )
        raise InvalidRequest(f"invalid question: {sentence}", fields=paths) from None
    encode({name: getattr(asked, name) for name in ("resource", "args", "context")})
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
            if len(encode(found)) <= MAX_ARGS_BYTES or len(found[name]) <= MIN_DIGESTED:
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


def authorize(
    question: Question, *, agent_did: str, idempotency_key: str, parent: Chain | None = None
) -> Send:
    """Build `POST /v1/authorize`; raise `InvalidRequest` for values that JSON cannot hold.

    `parent` is the chain that a child sends: its grant never exceeds that chain.
    """
    body: dict[str, Any] = {
        "command": question.command,
        "resource": dict(question.resource),
        "ttlSeconds": question.ttl_seconds,
        "agentDid": agent_did,
    }
    optional = {
        "delegatedChain": None if parent is None else list(parent),
        "args": question.args,
        "audience": question.audience,
        "purpose": question.purpose,
        "context": question.context,
        "cosignerEnvelopeId": question.cosigner_envelope_id,
        "pol": list(question.pol) or None,
    }
    body |= {name: value for name, value in optional.items() if value is not None}
    headers = JSON_HEADERS | {"idempotency-key": idempotency_key}
    claim = None if parent is None else ChildCredential(parent, question.command, _called(question))
    return Send("POST", "/v1/authorize", headers, encode(body), claim=claim)


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


def _called(question: Question) -> dict[str, Any]:
    return {**(question.args or {}), "resource": dict(question.resource)}


def encode(body: Mapping[str, Any], *, sort: bool = False) -> bytes:
    """Return JSON as bytes; raise `InvalidRequest` for values that JSON cannot hold exactly."""
    try:
        text = json.dumps(
            body, allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=sort
        )
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"resource, args and context must be plain JSON values: {error}",
            fields=("resource", "args", "context"),
        ) from error


def idempotency_key(call_id: str, agent_did: str, envelope_id: str | None) -> str:
    """Return the key under which all attempts of one call count as one.

    Raises `InvalidRequest` for an id that is not text, or that no header can hold.
    """
    for name, value in (("idempotency_key", call_id), ("cosigner_envelope_id", envelope_id)):
        usable = isinstance(value, str) and IDEMPOTENCY_KEY.fullmatch(value)
        if value is not None and not usable:
            raise InvalidRequest(
                f"{name} must be 1 to 128 printable ASCII characters without spaces",
                fields=(name,),
            )
    return f"{call_id}:{agent_did}:{envelope_id or '-'}"
