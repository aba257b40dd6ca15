"""Every forgery that can be applied to any token, in groups, and to any chain.

Beside these, the modules `attack_*.py` have attacks on one chain or one request, which are kept in
the stored vectors only. The vectors, the model's chains and the fuzzer take their bad tokens from
here; the TypeScript tests read the vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vectors import (
    attack_claims,
    attack_header,
    attack_json,
    attack_keys,
    attack_links,
    attack_signatures,
    attack_text,
    attack_use,
    attack_wider,
)
from vectors.making import Forge, Making
from vectors.rearranging import REARRANGEMENTS

__all__ = ["FORGERIES", "REARRANGEMENTS", "forged"]

FORGERIES: Final[Mapping[str, Mapping[str, Forge]]] = {
    "text": {**attack_text.FORGERIES, **attack_text.LONG},
    "json": {**attack_json.FORGERIES, **attack_json.DEEPEST},
    "header": attack_header.FORGERIES,
    "keys": attack_keys.FORGERIES,
    "signatures": attack_signatures.FORGERIES,
    "claims": attack_claims.FORGERIES,
    "authority": {
        **attack_links.FORGERIES,
        **attack_wider.FORGERIES,
        **attack_use.FORGERIES,
    },
}


def forged(forge: Forge, making: Making) -> str:
    """Return the forgery, or the honest token if it lacks what the forger changes."""
    try:
        return forge(making)
    except (AssertionError, LookupError, TypeError, ValueError):
        return making.token
