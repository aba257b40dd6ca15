"""Providers, their resource fields and commands, and the canonical form of a resource.

A provider is a table: which fields identify its resources, which commands it has, and what each
command takes. `github` and `filesystem` are built in; the server reads other providers, and all
commands, from YAML into the same types.

`canonical_resource` runs before any other code reads a resource: approvals, policy, signing and the
PDP's comparison all use the form that it returns.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from nomos._identifiers import SHA256
from nomos._limits import MAX_INTEGER
from nomos.errors import InvalidRequest
from nomos.models import Command as CommandName
from nomos.models import Resource, Value
from nomos.reserved import is_reserved

MAX_FIELD: Final = 1024
"""Characters in one string field."""

MAX_ARGUMENT: Final = 64 * 1024
"""Characters in one string argument that is not bound by its digest."""

MAX_ITEMS: Final = 100
"""Strings in one list argument, and names in one resource or one call."""

FieldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class ResourceField(Value):
    """One field of a provider's resources.

    `string`: not empty, no control characters. `integer`: 0 to 2^53-1. `path`: segments with `/`
    between them, never `.` or `..`, empty for the root itself.

    `required`: policy may read the field without testing whether it is there. Each command declares
    the fields that it takes; in policy, a string field that a command does not take is "".
    `pattern` must match the whole value, after `case` was applied.
    """

    type: Literal["string", "integer", "path"] = "string"
    required: bool = False
    case: Literal["preserve", "lower"] = "preserve"
    pattern: str | None = None


class Argument(Value):
    """One parameter of a call beside its resource. `digest`: its sha256 is bound, not its text."""

    type: Literal["string", "integer", "boolean", "strings"] = "string"
    required: bool = False
    place: Literal["query", "body"] = "query"
    digest: Literal["sha256"] | None = None


class Upstream(Value):
    """The HTTP request that serves a command: `/repos/{owner}/{repo}/issues`.

    `result` names the member under which a list is returned (`issues`).
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    result: str | None = None


class CommandSpec(Value):
    """One command: its resource fields, its arguments and its risk.

    `resource` lists the required fields, `optional` those that may be given. A command without
    `upstream` can be decided on, but the built-in PDP does not serve it.
    """

    name: CommandName
    risk: Literal["read", "write", "destructive"]
    description: str = ""
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    resource: tuple[FieldName, ...] = ()
    optional: tuple[FieldName, ...] = ()
    args: Mapping[FieldName, Argument] = Field(default_factory=dict)
    upstream: Upstream | None = None


