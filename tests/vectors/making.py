"""Tokens before they are signed, and functions that forge them.

`catalogue.py` collects the forgers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from vectors.forge import DELEGATION, Party, Payload, b64, canonical, changed


@dataclass(frozen=True)
class Making:
    """A token before it is signed: what it says, and whose key signs it."""

    header: Payload
    payload: Payload
    party: Party

    @property
    def token(self) -> str:
        return self.segments(b64(canonical(self.header)), b64(canonical(self.payload)))

    def segments(self, header: str, payload: str) -> str:
        """Sign two texts as they are, encoded rightly or not."""
        signed = f"{header}.{payload}"
        return f"{signed}.{b64(self.party.sign(signed.encode()))}"

    def saying(self, **changes: object) -> Making:
        """Change what it says; `...` leaves a member out."""
        return replace(self, payload=changed(self.payload, changes))

    def spelled(self, spell: Callable[[bytes], bytes]) -> str:
        """Write the payload in another way, and sign that."""
        return self.segments(b64(canonical(self.header)), b64(spell(canonical(self.payload))))

    def headed(self, header: bytes) -> str:
        return self.segments(b64(header), b64(canonical(self.payload)))

    @property
    def is_link(self) -> bool:
        return self.header == DELEGATION

    def holding(self, value: object, name: str = "x") -> Making:
        """Put a value where any is allowed: in `meta`, or among the arguments."""
        place = "meta" if self.is_link else "args"
        return self.saying(**{place: {**self.payload.get(place, {}), name: value}})


Forge = Callable[[Making], str]
"""Makes a token that should have been `making.token`."""


def saying(**changes: Any) -> Forge:
    """A forger who holds the right key and says something else."""
    return lambda making: making.saying(**changes).token


def holding(name: str, value: object) -> Forge:
    """The same, with a member where any is allowed."""
    return lambda making: making.holding(value, name).token
