"""Capabilities for a child in the form that people write them, parsed to `Capability`.

    {"with": "github://acme/app", "can": "repo:read"}         /github/repo/read on that repository
    {"with": "filesystem:///notes", "can": "*"}               all of /filesystem under /notes
    {"command": "/tickets/list", "resource": {"provider": "tickets", "queue": "a"}}

`with` is a URL; its scheme names a provider that is built in. `can` is a command path under that
provider, with `:` between segments and `*` for all commands under it, or a whole command. Both
forms take `args` (each named argument must have that value), `constraints` (of `nomos.constraints`)
and `pol` (UCAN 1.0 policy statements).

Ambiguous input is an error: the result never covers more than what was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from nomos._limits import MAX_STATEMENTS
from nomos._pol.values import plain
from nomos.constraints import listed
from nomos.errors import ConfigurationError, InvalidRequest
from nomos.models import Capability, Resource
from nomos.resources import FILESYSTEM, GITHUB, KNOWN, Provider, canonical_resource, provider_name

MAX_CAPABILITIES: Final = 64
"""Capabilities of one child: each becomes a chain, and no more chains can be passed on."""

MAX_LEVELS: Final = 32
"""Levels of nesting in one value."""

_NARROWING: Final = frozenset(("args", "constraints", "pol"))
"""Members that restrict the calls, beside command and resource."""

_COMMAND: Final = re.compile(r"/[a-z0-9_-]+(?:/[a-z0-9_-]+)*")
_CAN: Final = re.compile(r"(?:[a-z0-9_-]+:)*(?:[a-z0-9_-]+|\*)")
_WITH: Final = re.compile(r"([a-z0-9_-]+)://(.*)")
_ARGUMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_UNREADABLE: Final = re.compile(r"[%?#@*\\\s\x00-\x1f\x7f]")

_Fields = Callable[[str], Resource]


def parse(values: object, *, where: str = "capabilities") -> tuple[Capability, ...]:
    """Return the capabilities in the order given; a `Capability` is accepted as it is.

    Raises `ConfigurationError`, whose `setting` is the place: `capabilities[0].can`.
    """
    if isinstance(values, Mapping | str | bytes) or not isinstance(values, Sequence):
        _invalid(
            where, 'must be a list such as [{"with": "github://acme/app", "can": "repo:read"}]'
        )
    if not 1 <= len(values) <= MAX_CAPABILITIES:
        _invalid(where, f"must hold 1 to {MAX_CAPABILITIES} capabilities, and holds {len(values)}")
    return tuple(_capability(value, f"{where}[{index}]") for index, value in enumerate(values))


def _capability(value: object, where: str) -> Capability:
    if isinstance(value, Capability):
        value = {"command": value.command, "resource": value.resource, "pol": value.pol}
    if not isinstance(value, Mapping):
        _invalid(
            where, 'must be a mapping such as {"with": "github://acme/app", "can": "repo:read"}'
        )
    members = set(value)
    if {"with", "can"} <= members <= {"with", "can", *_NARROWING}:
        command, resource = _by_name(value["with"], value["can"], where)
    elif {"command", "resource"} <= members <= {"command", "resource", *_NARROWING}:
        command, resource = _by_command(value["command"], value["resource"], where)
    else:
        _invalid(
            where,
            'must have "with" and "can", or "command" and "resource"; it may also have "args", '
            '"constraints" and "pol", and no other member',
        )
    statements = (
        *_arguments(value.get("args", {}), f"{where}.args"),
        *listed(value.get("constraints", ()), f"{where}.constraints"),
        *_statements(value.get("pol", ()), f"{where}.pol"),
    )
    return Capability(command, resource, statements)


def _by_name(named: object, can: object, where: str) -> tuple[str, Resource]:
    found = _WITH.fullmatch(named) if isinstance(named, str) else None
    if found is None or _UNREADABLE.search(found[2]):
        _invalid(
            f"{where}.with",
            "must be <provider>://<resource>, such as github://acme/app, without spaces or any of "
            "% ? # @ * \\",
        )
    provider, rest = found.groups()
    if provider not in _WITH_TABLES:
        _invalid(
            f"{where}.with",
            f"has no table for {provider}: it is {' or '.join(f'{one}://' for one in _WITH_TABLES)}"
            '. For another provider, write {"command": "/…", "resource": {…}}',
        )
    table, fields = _WITH_TABLES[provider]
    command = _command(can, provider, f"{where}.can")
    try:
        return command, canonical_resource(table, {"provider": provider, **fields(rest)})
    except (InvalidRequest, ValueError) as error:
        _invalid(f"{where}.with", f"names no resource of {provider}: {error}")


def _command(can: object, provider: str, where: str) -> str:
    if not isinstance(can, str) or len(can) > MAX_COMMAND:
        _invalid(where, _CAN_FORM)
    if can.startswith("/"):
        if not _COMMAND.fullmatch(can):
            _invalid(where, _CAN_FORM)
        if provider_name(can) != provider:
            _invalid(
                where,
                f"is {can}, a command of {provider_name(can)}, and its resource is one of "
                f"{provider}: a capability is for one provider",
            )
        return can
    if not _CAN.fullmatch(can):
        _invalid(where, _CAN_FORM)
    segments = [one for one in can.split(":") if one != "*"]
    command = "/" + "/".join((provider, *segments))
    if len(command) > MAX_COMMAND:
        _invalid(where, _CAN_FORM)
    return command


def _by_command(command: object, resource: object, where: str) -> tuple[str, Resource]:
    if (
        not isinstance(command, str)
        or len(command) > MAX_COMMAND
        or not _COMMAND.fullmatch(command)
    ):
        _invalid(
            f"{where}.command",
            "must be a path of lower-case words, such as /github/issue, for it and all under it",
        )
    provider = provider_name(command)
    if not isinstance(resource, Mapping) or resource.get("provider") != provider:
        _invalid(
            f"{where}.resource",
            f'must be a mapping with "provider": "{provider}", the first segment of the command',
        )
    table = KNOWN.get(provider)
    if table is None:
        return command, _declared(resource, f"{where}.resource")
    try:
        return command, canonical_resource(table, resource)
    except InvalidRequest as error:
        field = error.fields[0] if error.fields else "resource"
        _invalid(f"{where}.{field}", f"cannot be: {error}")


def _declared(resource: Mapping[Any, Any], where: str) -> Resource:
    """Return a resource of a provider that only the server knows: names with plain values."""
    for name, value in resource.items():
        simple = isinstance(value, str | int) and not isinstance(value, bool)
        if not isinstance(name, str) or not simple:
            _invalid(where, "must have names as keys, and text or whole numbers as values")
    return dict(plain(resource, where, MAX_LEVELS))


def _arguments(args: object, where: str) -> list[Any]:
    if not isinstance(args, Mapping):
        _invalid(where, 'must be a mapping such as {"state": "open"}')
    if len(args) > MAX_STATEMENTS:
        _invalid(where, f"must name at most {MAX_STATEMENTS} arguments")
    for name in args:
        if not isinstance(name, str) or not _ARGUMENT.fullmatch(name) or name == "resource":
            _invalid(where, "must be names of arguments: letters, digits and _, and not resource")
    return [
        ["==", f".args.{name}", plain(value, where, MAX_LEVELS)] for name, value in args.items()
    ]


def _statements(pol: object, where: str) -> list[Any]:
    if not isinstance(pol, list | tuple):
        _invalid(where, 'must be a list of statements such as [["==", ".args.state", "open"]]')
    if len(pol) > MAX_STATEMENTS:
        _invalid(where, f"must have at most {MAX_STATEMENTS} statements")
    return [plain(statement, where, MAX_LEVELS) for statement in pol]


def _repository(rest: str) -> Resource:
    owner, slash, repo = rest.partition("/")
    return {"owner": owner, **({"repo": repo} if slash else {})}


def _folder(rest: str) -> Resource:
    if not rest:
        raise ValueError("write filesystem:/// for the root folder of the provider")
    return {"path": rest}


def _invalid(setting: str, sentence: str) -> NoReturn:
    raise ConfigurationError(f"{setting} {sentence}", setting=setting)


MAX_COMMAND: Final = 256

_CAN_FORM: Final = (
    "must name commands, such as repo:read (/github/repo/read), repo:* (all under "
    "/github/repo), * (all of the provider), or a command such as /github/repo/read"
)

_WITH_TABLES: Final[Mapping[str, tuple[Provider, _Fields]]] = {
    "github": (GITHUB, _repository),
    "filesystem": (FILESYSTEM, _folder),
}
"""For each `<provider>://`: its table, and the function that reads the rest of the URL."""
