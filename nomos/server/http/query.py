"""Query parameters of a route, declared once for parsing and for OpenAPI.

Every parameter is optional. Undeclared ones are rejected: if they were ignored, the caller would
assume that they had an effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nomos._core.http_rules.query import QueryFault, parameters, whole_number
from nomos._core.http_rules.shown import shown
from nomos._limits import MAX_INTEGER
from nomos.errors import InvalidRequest


@dataclass(frozen=True)
class Number:
    """A whole number from `least` to `most`."""

    name: str
    least: int = 0
    most: int = MAX_INTEGER
    default: int | None = None
    description: str | None = None

    def read(self, text: str) -> int:
        """Return the number. Raises QueryFault."""
        number = whole_number(text)
        if number is None or not self.least <= number <= self.most:
            raise QueryFault(f"must be a whole number from {self.least} to {self.most}", self.name)
        return number

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the parameter."""
        bounds = {"type": "integer", "minimum": self.least, "maximum": self.most}
        return bounds if self.default is None else bounds | {"default": self.default}


@dataclass(frozen=True)
class Word:
    """A text that fully matches `pattern`; `wanted` describes it for error messages."""

    name: str
    pattern: str
    wanted: str
    default: str | None = None
    description: str | None = None

    def read(self, text: str) -> str:
        """Return the text. Raises QueryFault."""
        if not re.fullmatch(self.pattern, text):
            raise QueryFault(f"must be {self.wanted}", self.name)
        return text

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the parameter."""
        return {"type": "string", "pattern": f"^{self.pattern}$"}


@dataclass(frozen=True)
class Choice:
    """One of several words."""

    name: str
    words: tuple[str, ...]
    default: str
    description: str | None = None

    def read(self, text: str) -> str:
        """Return the word. Raises QueryFault."""
        if text not in self.words:
            raise QueryFault(f"must be one of {', '.join(self.words)}", self.name)
        return text

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the parameter."""
        return {"type": "string", "enum": list(self.words), "default": self.default}


Parameter = Number | Word | Choice


class Query:
    """The parameters that one route takes."""

    def __init__(self, *takes: Parameter) -> None:
        self._takes: Final = {each.name: each for each in takes}

    def read(self, query: bytes) -> dict[str, Any]:
        """Return each declared parameter: as sent, its default, or None. Raises InvalidRequest."""
        found: dict[str, Any] = {name: each.default for name, each in self._takes.items()}
        try:
            for name, text in parameters(query, takes=self._takes).items():
                found[name] = self._takes[name].read(text)
        except QueryFault as fault:
            raise _invalid(fault) from None
        return found

    def documented(self) -> tuple[Mapping[str, Any], ...]:
        """Return the parameters in OpenAPI's form."""
        return tuple(_documented(each) for each in self._takes.values())


def _documented(each: Parameter) -> dict[str, Any]:
    described = {} if each.description is None else {"description": each.description}
    return {
        "name": each.name,
        "in": "query",
        "required": False,
        **described,
        "schema": each.schema(),
    }


def _invalid(fault: QueryFault) -> InvalidRequest:
    if fault.name is None:
        return InvalidRequest(f"the query {fault.reason}")
    return InvalidRequest(f"{shown(fault.name)[1:-1]}: {fault.reason}", fields=(fault.name,))
