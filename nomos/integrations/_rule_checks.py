"""Checks at startup that some token can satisfy a rule.

A rule that no token can satisfy would reject every request, and callers could not fix that.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from nomos.errors import ConfigurationError, InvalidRequest
from nomos.resources import KNOWN, canonical_resource, provider_name

PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:int)?\}")
"""A path parameter in a value: `{name}` or `{name:int}`."""


def check_possible(command: str, resource: object, args: object) -> None:
    """Raise ConfigurationError for a call that no token can allow. Functions are not checked."""
    if command.count("/") < 2:
        raise ConfigurationError(
            f"{command} is a prefix; a rule needs a whole command, such as {command}/note/read",
            setting="command",
        )
    if isinstance(resource, Mapping):
        _check_resource(command, resource)
    if isinstance(args, Mapping):
        if "resource" in args:
            raise ConfigurationError(
                "args must not contain resource; pass it as resource=", setting="args"
            )
        _check_json(args, "args")


def _check_resource(command: str, resource: Mapping[str, Any]) -> None:
    wanted = provider_name(command)
    if "provider" not in resource:
        near = difflib.get_close_matches("provider", list(resource), n=1)
        hint = f" instead of {near[0]!r}" if near else ""
        raise ConfigurationError(
            f'resource has no provider, so no token can match it: add "provider": "{wanted}"{hint}',
            setting="resource",
        )
    named = resource["provider"]
    if named != wanted and not _is_from_request(named):
        raise ConfigurationError(
            f"resource.provider must be {wanted!r}, the first segment of {command}, not "
            f"{named!r:.80}; no token can match another",
            setting="resource",
        )
    _check_json(resource, "resource")
    provider = KNOWN.get(wanted)
    if provider is None:
        return
    # The request's value is checked later; whether the field exists is known now.
    open_ = {
        name for name in resource if name in provider.fields and _is_from_request(resource[name])
    }
    try:
        canonical_resource(
            provider, {n: v for n, v in resource.items() if n not in open_} | {"provider": wanted}
        )
    except InvalidRequest as wrong:
        raise ConfigurationError(f"no token can match: {wrong}", setting="resource") from None


def _check_json(given: Mapping[str, Any], setting: str) -> None:
    try:
        json.dumps(dict(given), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as wrong:
        raise ConfigurationError(
            f"{setting} has a value that is not JSON, so no token can match: {wrong}",
            setting=setting,
        ) from None


def _is_from_request(value: object) -> bool:
    """Return whether the value comes from the request."""
    return isinstance(value, str) and PARAMETER.search(value) is not None
