"""Tokens of Nomos in a Starlette application: `pip install "nomos[fastapi]"`.

`NomosMiddleware` with a list of `Rule` lets requests through that bring the token for what they
do, and refuses the rest. `request.state.nomos` says what was proven.
"""

from __future__ import annotations

from nomos.errors import ConfigurationError

try:
    from nomos.integrations._bodies import json_body, query
    from nomos.integrations._middleware import NomosMiddleware
    from nomos.integrations._paths import Rule
except ModuleNotFoundError as missing:
    raise ConfigurationError(
        f'this needs {missing.name}, which is not installed: pip install "nomos[fastapi]"',
        setting="starlette",
    ) from missing

__all__ = ["NomosMiddleware", "Rule", "json_body", "query"]
