"""Recent refusals, remembered for `failure_mode="open"`.

An outage must not turn a refusal into an allow. Each refusal is remembered by command and resource,
without arguments and purpose, and a read that overlaps with it is not allowed without a decision.
"""

from __future__ import annotations

import hashlib
import posixpath
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from nomos._core.parent_chain import canonical
from nomos._core.scope import is_path_within, within
from nomos._json import encode
from nomos.models import Question, describe_resource

LEAST_SECONDS: Final = 900
"""How long a refusal is remembered, or for its question's `ttl_seconds` if that is longer."""

MAX_REFUSALS: Final = 1024
"""If there are more refusals, nothing is allowed without a decision until one has ended."""

MAX_DECODINGS: Final = 3  # how often a text is percent-decoded before it is compared


@dataclass(frozen=True)
class _Denial:
    command: str
    resource: Mapping[str, Any]
    until: float
    why: str


class RecentDenials:
    """Recent refusals of one caller. `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[str, _Denial] = {}
        self._everything: _Denial | None = None
        self._full_until = 0.0

    def remember(self, question: Question, why: str) -> None:
        """Remember that this question was refused; `why` is the end of a sentence about it."""
        cause = f"{question.command} on {describe_resource(question.resource)} was refused: {why}"
        resource = _loose(question.resource)
        self._add(_named(question), question.command, resource, question.ttl_seconds, cause)

    def remember_call(self, command: str, resource: Mapping[str, Any], why: str) -> None:
        """Remember that a command on a resource was refused, for any question."""
        cause = f"{command} on {describe_resource(resource)} was refused: {why}"
        loose = _loose(resource)
        name = f"{command} {encode(loose, sort=True).decode()}"
        self._add(name, command, loose, LEAST_SECONDS, cause)

    def remember_all(self, why: str) -> None:
        """Remember that this caller was rejected for any question."""
        self._everything = _Denial("", {}, self._clock() + LEAST_SECONDS, why)

    def answered(self) -> None:
        """Forget a rejection of the caller as a whole: a decision was received since."""
        self._everything = None

    def forget(self, question: Question) -> None:
        """Forget the refusal of this exact question, which was allowed since."""
        if self._known:
            self._known.pop(_named(question), None)

    def against(self, question: Question) -> str | None:
        """Return why this question is not allowed without a decision; None without a refusal."""
        now = self._clock()
        if self._everything is not None and now < self._everything.until:
            return self._everything.why
        if now < self._full_until:
            return f"more than {MAX_REFUSALS} refusals are remembered"
        resource = _loose(question.resource)
        for each in list(self._known.values()):
            if now < each.until and _overlap(each, question.command, resource):
                return each.why
        return None

    def _add(
        self, name: str, command: str, resource: Mapping[str, Any], ttl: int, why: str
    ) -> None:
        now = self._clock()
        until = now + max(ttl, LEAST_SECONDS)
        for key, each in list(self._known.items()):
            if each.until <= now:
                self._known.pop(key, None)
        if name not in self._known and len(self._known) >= MAX_REFUSALS:
            self._full_until = max(self._full_until, until)
            return
        self._known[name] = _Denial(command, resource, until, why)


def _overlap(refusal: _Denial, command: str, resource: Mapping[str, Any]) -> bool:
    """Whether a call could be covered by both."""
    if not (within(command, refusal.command) or within(refusal.command, command)):
        return False
    shared = refusal.resource.keys() & resource.keys()
    return all(_overlaps(name, refusal.resource[name], resource[name]) for name in shared)


def _overlaps(name: str, one: object, other: object) -> bool:
    """Whether two values of a field may mean the same; an unknown form may mean anything."""
    if not isinstance(one, str) or not isinstance(other, str) or one == other:
        return True
    return name == "path" and (is_path_within(one, other) or is_path_within(other, one))


def _loose(resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resource in which different spellings that a server may treat as equal are equal."""
    return {name: _folded(value) for name, value in canonical(resource).items()}


def _folded(value: object) -> object:
    """Return text and numbers in one normal form; other values are returned as they are."""
    if isinstance(value, int | float):
        value = str(int(value) if isinstance(value, float) and value.is_integer() else value)
    if not isinstance(value, str):
        return value
    text = value
    for _ in range(MAX_DECODINGS):
        text = unquote(text)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = "".join(each for each in text if each.isprintable()).strip()
    return posixpath.normpath("/" + text.replace("\\", "/")).lstrip("/")


def _named(question: Question) -> str:
    """Return a fixed-length name that is equal for equal questions."""
    asked = (question.command, question.resource, question.args, question.audience)
    more = (question.pol, question.purpose, question.context)
    return hashlib.sha256(encode({"question": [*asked, *more]}, sort=True)).hexdigest()
