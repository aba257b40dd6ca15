"""`load_catalog`: providers and their commands, from the built-in YAML files and a folder.

`github.yaml` explains the format. A file is read strictly: unknown and repeated keys, anchors, and
fields and arguments that do not fit together are errors that name the file and the key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final, Literal

import yaml
from pydantic import Field, ValidationError

from nomos.errors import ConfigurationError
from nomos.models import Command, Value
from nomos.policy.schema import RESERVED_KINDS
from nomos.resources import (
    FILESYSTEM,
    GITHUB,
    Argument,
    Catalog,
    CommandSpec,
    FieldName,
    Provider,
    ResourceField,
)

RESERVED_NAMES: Final = frozenset(
    {"v1", "approvals", "healthz", "readyz", "metrics", "docs", "nomos", "ucan"}
)
"""First segments of the servers' own routes."""

MAX_FILE: Final = 256 * 1024  # the maximum size of one provider's file, in bytes
BUILT_IN: Final[Mapping[str, Provider]] = {"github": GITHUB, "filesystem": FILESYSTEM}

_Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class _Upstream(Value):
    path: str = Field(pattern=r"^/[A-Za-z0-9/{}_.~:@!$&'()*+,;=-]*$", max_length=512)
    method: _Method | None = None
    result: FieldName | None = None


class _Command(Value):
    description: str = Field(default="", max_length=200)
    risk: Literal["read", "write", "destructive"]
    method: _Method = "GET"
    resource: tuple[FieldName, ...] = ()
    optional: tuple[FieldName, ...] = ()
    args: dict[FieldName, Argument] = Field(default_factory=dict, max_length=64)
    upstream: _Upstream | None = None


class _Document(Value):
    """The content of one file."""

    provider: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    handler: Literal["http", "filesystem"] = "http"
    fields: dict[FieldName, ResourceField] | None = Field(default=None, max_length=64)
    commands: dict[Command, _Command] = Field(min_length=1, max_length=500)


class _InvalidCatalog(Exception):
    """An error in a file, with its key."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}" if key else message)


def load_catalog(folder: Path | None = None) -> Catalog:
    """Return the built-in providers and those of the `*.yaml` and `*.yml` files in `folder`.

    Raises ConfigurationError for an invalid or clashing provider, naming the file and the key.
    """
    here = Path(__file__).parent
    catalog: dict[str, Provider] = {}
    for path in [*(here / f"{name}.yaml" for name in BUILT_IN), *_files(folder)]:
        try:
            document = _built_in(path) if path.parent == here else _read(path)
            _check_name(document.provider, catalog)
            built_in = BUILT_IN[document.provider] if path.parent == here else None
            catalog[document.provider] = _provider(document, built_in)
        except _InvalidCatalog as wrong:
            raise ConfigurationError(f"{path}: {wrong}", setting="providers") from None
    return catalog


def _files(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is not a folder of providers", setting="providers")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in (".yaml", ".yml"))


@cache
def _built_in(path: Path) -> _Document:
    """Read a built-in file, once in a process, and with the quick parser if it is there."""
    return _read(path, quick=True)


def _read(path: Path, *, quick: bool = False) -> _Document:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        return _Document.model_validate_json(_as_json(data, path.name, quick=quick), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise _InvalidCatalog(key, first["msg"]) from None
    except OSError as error:
        raise _InvalidCatalog("", f"cannot be read ({error.strerror})") from None
    except RecursionError:
        raise _InvalidCatalog("", "nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise _InvalidCatalog("", f"not YAML of this format: {error}") from None


def _as_json(data: bytes, name: str, *, quick: bool) -> str:
    """Do what yaml.safe_load does, but check the keys before they become mappings.

    Of two equal keys, safe_load would silently use the last. The quick parser does not name the
    file in its errors.
    """
    if len(data) > MAX_FILE:
        raise _InvalidCatalog("", f"larger than {MAX_FILE} bytes")
    loader: yaml.SafeLoader | yaml.CSafeLoader
    if quick and yaml.__with_libyaml__:
        loader = yaml.CSafeLoader(data.decode())
    else:
        loader = yaml.SafeLoader(data.decode())
        loader.name = name  # the file name in YAML errors
    node = loader.get_single_node()
    if node is None:
        raise _InvalidCatalog("", "empty")
    _check_keys(node, "", set())
    return json.dumps(loader.construct_document(node))


def _check_keys(node: yaml.Node, key: str, seen: set[int]) -> None:
    """Raise an error for repeated keys, keys that are not text, and anchors."""
    if id(node) in seen:
        raise _InvalidCatalog(key, "anchors and aliases are not supported; write the value out")
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            _check_keys(item, f"{key}.{place}", seen)
    elif isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for name, value in node.value:
            inner = f"{key}.{name.value}" if key else str(name.value)
            if name.tag != "tag:yaml.org,2002:str":
                raise _InvalidCatalog(inner, "this key is not text; put it in quotes")
            if name.value in names:
                raise _InvalidCatalog(inner, f"given twice (line {name.start_mark.line + 1})")
            names.add(name.value)
            _check_keys(value, inner, seen)


def _check_name(name: str, catalog: Catalog) -> None:
    if name in RESERVED_NAMES:
        raise _InvalidCatalog("provider", f"{name} is reserved for the servers' own routes")
    if name in catalog:
        raise _InvalidCatalog("provider", f"{name} is already defined")
    kind = _kind(name)
    clash = next((other.name for other in catalog.values() if other.kind == kind), None)
    if kind in RESERVED_KINDS or clash:
        owner = f"that of {clash}" if clash else "reserved"
        raise _InvalidCatalog(
            "provider", f"its type in policy, {kind}, is {owner}; rename the provider"
        )


def _kind(name: str) -> str:
    """Return the Cedar entity type of a provider's resources: `MyApi` for `my-api`."""
    return "".join(part.capitalize() for part in re.split("[_-]+", name))