class Provider(Value):
    """One kind of resource, and the commands on it.

    `kind` is its Cedar entity type (`Github`). `handler` names the part of the PDP that serves it.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]
    kind: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$")]
    fields: Mapping[FieldName, ResourceField]
    commands: Mapping[str, CommandSpec] = Field(default_factory=dict)
    handler: Literal["http", "filesystem"] = "http"


Catalog = Mapping[str, Provider]
"""Providers by name."""


GITHUB: Final = Provider(
    name="github",
    kind="Github",
    fields={
        "owner": ResourceField(required=True, case="lower", pattern=r"[a-z0-9_-]{1,100}"),
        "repo": ResourceField(
            required=True,
            case="lower",
            pattern=r"[a-z0-9_-][a-z0-9._-]{0,99}|\.[a-z0-9_-][a-z0-9._-]{0,98}",
        ),
        "issue_number": ResourceField(type="integer"),
        "pull_number": ResourceField(type="integer"),
        "path": ResourceField(type="path"),
        "ref": ResourceField(),
        "workflow": ResourceField(pattern=r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}"),
    },
)
"""Fields of a GitHub resource; owner and repository names are case-insensitive there."""

FILESYSTEM: Final = Provider(
    name="filesystem",
    kind="Filesystem",
    fields={"path": ResourceField(type="path", required=True)},
    handler="filesystem",
)
"""Files under one folder; the PDP opens that folder as the root of every path."""

KNOWN: Final[Catalog] = {each.name: each for each in (GITHUB, FILESYSTEM)}
"""The built-in providers: their resources have a canonical form on the client side, too."""


def canonical_resource(
    provider: Provider, resource: Mapping[str, object], command: CommandSpec | None = None
) -> Resource:
    """Return the canonical form of `resource`: `provider`, then its fields in declared order.

    With `command`, the resource has exactly the fields that the command takes; without, any of the
    provider's. Applying it twice changes nothing.

    Raises:
        InvalidRequest: a field is unknown, missing, null, of another type, or ambiguous in form;
            `fields` names each (`resource.repo`).
    """
    takes = provider.fields if command is None else (*command.resource, *command.optional)
    readers: dict[str, _Reader] = {"provider": _provider_reader(provider)}
    for name, field in provider.fields.items():
        if name in takes:
            readers[name] = _field_reader(field, provider)
    subject = provider.name if command is None else command.name
    required = () if command is None else command.resource
    return _read("resource", resource, readers, ("provider", *required), subject)


def canonical_args(
    command: CommandSpec, args: Mapping[str, object], *, complete: bool = False
) -> dict[str, object]:
    """Return the canonical form of the call's other parameters, in declared order.

    An argument declared `digest: sha256` becomes `{"sha256": "<hex>"}` of its UTF-8 text; a digest
    that was given is kept. With `complete`, required arguments must be there.

    Raises:
        InvalidRequest: an argument is undeclared, missing, null or of another type.
    """
    readers = {name: _argument_reader(argument) for name, argument in command.args.items()}
    required = [name for name, argument in command.args.items() if argument.required]
    return _read("args", args, readers, required if complete else (), command.name)


def find_command(catalog: Catalog, name: str) -> tuple[Provider, CommandSpec] | None:
    """Return the command of exactly this name with its provider, or None."""
    provider = catalog.get(provider_name(name))
    spec = None if provider is None else provider.commands.get(name)
    return None if provider is None or spec is None else (provider, spec)


def commands_under(catalog: Catalog, prefix: str) -> tuple[str, ...]:
    """Return the registered commands that are `prefix` or under it, by whole segments, sorted."""
    provider = catalog.get(provider_name(prefix))
    if provider is None:
        return ()
    return tuple(
        sorted(
            name for name in provider.commands if name == prefix or name.startswith(f"{prefix}/")
        )
    )


def nearest_command(catalog: Catalog, name: str) -> str | None:
    """Return the registered command most similar to `name`, for messages; None without one."""
    found = nearest_commands(catalog, name)
    return found[0] if found else None


def nearest_commands(catalog: Catalog, name: str) -> list[str]:
    """Return up to three registered commands similar to `name`, the most similar first."""
    names = [command for provider in catalog.values() for command in provider.commands]
    return difflib.get_close_matches(name[:256], names, n=3)


def provider_name(command: str) -> str:
    """Return a command's first segment: `github` for `/github/issue/list`."""
    return command[1:].split("/", 1)[0]


_Reader = Callable[[object], object]
"""Takes a value as given; returns its canonical form or raises `_InvalidValue`."""


class _InvalidValue(ValueError):
    """A value is invalid; the message continues a sentence that begins with the value's name."""


def _read(
    root: str,
    given: object,
    readers: Mapping[str, _Reader],
    required: Collection[str],
    subject: str,
) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidRequest(f"{root} must be a JSON object", fields=(root,))
    if len(given) > MAX_ITEMS:
        raise InvalidRequest(f"{root} has more than {MAX_ITEMS} members", fields=(root,))
    found: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, value in given.items():
        if name not in readers:
            problems[f"{root}.{_shown(name)}"] = _undeclared(name, readers, subject)
            continue
        try:
            found[name] = readers[name](value)
        except _InvalidValue as wrong:
            problems[f"{root}.{name}"] = str(wrong)
    for name in required:
        if name not in given:
            problems[f"{root}.{name}"] = f"is missing: {subject} requires it"
    if problems:
        sentences = "; ".join(f"{path} {what}" for path, what in problems.items())
        raise InvalidRequest(sentences, fields=tuple(problems))
    return {name: found[name] for name in readers if name in found}


def _shown(name: object) -> str:
    """Return a name from outside in a short, printable form."""
    if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        return name
    return ascii(name)[:64]


def _undeclared(name: object, readers: Mapping[str, _Reader], subject: str) -> str:
    close = difflib.get_close_matches(str(name)[:64], readers, n=1)
    hint = f"did you mean {close[0]}" if close else f"it takes {', '.join(readers) or 'nothing'}"
    return f"is not taken by {subject}: {hint}"


