"""A question to policy as people write it, in a test file or on the command line.

It is read as the server reads questions: resource and arguments are made canonical first, and
errors have the same messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from nomos._limits import MAX_INTEGER
from nomos.errors import InvalidRequest
from nomos.models import MAX_ARGS_BYTES, MAX_CONTEXT_BYTES, MAX_PURPOSE, Command, Did, Value
from nomos.policy.decision import PolicyQuestion
from nomos.resources import (
    Catalog,
    canonical_args,
    canonical_resource,
    commands_under,
    find_command,
    provider_name,
)

AGENT: Final = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
"""The agent of a question that names none."""

APP: Final = "app_test"  # the app of a question that names none
NOW: Final = datetime(2026, 1, 5, 9, tzinfo=UTC)
"""The time of a question that names none: a Monday at 09:00, so that decisions stay the same."""

MAX_LISTED: Final = 12  # names that one message lists
_Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]


class PolicyRequest(Value):
    """A question, with the names of the protocol; members that are left out have defaults."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=False, strict=True)

    command: Command
    resource: dict[str, Any]
    agent: Did = AGENT
    app: _Name = APP
    args: dict[str, Any] | None = None
    purpose: Annotated[str, Field(max_length=MAX_PURPOSE)] | None = None
    context: dict[str, Any] = Field(default_factory=dict)
    now: AwareDatetime = NOW
    rate: _Count = 0
    delegation_depth: _Count = 0
    root_agent: Did | None = None
    invoked_by: list[str] = Field(default_factory=list, max_length=64)
    swarm_id: _Name | None = None

    def inquiry(self, catalog: Catalog) -> PolicyQuestion:
        """Return the question in canonical form; raise `InvalidRequest` as the server would."""
        provider = catalog.get(provider_name(self.command))
        if provider is None:
            known = ", ".join(sorted(catalog)[:MAX_LISTED])
            name = provider_name(self.command)
            raise InvalidRequest(
                f"command: unknown provider {name}; known are {known}", fields=("command",)
            )
        found = find_command(catalog, self.command)
        covered = commands_under(catalog, self.command)
        if found is None and covered:
            some = ", ".join(covered[:MAX_LISTED])
            raise InvalidRequest(
                f"command: {self.command} is a group of commands; name one of {some}",
                fields=("command",),
            )
        for name, value, most in (
            ("args", self.args, MAX_ARGS_BYTES),
            ("context", self.context, MAX_CONTEXT_BYTES),
        ):
            if _size(name, value) > most:
                raise InvalidRequest(f"{name}: is larger than {most} bytes", fields=(name,))
        spec = None if found is None else found[1]
        if spec is not None and self.args is not None:
            canonical_args(spec, self.args, complete=spec.risk != "read")
        return PolicyQuestion(
            agent=self.agent,
            app=self.app,
            command=self.command,
            provider=provider.name,
            resource=canonical_resource(provider, self.resource, spec),
            args_bound=self.args is not None,
            now=int(self.now.timestamp()),
            purpose=self.purpose,
            facts=self.context,
            rate=self.rate,
            delegation_depth=self.delegation_depth,
            root_agent=self.root_agent,
            invoked_by=tuple(self.invoked_by),
            swarm_id=self.swarm_id,
        )


def parse(members: Mapping[str, Any]) -> PolicyRequest:
    """Parse one question. Raises `InvalidRequest` naming every member that is wrong."""
    return validated(PolicyRequest, members)


def _size(name: str, value: object) -> int:
    try:
        return len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError):  # such as a date, which YAML has
        raise InvalidRequest(f"{name}: contains a value that is not JSON", fields=(name,)) from None


T = TypeVar("T", bound=PolicyRequest)


def validated(kind: type[T], members: Mapping[str, Any]) -> T:
    """Validate `members` as `kind`; a member without a value is an error, not absent."""
    empty = [name for name, value in members.items() if value is None]
    if empty:
        raise InvalidRequest(f"{empty[0]}: has no value; leave it out instead", fields=empty[:1])
    try:
        return kind.model_validate(dict(members))
    except ValidationError as invalid:
        problems = invalid.errors(include_url=False, include_input=False, include_context=False)
        fields = [".".join(str(part) for part in each["loc"]) for each in problems]
        sentences = [
            f"{field}: {_SENTENCES.get(each['type'], each['msg'])}"
            for field, each in zip(fields, problems, strict=True)
        ]
        raise InvalidRequest("; ".join(sentences), fields=fields) from None


_SENTENCES: Final = {
    "missing": "is required",
    "extra_forbidden": "is not a member of this format",
    "timezone_aware": "needs a time zone, such as 2026-01-05T09:00:00Z",
}
