"""Comparison of an allow with the question that was sent. Pure.

The agent signs invocations for what an allow names. A control plane, or a proxy in front of it,
that names another call would get a signature for that call. So the delegation is compared with the
question, and the rest of the reply with the delegation: a reply may shorten the lifetime and add
statements, and must otherwise match.

A delegation also contains the hash of the question's Idempotency-Key, which is new for each
question and is sent to this control plane only. So a delegation that one control plane signed
earlier is not accepted as the answer of another.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nomos._core.replies import Allowed
from nomos._core.requests import AuthorizeCall
from nomos._core.scope import payloads, within
from nomos._core.signing import BACKDATED
from nomos._core.tokens import decode_unverified
from nomos._identifiers import cid_of, is_did
from nomos._json import mapping, same
from nomos._pol.values import text
from nomos.errors import InvalidRequest
from nomos.resources import KNOWN, canonical_resource

_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class _Compared:
    """A call with the time of its reply, the answer, and the content of the answer's delegation."""

    call: AuthorizeCall
    now: float
    answer: Allowed
    link: Mapping[str, Any]
    meta: Mapping[str, Any]
    statements: frozenset[str]

    def signed(self, statements: Iterable[object]) -> bool:
        """Whether the delegation contains all of these statements."""
        return {text(each) for each in statements} <= self.statements


def mismatch(call: AuthorizeCall, answer: Allowed, now: float) -> str | None:
    """Return how an allow differs from the question, as the end of "allow …"; None if it matches.

    `now` is the control plane's time of the reply, in Unix seconds. Raises `InvalidResponse` for a
    chain that cannot be read.
    """
    if len(answer.chain) != 1:
        return "with more than the one delegation that an allow has"
    link = decode_unverified(answer.chain[0])
    pol = link.get("pol")
    statements = frozenset(map(text, pol)) if isinstance(pol, list) else frozenset[str]()
    compared = _Compared(call, now, answer, link, mapping(link.get("meta")), statements)
    return next((how for wrong, how in _CHECKS if wrong(compared)), None)


def question_id(idempotency_key: str) -> str:
    """Return the id by which a delegation names the question that it answers."""
    return hashlib.sha256(idempotency_key.encode()).hexdigest()


def _key(its: _Compared) -> bool:
    root, owner = its.link.get("iss"), its.link.get("sub")
    return its.link.get("aud") != its.call.agent or not is_did(root) or owner not in (None, root)


def _commands(its: _Compared) -> bool:
    return not all(within(each, its.call.question.command) for each in its.answer.commands)


def _constraints(its: _Compared) -> bool:
    return not its.signed(its.call.question.sent.get("pol", ()))


def _question(its: _Compared) -> bool:
    named = its.meta.get("question"), its.meta.get("receipt_id")
    return named != (question_id(its.call.idempotency_key), its.answer.receipt_id)


def _audience(its: _Compared) -> bool:
    given, wanted = its.answer.audience, its.call.question.audience
    return its.meta.get("audience") != given or wanted not in (None, given)


def _command(its: _Compared) -> bool:
    command, covered = its.call.question.command, its.answer.commands
    one_of: list[Any] = ["or", [["==", ".cmd", each] for each in covered]]
    leaf = ["==", ".cmd", command]
    return its.link.get("cmd") != command or not its.signed([one_of if covered else leaf])


def _resource(its: _Compared) -> bool:
    asked, given = its.call.question.sent["resource"], its.answer.resource
    return not (same(its.meta.get("resource_constraint"), given) and is_resource(asked, given))


def _args(its: _Compared) -> bool:
    asked, given = its.call.question.sent.get("args"), its.answer.args
    if asked is None or given is None:
        return asked is not given
    if asked.keys() != given.keys() or not all(_is_arg(asked[name], given[name]) for name in asked):
        return True
    each = [["==", selector(name), value] for name, value in given.items()]
    return not (its.signed([["==", ".args", given]]) or its.signed(each))


def _time(its: _Compared) -> bool:
    begins, ends, ttl = its.link.get("nbf"), its.link.get("exp"), its.call.question.ttl_seconds
    if not isinstance(begins, int) or not isinstance(ends, int):
        return True
    late = ends > its.now + ttl or ends - begins > ttl + BACKDATED
    return late or its.answer.expires_at.timestamp() != ends


def _facts(its: _Compared) -> bool:
    facts, sent = mapping(its.meta.get("facts")), its.call.question.sent
    context = sent.get("context")
    return facts.get("purpose") != sent.get("purpose") or not same(facts.get("agent"), context)


def _approval(its: _Compared) -> bool:
    """An approval that this question did not present belongs to another question."""
    if "approval" not in its.meta:
        return False
    return mapping(its.meta["approval"]).get("id") != (its.call.question.cosigner_envelope_id or "")


def _lineage(its: _Compared) -> bool:
    """A root that replaces a chain must name all of its links and keep all of their statements."""
    prf = its.link.get("prf")
    named = set(prf) if isinstance(prf, list) and all(isinstance(i, str) for i in prf) else set()
    if its.call.parent is None:
        return bool(prf)
    cids = {cid_of(each) for each in its.call.parent}
    pols = [link.get("pol") for link in payloads(its.call.parent)]
    return not (cids <= named and all(its.signed(pol) for pol in pols if isinstance(pol, list)))


_CHECKS: Final[tuple[tuple[Callable[[_Compared], bool], str], ...]] = (
    (_key, "with a delegation for another key"),
    (_commands, "with commands that are not within the one that was requested"),
    (_constraints, "without the constraints that were requested"),
    (_audience, "for another service than was requested"),
    (_command, "with a delegation for another command than was requested"),
    (_resource, "with a delegation for another resource than was requested"),
    (_args, "with other arguments than were requested"),
    (_facts, "with another purpose or context than was sent"),
    (_approval, "with an approval that was not presented"),
    (_lineage, "without the chain that was sent with the question"),
    (_time, "for a longer time than was requested"),
    (_question, "with a delegation that answers another question"),
)


def is_resource(asked: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether `given` is the canonical form of `asked`.

    The table of a provider that is not built in is known to the server only. Then a field may be
    returned in lower case, in Unicode's composed form (NFC), and as a path without a leading slash.
    """
    provider = KNOWN.get(str(asked.get("provider")))
    if provider is not None:
        try:
            return same(canonical_resource(provider, asked), given)
        except InvalidRequest:
            pass  # the server's table has other fields or forms
    return asked.keys() == given.keys() and all(
        _is_field(asked[name], given[name]) for name in asked
    )


def _is_field(asked: object, given: object) -> bool:
    if not isinstance(asked, str):
        return same(asked, given)
    forms = {asked, unicodedata.normalize("NFC", asked)}
    forms |= {form.lower() for form in forms}
    return given in forms | {_path(form) for form in forms}


def _path(form: str) -> str:
    """Return a path relative to the root of all paths."""
    for start in ("/", "./"):
        if form.startswith(start):
            return form.removeprefix(start)
    return "" if form == "." else form


def selector(name: str) -> str:
    """Return the selector of an argument."""
    return f".args.{name}" if _WORD.fullmatch(name) else f".args[{json.dumps(name)}]"


def _is_arg(asked: object, given: object) -> bool:
    """Whether an argument is the one that was sent, or its digest."""
    if isinstance(asked, str) and isinstance(given, dict):
        return given == {"sha256": hashlib.sha256(asked.encode()).hexdigest()}
    return same(asked, given)