def _provider(document: _Document, built_in: Provider | None) -> Provider:
    if built_in is None and document.fields is None:
        raise _InvalidCatalog("fields", "missing: declare the fields that identify a resource")
    if built_in is None and document.handler != "http":
        raise _InvalidCatalog("handler", "a provider is served over http; leave this key out")
    name = document.provider
    fields = (document.fields or {}) if built_in is None else built_in.fields
    for field_name, field in fields.items():
        for problem in _field_problems(field_name, field):
            raise _InvalidCatalog(f"fields.{field_name}", problem)
    for command, given in document.commands.items():
        if not command.startswith(f"/{name}/"):
            raise _InvalidCatalog(
                f"commands.{command}", f"commands of this provider begin with /{name}/"
            )
        for key, problem in _command_problems(given, fields):
            raise _InvalidCatalog(f"commands.{command}.{key}", problem)
    return Provider(
        name=name,
        kind=_kind(name),
        fields=dict(fields),
        commands={
            command: _command(command, given) for command, given in document.commands.items()
        },
        handler=document.handler,
    )


def _field_problems(name: str, field: ResourceField) -> Iterator[str]:
    if name == "provider":
        yield "this name is reserved: it names the provider of a resource"
    if name == "path" and field.type != "path":
        # A token that names a `path` covers everything under it, for every provider.
        yield "a field of this name covers everything under it: give it the type path, or rename it"
    if field.type != "string" and (field.pattern is not None or field.case != "preserve"):
        yield "pattern and case are for strings"
    if field.pattern is not None:
        try:
            re.compile(field.pattern)
        except re.error as error:
            yield f"the pattern is not a regular expression: {error}"


def _command_problems(
    given: _Command, fields: Mapping[str, ResourceField]
) -> Iterator[tuple[str, str]]:
    """Yield each inconsistency with its key."""
    yield from _resource_problems(given, fields)
    taken = {*given.resource, *given.optional, "resource", "provider"}
    for name, argument in given.args.items():
        if name in taken:
            yield f"args.{name}", "this name is reserved"
        if argument.digest is not None and argument.type != "string":
            yield f"args.{name}.digest", "only a string can be bound by its hash"
        if argument.place == "body" and given.method in ("GET", "DELETE"):
            yield f"args.{name}.place", f"a {given.method} has no body"
    if given.upstream is not None:
        yield from _template_problems(given, given.upstream.path)


def _resource_problems(
    given: _Command, fields: Mapping[str, ResourceField]
) -> Iterator[tuple[str, str]]:
    for key, names in (("resource", given.resource), ("optional", given.optional)):
        for name in names:
            if name not in fields:
                yield key, f"{name} is not a field of this provider"
            if (*given.resource, *given.optional).count(name) > 1:
                yield key, f"{name} is given twice"
    for name, field in fields.items():
        if field.required and field.type != "string" and name not in given.resource:
            yield "resource", f"{name} is required, and only a string can be left out"


_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def _template_problems(given: _Command, path: str) -> Iterator[tuple[str, str]]:
    certain = {*given.resource, *(name for name, arg in given.args.items() if arg.required)}
    for name in _PLACEHOLDER.findall(path):
        if name not in certain:
            yield "upstream.path", f"{{{name}}} is neither in resource nor a required argument"
    rest = _PLACEHOLDER.sub("x", path)
    if "{" in rest or "}" in rest:
        yield "upstream.path", "braces do not match"
    if any(segment in ("", ".", "..") for segment in rest[1:].split("/")) and rest != "/":
        yield "upstream.path", "has an empty segment, . or .."


def _command(name: str, given: _Command) -> CommandSpec:
    """Return the command's specification; the upstream's method is the command's by default."""
    values = given.model_dump()
    if given.upstream is not None:
        values["upstream"]["method"] = given.upstream.method or given.method
    return CommandSpec(name=name, **values)
