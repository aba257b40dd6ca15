"""The attack table: each row is one way to cheat, the code that answers it, and the hop at fault.

Rows whose tokens are well signed are made by someone who holds a real key and lies; the others
by someone who does not.
"""

from __future__ import annotations

from vectors import (
    attacks_chain,
    attacks_checkpoint,
    attacks_keys,
    attacks_text,
    attacks_wanted,
)
from vectors.cases import Case, case, refused


def table() -> list[Case]:
    """Return every row, in the order in which a verifier meets the checks."""
    rows = [
        *attacks_text.sizes(),
        *attacks_text.texts(),
        *attacks_text.headers(),
        *attacks_text.schemas(),
        *attacks_text.policies(),
        *attacks_keys.keys(),
        *attacks_keys.signatures(),
        *attacks_keys.times(),
        *attacks_chain.links(),
        *attacks_chain.trust(),
        *attacks_chain.uses(),
        *attacks_chain.calls(),
        *attacks_chain.precedence(),
        *attacks_wanted.wants(),
        *attacks_wanted.depths(),
        *attacks_checkpoint.checkpoints(),
    ]
    return [case(name, request, refused=refused(code, hop)) for name, request, code, hop in rows]
