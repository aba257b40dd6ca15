"""The call to be made with a token, in the canonical form that tokens are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from nomos._core.denials import denied
from nomos._core.unverified import is_deeper
from nomos._json import encode
from nomos._limits import MAX_NESTING
from nomos._protocol import MAX_LINE, Call
from nomos.errors import Denied, InvalidRequest
from nomos.resources import KNOWN, canonical_resource

MAX_CALL: Final = MAX_LINE // 2
"""The largest resource and arguments of a call that are compared with a token, in bytes."""


@dataclass(frozen=True)
class RequestedCall:
    """The call that a client wants to make with a token."""

    command: str
    resource: Mapping[str, Any]
    args: Mapping[str, Any]
    require_signed_args: bool = False
    """Whether the token must sign every argument. If not, unsigned arguments may have any value."""


def canonical_call(asked: RequestedCall) -> tuple[Call | None, Denied | None]:
    """Return the call in canonical form, or the reason why no token can be for it."""
    resource, args = dict(asked.resource), dict(asked.args)
    if "resource" in args:
        return None, denied("resource_mismatch", "an argument must not be named resource", "args")
    name = resource.get("provider")
    provider = KNOWN.get(name) if isinstance(name, str) else None
    try:
        if provider is not None:
            resource = canonical_resource(provider, resource)
        whole = {"resource": resource, "args": args}
        if len(encode(whole)) > MAX_CALL:
            return None, denied(
                "resource_mismatch", f"the call is longer than {MAX_CALL} bytes", "args"
            )
        if is_deeper(whole, MAX_NESTING):
            return None, denied(
                "resource_mismatch", f"the call is nested deeper than {MAX_NESTING} levels", "args"
            )
        return Call(cmd=asked.command, resource=resource, args=args), None
    except InvalidRequest as error:
        # A provider names the fields at fault; `encode` does not.
        fields = [each for each in error.fields if each.startswith("resource.")]
        message = str(error) if fields else "the call is not plain JSON"
        return None, denied("resource_mismatch", message, fields[0] if fields else "args")
    except ValidationError:
        return None, denied("resource_mismatch", "the names in a call must be text", "args")
