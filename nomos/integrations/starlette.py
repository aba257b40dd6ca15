"""`NomosMiddleware` and `Rule` for Starlette: `pip install "nomos[fastapi]"`.

`NomosMiddleware` with a list of `Rule` accepts requests with a token for their call, and rejects
all others. `request.state.nomos` is the `Verified`.
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