def _provider_reader(provider: Provider) -> _Reader:
    def read(value: object) -> str:
        if value != provider.name or not isinstance(value, str):
            raise _InvalidValue(f"must be {provider.name}, the first segment of the command")
        return value

    return read


def _field_reader(field: ResourceField, provider: Provider) -> _Reader:
    if field.type == "integer":
        return lambda value: _integer(value, 0)
    if field.type == "path":
        return _workspace_path if provider.handler == "filesystem" else _path
    return lambda value: _text_field(value, field)


def _text_field(value: object, field: ResourceField) -> str:
    text = _plain_text(value)
    if field.case == "lower":
        # Checked again: lower case can be longer, and need not be in composed form.
        text = _plain_text(text.lower())
    if not text:
        raise _InvalidValue("must not be empty")
    if field.pattern is not None and not re.fullmatch(field.pattern, text):
        raise _InvalidValue(
            f"has a form that this field does not accept: it must match {field.pattern}"
        )
    return text


_UNREADABLE = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that reorder displayed text: an approver would read another name."""


def _plain_text(value: object) -> str:
    text = _string(value, MAX_FIELD)
    if text.isascii() and text.isprintable():
        return text
    for character in text:
        if unicodedata.category(character) in ("Cc", "Zl", "Zp") or character in _UNREADABLE:
            raise _InvalidValue("has control characters")
    if not unicodedata.is_normalized("NFC", text):
        raise _InvalidValue("is not in Unicode's composed form (NFC)")
    return text


_HIDDEN = re.compile(r"%(?:2e|2f|5c|00|25)", re.IGNORECASE)
"""Percent-encoded dots, separators, NUL and percent signs: one more decoding would reveal them."""


def _path(value: object) -> str:
    text = _plain_text(value)
    if "\\" in text or _HIDDEN.search(text):
        raise _InvalidValue("must separate its segments by plain /, with nothing percent-encoded")
    for start in ("/", "./"):
        if text.startswith(start):
            text = text.removeprefix(start)
            break
    if text in ("", "."):
        return ""
    segments = text.split("/")
    if ".." in segments:
        raise _InvalidValue("must not contain ..")
    if "" in segments or "." in segments:
        raise _InvalidValue("must be in its shortest form: no //, no /./ and no / at its end")
    return text


def _workspace_path(value: object) -> str:
    path = _path(value)
    if any(map(is_reserved, path.split("/"))):
        raise _InvalidValue("contains a reserved name: no segment may begin with .nomos-")
    return path


def _argument_reader(argument: Argument) -> _Reader:
    if argument.digest is not None:
        return _digest
    return _ARGUMENTS[argument.type]


def _digest(value: object) -> dict[str, str]:
    if isinstance(value, Mapping):
        digest = value.get("sha256")
        if len(value) != 1 or not isinstance(digest, str) or not SHA256.fullmatch(digest):
            raise _InvalidValue('must be text, or {"sha256": "<64 lower-case hex digits>"}')
        return {"sha256": digest}
    return {"sha256": hashlib.sha256(_string(value, None).encode()).hexdigest()}


def _string(value: object, limit: int | None) -> str:
    if not isinstance(value, str):
        raise _InvalidValue(f"must be a string, not {_kind(value)}")
    if limit is not None and len(value) > limit:
        raise _InvalidValue(f"is longer than {limit} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _InvalidValue("has half of a surrogate pair") from None
    return str(value)


def _integer(value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _InvalidValue(f"must be a whole number, not {_kind(value)}")
    if not least <= value <= MAX_INTEGER:
        raise _InvalidValue(f"must be between {least} and {MAX_INTEGER}")
    return int(value)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise _InvalidValue(f"must be true or false, not {_kind(value)}")
    return value


def _strings(value: object) -> list[str]:
    if not isinstance(value, list | tuple):
        raise _InvalidValue(f"must be a list of strings, not {_kind(value)}")
    if len(value) > MAX_ITEMS:
        raise _InvalidValue(f"has more than {MAX_ITEMS} items")
    return [_string(item, MAX_FIELD) for item in value]


_ARGUMENTS: Final[Mapping[str, _Reader]] = {
    "string": lambda value: _string(value, MAX_ARGUMENT),
    "integer": lambda value: _integer(value, -MAX_INTEGER),
    "boolean": _boolean,
    "strings": _strings,
}


def _kind(value: object) -> str:
    """Return the JSON name of a value's type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an object" if isinstance(value, Mapping) else "a list"
