"""`Rule`: maps a method and a path to the call that a request makes.

A rule is matched by the router's own code, on the same text that the router receives. An ambiguous
path is rejected before that: one with an escaped slash, an empty or a dot segment, a backslash, a
control character, or bytes that are not UTF-8.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from starlette._utils import get_route_path
from starlette.routing import compile_path
from starlette.types import Scope

from nomos.errors import ConfigurationError
from nomos.integrations._proof import RequiredCall, Source, path_params
from nomos.integrations._refusals import CallRefused

WEBSOCKET: Final = "WEBSOCKET"
"""The method of a rule for opening a websocket."""

_SEGMENTS: Final = re.compile(r"\{[^{}]*:path\}")
"""A path parameter that may match several segments."""

_METHOD: Final = re.compile(r"[A-Z]+")
_UNCLEAR: Final = re.compile(r"[\x00-\x1f\x7f\\\ufffd]|//|(?:^|/)\.\.?(?:/|$)")
_ESCAPED: Final = re.compile(rb"%(?:2f|5c)", re.IGNORECASE)


@dataclass(frozen=True)
class Rule:
    """The call that a token must allow before a request with this method and path is accepted.

    Args:
        method: an HTTP method in capitals. `GET` covers `HEAD`, as in routes; `WEBSOCKET` is the
            opening of a websocket.
        path: a path in the router's syntax, such as `/repos/{owner}/issues/{number:int}`, relative
            to the application that has the middleware.
        command: the command of the call, such as `/github/issue/list`.
        resource: the resource of the call.
        args: the arguments of the call. None accepts only tokens that are bound to no arguments.
        require_signed_args: whether a token must sign each of the `args`.

    `resource` and `args` are mappings, or sync or async functions of the request that return one.
    In a mapping, `"{owner}"` is replaced by the path parameter of that name, and `"{number:int}"`
    by one that is a whole number.

    Raises `ConfigurationError` for a rule that no request or no token can match.
    """

    method: str
    path: str
    command: str
    resource: Source
    args: Source | None = None
    require_signed_args: bool = False
    needed: RequiredCall = field(init=False, repr=False, compare=False)
    pattern: Pattern = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _METHOD.fullmatch(self.method):
            raise ConfigurationError(
                f"{self.method!r} is not a method; write it in capitals, as GET", setting="method"
            )
        pattern = Pattern(self.path)
        if _UNCLEAR.search(self.path):
            raise ConfigurationError(
                f"{self.path!r} matches no request: paths with empty or dot segments, a backslash "
                "or a control character are rejected before the rules",
                setting="path",
            )
        object.__setattr__(self, "pattern", pattern)
        object.__setattr__(
            self,
            "needed",
            RequiredCall(
                self.command, self.resource, self.args, require_signed_args=self.require_signed_args
            ),
        )
        for source in (self.resource, self.args):
            for name in _parameters_of(source):
                if name not in pattern.names:
                    raise ConfigurationError(
                        f"{self.path} has no parameter {name!r}", setting="resource"
                    )

    def covers(self, method: str) -> bool:
        """Return whether the rule covers `method`; `GET` covers `HEAD`."""
        return method == self.method or (method == "HEAD" and self.method == "GET")


class Pattern:
    """A path with parameters, matched as the router does."""

    def __init__(self, path: str) -> None:
        if not isinstance(path, str) or not path.startswith("/"):
            raise ConfigurationError(f"{path!r} is not a path; begin it with /", setting="path")
        try:
            self._regex, _, self._convertors = compile_path(path)
        except (AssertionError, ValueError, re.error) as wrong:
            raise ConfigurationError(f"{path} is not a path: {wrong}", setting="path") from None
        self.path = path
        self.names = frozenset(self._convertors)

    def match(self, path: str) -> dict[str, Any] | None:
        """Return the path's parameters, converted as the router does; None without a match."""
        found = self._regex.match(path)
        if found is None:
            return None
        try:
            return {
                name: self._convertors[name].convert(text)
                for name, text in found.groupdict().items()
            }
        except ValueError:
            raise CallRefused("invalid_request", "a number in the path is too long") from None


