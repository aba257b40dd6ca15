"""`Sealed`: base of values that are proof of a check, and that only the checking code can make.

If a verified call, a grant, a chain or a receipt could be built from a request body, a pickle or
keyword arguments, the sender of those could claim any identity. So these classes have no public
constructor; `make` is for the code that did the check. pydantic, and FastAPI with it, refuses them
when a model or a route is declared. They cannot be pickled, and they are not dataclasses, because
libraries fill dataclasses in from data. Copying returns the same object, which is immutable.
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
    """An attribute of an immutable value was set or deleted.

    It is both the error of dataclasses and a `ValueError`, as pydantic raises.
    """


class Sealed:
    """Base of values that callers receive and cannot construct."""

    __signature__: ClassVar[Signature]

    _source: ClassVar[str] = "the call that checks it"
    """The API that returns values of this class, for error messages."""

    _stored: ClassVar[str] = "store what you need of its fields"
    """What to store instead of the value, for error messages."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "model_validate"):
            cls._refuse_to_be_read()  # a pydantic subclass could be built from any data
        # A framework that calls the class (`Depends(Verified)`) meets a parameter it cannot supply.
        itself = Parameter("checked", Parameter.KEYWORD_ONLY, annotation=cls)
        cls.__signature__ = Signature([itself])

    def __new__(cls, *_: Never, **__: Never) -> Self:
        raise TypeError(
            f"a {cls.__name__} is proof of a check and cannot be constructed: it comes from "
            f"{cls._source}"
        )

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(self._not_stored())

    def __setstate__(self, state: object) -> NoReturn:
        raise TypeError(self._not_stored())

    def _asdict(self) -> NoReturn:
        """Raise for serializers that take values apart and would rebuild them later.

        LangGraph's serializer drops the error's text and reports only its type, hence the warning.
        """
        warnings.warn(self._not_stored(), UserWarning, stacklevel=2)
        raise TypeError(self._not_stored())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> NoReturn:
        cls._refuse_to_be_read()

    @classmethod
    def _refuse_to_be_read(cls) -> NoReturn:
        raise ConfigurationError(
            f"a {cls.__name__} is proof of a check and cannot be read from a request or from "
            f"stored data: {cls._advice()}",
            setting=cls.__name__,
        )

    @classmethod
    def _advice(cls) -> str:
        """Return what to declare in a route or a model instead."""
        return (
            f"it comes from {cls._source}. Declare the id of the value instead; a model that is "
            "used inside the program only can hold one in a member annotated as `Any`"
        )

    def _not_stored(self) -> str:
        return f"a {type(self).__name__} cannot be pickled or stored: {self._stored}"


class SealedRecord(Sealed):
    """A sealed value whose members are the annotations of its class.

    `==` and `repr` use all members but those whose names begin with `_`; `repr` leaves out those in
    `_unshown`, `==` those in `_uncompared`.
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
        # Works on an incomplete value, too, as a debugger may show one.
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
    """Return a value of `kind`. To be called only by the code that checked the members."""
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
    """Return a copy of `value` with other `members`; the original does not change."""
    return make(type(value), **(field_values(value) | members))


def field_values(value: SealedRecord) -> dict[str, Any]:
    """Return the members of a value by name."""
    return {name: getattr(value, name) for name in value._members}  # noqa: SLF001 - as above
