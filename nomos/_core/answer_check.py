"""Whether an allow is the answer to the question that was sent. Pure.

The agent signs with its own key what an answer names, so a control plane, or a proxy before it,
that names something else would get a signature over that. The delegation is compared with the
question, and what stands beside it with the delegation: an answer may give less time and add
statements, and gives nothing else.

A delegation also names the question by the hash of its Idempotency-Key, which is new for each
question and was sent to nobody else. So what one control plane signed earlier is not taken as the
answer of another.
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
from nomos._core.requests import encode
from nomos._core.scope import mapping, payloads, same, within
from nomos._core.signing import BACKDATED, is_did
from nomos._core.tokens import decode_unverified
from nomos._pol.values import text
from nomos.errors import InvalidRequest
from nomos.models import Chain, Question
from nomos.resources import KNOWN, canonical_resource

_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class SentQuestion:
    """What was sent: the question, for which key, on which chain, under which Idempotency-Key.

    `now` is the control plane's time when it answered, in Unix seconds.
    """

    question: Question
    agent: str
    parent: Chain | None
    idempotency_key: str
    now: float


@dataclass(frozen=True)
class _Compared:
    """A question, the answer to it, and what the delegation in the answer says."""

    sent: SentQuestion
    answer: Allowed
    link: Mapping[str, Any]
    meta: Mapping[str, Any]
    statements: frozenset[str]

    def signed(self, statements: Iterable[object]) -> bool:
        """Whether all of these hold for every use of the delegation."""
        return {text(each) for each in statements} <= self.statements


def mismatch(sent: SentQuestion, answer: Allowed) -> str | None:
    """Return in what an allow differs from what was asked, as the end of "allow …"; or None.

    Raises `Unintelligible` for a chain that cannot be read.
    """
    if len(answer.chain) != 1:
        return "with more than the one delegation that an allow has"
    link = decode_unverified(answer.chain[0])
    pol = link.get("pol")
    statements = frozenset(map(text, pol)) if isinstance(pol, list) else frozenset[str]()
    compared = _Compared(sent, answer, link, mapping(link.get("meta")), statements)
    return next((how for wrong, how in _CHECKS if wrong(compared)), None)


def question_id(idempotency_key: str) -> str:
    """Return how a delegation names the question that it answers."""
    return hashlib.sha256(idempotency_key.encode()).hexdigest()


def _key(its: _Compared) -> bool:
    root, owner = its.link.get("iss"), its.link.get("sub")
    return its.link.get("aud") != its.sent.agent or not is_did(root) or owner not in (None, root)


def _commands(its: _Compared) -> bool:
    return not all(within(each, its.sent.question.command) for each in its.answer.commands)


def _constraints(its: _Compared) -> bool:
    return not its.signed(its.sent.question.pol)


def _question(its: _Compared) -> bool:
    named = its.meta.get("question"), its.meta.get("receipt_id")
    return named != (question_id(its.sent.idempotency_key), its.answer.receipt_id)


def _audience(its: _Compared) -> bool:
    given, wanted = its.answer.audience, its.sent.question.audience
    return its.meta.get("audience") != given or wanted not in (None, given)


def _command(its: _Compared) -> bool:
    command, beneath = its.sent.question.command, its.answer.commands
    one_of: list[Any] = ["or", [["==", ".cmd", each] for each in beneath]]
    leaf = ["==", ".cmd", command]
    return its.link.get("cmd") != command or not its.signed([one_of if beneath else leaf])


def _resource(its: _Compared) -> bool:
    asked, given = _plain(its.sent.question.resource), its.answer.resource
    return not (same(its.meta.get("resource_constraint"), given) and is_resource(asked, given))


def _args(its: _Compared) -> bool:
    asked, given = its.sent.question.args, its.answer.args
    if asked is None or given is None:
        return asked is not given
    plain = _plain(asked)
    if plain.keys() != given.keys() or not all(_is_arg(plain[name], given[name]) for name in plain):
        return True
    each = [["==", _selector(name), value] for name, value in given.items()]
    return not (its.signed([["==", ".args", given]]) or its.signed(each))


def _time(its: _Compared) -> bool:
    begins, ends, ttl = its.link.get("nbf"), its.link.get("exp"), its.sent.question.ttl_seconds
    if not isinstance(begins, int) or not isinstance(ends, int):
        return True
    late = ends > its.sent.now + ttl or ends - begins > ttl + BACKDATED
    return late or its.answer.expires_at.timestamp() != ends


def _facts(its: _Compared) -> bool:
    facts, question = mapping(its.meta.get("facts")), its.sent.question
    context = None if question.context is None else _plain(question.context)
    return facts.get("purpose") != question.purpose or not same(facts.get("agent"), context)


def _approval(its: _Compared) -> bool:
    """An approval that was not presented is somebody else's."""
    if "approval" not in its.meta:
        return False
    return mapping(its.meta["approval"]).get("id") != (its.sent.question.cosigner_envelope_id or "")


def _lineage(its: _Compared) -> bool:
    """What is signed on a chain names all of its links, and keeps all of their statements."""
    prf = its.link.get("prf")
    named = set(prf) if isinstance(prf, list) and all(isinstance(i, str) for i in prf) else set()
    if its.sent.parent is None:
        return bool(prf)
    cids = {hashlib.sha256(each.encode()).hexdigest() for each in its.sent.parent}
    pols = [link.get("pol") for link in payloads(its.sent.parent)]
    return not (cids <= named and all(its.signed(pol) for pol in pols if isinstance(pol, list)))


_CHECKS: Final[tuple[tuple[Callable[[_Compared], bool], str], ...]] = (
    (_key, "with a delegation for another key"),
    (_commands, "with commands that are not within the one that was asked for"),
    (_constraints, "without the constraints that were asked for"),
    (_audience, "for another service than was asked for"),
    (_command, "with a delegation for another command than was asked for"),
    (_resource, "with a delegation for another resource than was asked for"),
    (_args, "with other arguments than were asked for"),
    (_facts, "with another purpose or context than was sent"),
    (_approval, "with an approval that was not presented"),
    (_lineage, "without the chain that it was asked for by"),
    (_time, "for a longer time than was asked for"),
    (_question, "with a delegation that answers another question"),
)


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value as it was sent."""
    sent: dict[str, Any] = json.loads(encode(value))
    return sent


def is_resource(asked: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether `given` is the canonical form of what was asked.

    The table of a provider that is not built in is on the server alone. Then a field may be given
    in lower case, in Unicode's composed form, and as a path without a leading slash.
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
    """A path as it is seen from the root of all paths."""
    for start in ("/", "./"):
        if form.startswith(start):
            return form.removeprefix(start)
    return "" if form == "." else form


def _selector(name: str) -> str:
    """Where an argument is found in a call."""
    return f".args.{name}" if _WORD.fullmatch(name) else f".args[{json.dumps(name)}]"


def _is_arg(asked: object, given: object) -> bool:
    """Whether an argument is the one that was asked, or its digest."""
    if isinstance(asked, str) and isinstance(given, dict):
        return given == {"sha256": hashlib.sha256(asked.encode()).hexdigest()}
    return same(asked, given)
