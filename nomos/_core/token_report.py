"""A report about a token as text for people: its links, the call, and why it is rejected.

Other parties chose the values in a token, so they are cut, and invisible characters are escaped.
Tokens themselves are never shown: links are named by cid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from nomos._core.unverified import UnverifiedToken
from nomos._json import mapping
from nomos._times import in_table
from nomos.constraints import from_pol
from nomos.errors import Denied, SignerError
from nomos.invisible_text import is_invisible
from nomos.models import describe_resource

SHOWN: Final = 240  # characters of one value that are shown
SHOWN_POL: Final = 20  # policy statements of one link that are shown

CHECKS: Final[Mapping[str, str]] = {
    "malformed_ucan": "its size, its text and its keys",
    "bad_signature": "signatures",
    "expired": "times",
    "not_yet_valid": "times",
    "chain_invalid": "chain linkage",
    "chain_too_deep": "the length of the chain",
    "chain_attenuation_violation": "that no link exceeds the one before it",
    "untrusted_issuer": "the root's issuer",
    "revoked": "revocations",
    "revocations_stale": "revocations",
    "audience_mismatch": "the audience",
    "resource_out_of_scope": "what the grant covers",
    "resource_mismatch": "the actual call",
    "approval_not_found": "the approval behind it",
    "approval_mismatch": "the approval behind it",
}
"""The check that fails with each code, in words."""

TIMES: Final = ("exp", "nbf", "iat")  # claims that are times, in Unix seconds
_SECONDS: Final = re.compile(r"\b\d{1,15}\b")

Called = tuple[str, Mapping[str, Any], Mapping[str, Any]]


def render_token(
    claims: UnverifiedToken | None,
    trouble: Denied | SignerError | None,
    *,
    audience: str,
    trusted: Sequence[str],
    call: Called | None,
    now: int,
) -> str:
    """Return the report; `trouble` is why the token is rejected, None if it is valid."""
    lines = [
        *_chain(claims, audience, trusted),
        *_requested_call(call, now),
        *_verdict(claims, trouble, call),
    ]
    return "\n".join(lines)


def _chain(claims: UnverifiedToken | None, audience: str, trusted: Sequence[str]) -> Iterator[str]:
    if claims is None:
        yield "The token cannot be read."
        return
    for hop, (link, cid) in enumerate(zip(claims.links, claims.cids, strict=True)):
        yield f"hop {hop}  delegation {cid}"
        yield from _link(link, trusted if hop == 0 else ())
        yield from _service(link, audience)
    payload, links = claims.payload, len(claims.links)
    if "pol" in payload:
        what = f"hop {links}  delegation" if links else "a delegation, and no call:"
        yield f"{what} {claims.cid}"
        yield from _link(payload, () if links else trusted)
        return
    chain = payload.get("prf")
    if links == 0 and isinstance(chain, list) and chain:
        links = len(chain)
        yield f"a chain of {links} delegations, which is too long to be read"
    here = " (this service)" if payload.get("aud") == audience else " (another service)"
    args = dict(mapping(payload.get("args")))
    resource = args.pop("resource", None)
    yield f"hop {links}  call {claims.cid}"
    yield f"  by     {_token_sentence(payload, 'iss')}"
    yield f"  at     {_token_sentence(payload, 'aud')}{here}"
    yield f"  does   {_token_sentence(payload, 'cmd')} on {_resource(resource)}"
    yield f"  with   {_json(args)}"
    yield f"  from {_moment(payload.get('iat'))} until {_moment(payload.get('exp'))}"


def _link(link: Mapping[str, Any], trusted: Sequence[str]) -> Iterator[str]:
    issuer = _token_sentence(link, "iss")
    yield f"  from   {issuer}{' (a trusted issuer)' if issuer in trusted else ''}"
    yield f"  to     {_token_sentence(link, 'aud')}"
    yield f"  for    {_token_sentence(link, 'cmd')} and all under it{_on(link)}"
    yield from _statements(link.get("pol"))
    yield f"  from {_moment(link.get('nbf'))} until {_moment(link.get('exp'))}"


def _service(link: Mapping[str, Any], audience: str) -> Iterator[str]:
    """Yield the service that a link is for, if it names one, and whether that is a PDP."""
    meta = mapping(link.get("meta"))
    if "audience" in meta:
        here = " (this service)" if meta["audience"] == audience else " (another service)"
        closed = "" if meta.get("closed") is True else ", which is a PDP"
        yield f"  only at {_token_sentence(meta, 'audience')}{here}{closed}"


def _requested_call(call: Called | None, now: int) -> Iterator[str]:
    yield f"checked at {_moment(now)}"
    if call is not None:
        command, resource, args = call
        yield f"  for the call {plain(command)} on {_resource(resource)}"
        yield f"  with   {_json(args)}"


def _verdict(
    claims: UnverifiedToken | None, trouble: Denied | SignerError | None, call: Called | None
) -> Iterator[str]:
    match trouble:
        case None:
            yield _valid(claims, call)
        case Denied():
            hop = "" if trouble.hop is None else f" at hop {trouble.hop}"
            yield f"REFUSED: {trouble.code}{hop}"
            yield f"  {plain(str(trouble))}"
            facts = {
                "check": CHECKS.get(trouble.code),
                "field": trouble.field,
                "wanted": dated(trouble.field, trouble.wanted),
                "found": dated(trouble.field, trouble.found),
            }
            yield from (f"  {name:7}{plain(fact)}" for name, fact in facts.items() if fact)
        case _:
            yield f"NOT KNOWN, so it is refused: {plain(str(trouble))}"


def _valid(claims: UnverifiedToken | None, call: Called | None) -> str:
    """Return the verdict about a valid token, with what was not checked."""
    bare_chain = claims is not None and "pol" in claims.payload
    if call is None:
        return f"The {'chain' if bare_chain else 'token'} is valid; no call was checked."
    if bare_chain:
        return "The chain is valid and covers the call; its policies were not evaluated."
    return "The token is valid for this call."


def _on(link: Mapping[str, Any]) -> str:
    held = mapping(link.get("meta")).get("resource_constraint")
    return "" if held is None else f", on {_resource(held)}"


def _statements(pol: object) -> Iterator[str]:
    statements = pol if isinstance(pol, list) else []
    for index, statement in enumerate(statements[:SHOWN_POL]):
        yield f"  pol[{index}] {_in_words(statement)}"
    if len(statements) > SHOWN_POL:
        yield f"  and {len(statements) - SHOWN_POL} more statements"


def _in_words(statement: object) -> str:
    """Return a policy statement as a sentence; as JSON if it is invalid."""
    try:
        return plain(str(from_pol([statement])))
    except Exception:  # noqa: BLE001 - the token's signer chose the statement
        return _json(statement)


def _token_sentence(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    return plain(value) if isinstance(value, str) else _json(value)


def _resource(resource: object) -> str:
    """Return the resource as text for people, if it has only plain values."""
    if not isinstance(resource, Mapping):
        return _json(resource)
    simple = all(isinstance(value, str | int) for value in resource.values())
    return plain(describe_resource(resource)) if simple else _json(resource)


def _json(value: object) -> str:
    try:
        return plain(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return "(not JSON)"


def _moment(at: object) -> str:
    """Return a Unix time as text for people."""
    if not isinstance(at, int | float):
        return "no time"
    try:
        return in_table(at)
    except (ValueError, OverflowError, OSError):
        return "no time"


def dated(field: str | None, text: str | None) -> str | None:
    """Return the text of a compared value, with the date beside each Unix time."""
    if text is None or field not in TIMES:
        return text
    return _SECONDS.sub(lambda found: f"{found[0]} ({_moment(int(found[0]))})", text)


def plain(text: str) -> str:
    """Return text on one line, cut, with invisible characters escaped."""
    cut = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    return "".join(
        f"\\u{ord(letter):04x}" if is_invisible(letter) or letter in "\n\t" else letter
        for letter in cut
    )