class RuleTable:
    """All rules; the first match counts, as with routes. A request without a match is rejected."""

    def __init__(self, rules: Iterable[Rule], open_paths: Iterable[str]) -> None:
        if isinstance(open_paths, str):
            raise ConfigurationError("open_paths must be a list of paths", setting="open_paths")
        self._rules = tuple(rules)
        self._open = tuple(Pattern(path) for path in open_paths)
        _check_unique(self._rules)
        _check_open_paths(self._rules, self._open)

    def required_call(self, scope: Scope) -> tuple[RequiredCall, dict[str, Any]] | None:
        """Return the call that a request needs a token for, and its path parameters; None if open.

        Raises CallRefused if no rule matches.
        """
        method = _method(scope)
        path = route_path(scope)
        # Rules first: an open path may match more than its author intended.
        for rule in self._rules:
            params = rule.pattern.match(path) if rule.covers(method) else None
            if params is not None:
                return rule.needed, params
        if any(pattern.match(path) is not None for pattern in self._open):
            return None
        raise CallRefused("forbidden", "no rule of this service covers this method and path")


def _method(scope: Scope) -> str:
    """Return the method to compare with rules; empty for an HTTP request named `WEBSOCKET`."""
    if scope["type"] == "websocket":
        return WEBSOCKET
    method: str = scope["method"]
    return "" if method == WEBSOCKET else method


def route_path(scope: Scope) -> str:
    """Return the path that will be routed. Raises CallRefused if it is ambiguous."""
    raw: bytes = scope.get("raw_path") or b""
    path: str = scope["path"]
    if _UNCLEAR.search(path) or _ESCAPED.search(raw.partition(b"?")[0]):
        raise CallRefused(
            "invalid_request",
            "the path is ambiguous: send it without escaped slashes, without empty or dot "
            "segments, and in UTF-8",
        )
    return get_route_path(scope)


def normalize_root_path(scope: Scope) -> Scope:
    """Return the scope with a path that begins with the root path, as ASGI defines it.

    Otherwise the router does not change the path, and each inner mount removes too little of it:
    the request would reach another route than the one that was checked.
    """
    root_path: str = scope.get("root_path", "")
    route = get_route_path(scope)
    if not root_path or route != scope["path"]:
        return scope
    root_path = root_path.rstrip("/")
    return {**scope, "root_path": root_path, "path": root_path + route}


def _check_unique(rules: Sequence[Rule]) -> None:
    seen: set[tuple[str, str]] = set()
    for rule in rules:
        if not isinstance(rule, Rule):
            raise ConfigurationError("rules must be a list of Rule", setting="rules")
        if (rule.method, rule.path) in seen:
            raise ConfigurationError(
                f"there are two rules for {rule.method} {rule.path}", setting="rules"
            )
        _check_reachable(rule, rules)
        seen.add((rule.method, rule.path))


def _check_reachable(rule: Rule, rules: Sequence[Rule]) -> None:
    """Raise ConfigurationError for a rule that an earlier one covers completely."""
    for before in itertools.takewhile(lambda each: each is not rule, rules):
        if before.covers(rule.method) and all(
            before.pattern.match(path) is not None for path in _examples(rule.path)
        ):
            raise ConfigurationError(
                f"the rule for {rule.method} {rule.path} is never reached: the earlier rule "
                f"for {before.method} {before.path} covers it. Put the narrower one first",
                setting="rules",
            )


def _examples(path: str) -> list[str]:
    """Return paths that a rule for `path` covers; a `:path` parameter may have several segments."""
    return [_SEGMENTS.sub("/".join(["x"] * count), path) for count in (1, 2, 3)]


def _check_open_paths(rules: Sequence[Rule], opened: Sequence[Pattern]) -> None:
    """Raise ConfigurationError for an open path that matches the path of a rule."""
    for rule in rules:
        for pattern in opened:
            if pattern.match(rule.path) is not None:
                raise ConfigurationError(
                    f"the open path {pattern.path} matches {rule.path}, which has a rule",
                    setting="open_paths",
                )


def _parameters_of(source: Source | None) -> list[str]:
    values = source.values() if isinstance(source, Mapping) else ()
    return [name for value in values for name in path_params(value)]
