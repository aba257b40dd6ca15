"""Values that mean "this was checked": only the code that checked it makes them.

A verified call, a grant, a chain or a receipt that could be built from a request's body, a pickle
or a keyword argument would let its sender say who acts. So these classes have no constructor:
`make` is for the code that did the checking. pydantic, and FastAPI with it, refuses them when a
model or a route is declared. They are not pickled, and not dataclasses, which libraries fill in
from data. To copy one gives the same object, for it does not change.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from inspect import Parameter, Signature, get_annotations
from typing import Any, ClassVar, Never, NoReturn, Self, TypeVar

from nomos.errors import ConfigurationError

S = TypeVar("S", bound="Sealed")
R = TypeVar("R", bound="SealedRecord")


class FrozenError(FrozenInstanceError, ValueError):
    """A member of a value was to be set; as dataclasses and pydantic both call it."""


class Sealed:
    """Base of what users receive and never make."""

    __signature__: ClassVar[Signature]

    _source: ClassVar[str] = "the call that checks it"
    """Where a value of this class comes from, for errors."""

    _stored: ClassVar[str] = "store what you need of its fields"
    """What to do where a value would have to be stored, for errors."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "model_validate"):
            cls._refuse_to_be_read()  # a model of pydantic that would count as checked
        # A framework that would call the class (`Depends(Verified)`) finds what it cannot supply.
        itself = Parameter("checked", Parameter.KEYWORD_ONLY, annotation=cls)
        cls.__signature__ = Signature([itself])

    def __new__(cls, *_: Never, **__: Never) -> Self:
        raise TypeError(
            f"a {cls.__name__} says what was checked, so it cannot be made directly: it comes from "
            f"{cls._source}"
        )

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(self._not_stored())

    def __setstate__(self, state: object) -> NoReturn:
        raise TypeError(self._not_stored())

    def _asdict(self) -> NoReturn:
        """Refuse to be taken apart by serializers that would later build the value again.

        LangGraph's drops the error's text, and names only the type: hence a warning as well.
        """
        warnings.warn(self._not_stored(), UserWarning, stacklevel=2)
        raise TypeError(self._not_stored())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> NoReturn:
        cls._refuse_to_be_read()

    @classmethod
    def _refuse_to_be_read(cls) -> NoReturn:
        raise ConfigurationError(
            f"a {cls.__name__} says what was checked, so it cannot be read from a request or from "
            f"stored data: {cls._advice()}",
            setting=cls.__name__,
        )

    @classmethod
    def _advice(cls) -> str:
        """Return what to declare instead, in a route or a model."""
        return (
            f"it comes from {cls._source}. Declare the id that leads to it instead; a model inside "
            "of a program can hold one in a member annotated as `Any`"
        )

    def _not_stored(self) -> str:
        return f"a {type(self).__name__} cannot be pickled or stored: {self._stored}"


class SealedRecord(Sealed):
    """A sealed value with named members, which are the annotations of its class.

    Members are compared and shown by `repr`, but for those whose names begin with `_`, and for
    those in `_unshown` and `_uncompared`.
    """

    _members: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[Mapping[str, Any]] = {}
    _unshown: ClassVar[frozenset[str]] = frozenset()
    _uncompared: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = get_annotations(cls)
        names = [name for name, kind in own.items() if "ClassVar" not in str(kind)]
        cls._members = tuple(dict.fromkeys((*cls._members, *names)))
        cls._defaults = {
            **cls._defaults,
            **{name: vars(cls)[name] for name in names if name in vars(cls)},
        }

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenError(f"cannot assign to {name!r}: {type(self).__name__} values are frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenError(f"cannot delete {name!r}: {type(self).__name__} values are frozen")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def __repr__(self) -> str:
        # Also for one that is not complete, which a debugger may come across.
        shown = (
            f"{name}={vars(self)[name]!r}"
            for name in self._members
            if not name.startswith("_") and name not in self._unshown and name in vars(self)
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    def _compared(self) -> tuple[Any, ...]:
        return tuple(
            getattr(self, name)
            for name in self._members
            if not name.startswith("_") and name not in self._uncompared
        )


def make(kind: type[R], /, **members: Any) -> R:
    """Return a value of `kind`; for the code that has checked what is in it, and for no other."""
    names: tuple[str, ...] = kind._members  # noqa: SLF001 - this module's own class
    given = {**kind._defaults, **members}  # noqa: SLF001 - as above
    unknown = members.keys() - set(names)
    missing = [name for name in names if name not in given]
    if unknown or missing:
        raise TypeError(f"{kind.__name__}: unknown {sorted(unknown)}, missing {missing}")
    value = object.__new__(kind)
    vars(value).update(given)
    return value


def changed(value: R, /, **members: Any) -> R:
    """Return a value like `value` with other `members`; the original stays as it is."""
    return make(type(value), **(field_values(value) | members))


def field_values(value: SealedRecord) -> dict[str, Any]:
    """Return the members of a value by name."""
    return {name: getattr(value, name) for name in value._members}  # noqa: SLF001 - as above
