"""Compiles SQL statements once in a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy.engine import Engine

from nomos.server.storage import engine


class Statements(dict[tuple[Any, ...], Any]):
    """Compiled statements without the dialect in their keys: all engines here have the same."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        """Return what any engine compiled for this statement."""
        return super().get(key[1:], default)

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        """Keep it for every engine."""
        super().__setitem__(key[1:], compiled)


_COMPILED: Final = Statements()


def use(replace: Callable[[Any, str, Any], None]) -> None:
    """Let the engines of a server share what they compile."""
    configure = engine._configure

    def sharing(made: Engine, *, begin: str, pragmas: tuple[str, ...]) -> None:
        configure(made, begin=begin, pragmas=pragmas)
        made.update_execution_options(compiled_cache=_COMPILED)

    replace(engine, "_configure", sharing)
