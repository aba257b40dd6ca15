"""JSON values: their text, and their equality, for which 9.0 is 9 and `True` is not 1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nomos.errors import InvalidRequest


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


def same(one: object, other: object) -> bool:
    """Whether two JSON values are equal: their canonical forms (RFC 8785) would be the same."""
    match one, other:
        case (bool(), _) | (_, bool()):
            return one is other
        case dict(), dict():
            return one.keys() == other.keys() and all(map(same, one.values(), map(other.get, one)))
        case ((list() | tuple()), (list() | tuple())):
            return len(one) == len(other) and all(map(same, one, other))
    return one == other


def mapping(value: object) -> Mapping[str, Any]:
    """Return the value if it is an object, an empty one otherwise."""
    return value if isinstance(value, dict) else {}
