"""Equality of JSON values, for which 9.0 is 9 and `True` is not 1."""

from __future__ import annotations


def same(one: object, other: object) -> bool:
    """Whether two JSON values are equal: their canonical forms (RFC 8785) would be the same."""
    match one, other:
        case (bool(), _) | (_, bool()):
            return one is other
        case dict(), dict():
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
        case ((list() | tuple()), (list() | tuple())):
            return len(one) == len(other) and all(map(same, one, other))
    return one == other
