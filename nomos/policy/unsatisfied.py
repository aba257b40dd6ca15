"""Errors about conditions that no call can meet, although they have the right types.

Cedar evaluates them to false, and a forbid that never holds looks like one that does. A resource is
compared by its fields in canonical form: it has no id that a policy could name, and a field never
has a value such as "/reports/x" or "Acme". A call is of a command, never of a group.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from nomos.errors import InvalidRequest
from nomos.policy.tree import ACTION, RESOURCE, STAR, WILDCARD, Node, comparisons, nodes, providers
from nomos.resources import Catalog, Provider, canonical_resource, commands_under, find_command

MAX_SHOWN: Final = 80  # characters of a literal in a message
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', WILDCARD: "*", STAR: "\\*"}
_FORMS: Final = {
    "path": "a path is relative to its root and in its shortest form",
    "lower": "it is compared in lower case",
}


def unsatisfied_conditions(body: Node, catalog: Catalog) -> Iterator[str]:
    """Yield each problem of one parsed policy once."""
    yield from sorted({*_ids(body, catalog), *_literals(body, catalog), *_groups(body, catalog)})


def unknown_names(body: Node, attributes: Collection[str]) -> Iterator[str]:
    """Yield names tested with `has` that are not attributes: Cedar evaluates that to false."""
    asked = {node["has"]["attr"] for node in nodes(body) if "has" in node}
    for name in sorted(asked - set(attributes)):
        yield f"`has {name}` is never true: nothing has an attribute of that name"


def group(name: str, catalog: Catalog) -> str | None:
    """Return what to write if an action of this name is a group of commands; None if it is not."""
    if find_command(catalog, name) is not None or not commands_under(catalog, name):
        return None
    return f'{name} is a group of commands, not a command: write `action in Action::"{name}"`'


def _groups(body: Node, catalog: Catalog) -> Iterator[str]:
    for each in comparisons(body):
        entity = each.entity
        if each.subject == ACTION and each.operator != "in" and entity is not None:
            wrong = group(entity["id"], catalog)
            yield from [wrong] if wrong else []


def _ids(body: Node, catalog: Catalog) -> Iterator[str]:
    scope = body["resource"]
    if found := (scope if "entity" in scope else scope.get("in")):
        yield _id("==" if scope["op"] == "==" else "in", found["entity"], catalog)
    for each in comparisons(body):
        if each.subject == RESOURCE and each.entity is not None:
            yield _id(each.operator, each.entity, catalog)


def _id(operator: str, entity: Mapping[str, str], catalog: Catalog) -> str:
    which = f"{entity['type']}::{_quoted(entity['id'])}"
    text = f"a policy cannot name a resource by id, so no resource is {which}; "
    for provider in catalog.values():
        if provider.kind == entity["type"]:
            fields = _fields(provider, operator, entity["id"])
            return f"{text}write `resource is {provider.kind}` and `when {{ {fields} }}`"
    return f"{text}write `resource is …` and compare its fields: `when {{ resource.… == … }}`"


def _fields(provider: Provider, operator: str, name: str) -> str:
    """Return the comparison of fields that is probably meant by an id of this name."""
    required = [each for each, field in provider.fields.items() if field.required]
    if len(required) != 1:
        return " && ".join(f"resource.{each} == …" for each in required or ["…"])
    [field] = required
    try:
        value = _right(provider, field, name)
    except InvalidRequest:
        return f"resource.{field} == …"
    equal = f"resource.{field} == {_quoted(value)}"
    if operator == "in" and value and provider.fields[field].type == "path":
        inside = f"{value.replace('*', STAR)}/{WILDCARD}"
        return f"{equal} || resource.{field} like {_quoted(inside)}"
    return equal


def _literals(body: Node, catalog: Catalog) -> Iterator[str]:
    concerned = providers(body, catalog)
    for each in comparisons(body):
        name, value, like = each.field, each.value, each.operator == "like"
        if name is None or not isinstance(value, str) or not value:
            continue  # a field that the command does not take is ""
        having = [provider for provider in concerned if name in provider.fields]
        wrong = [_wrong(provider, name, value, like=like) for provider in having]
        # No problem if one of the providers can have the value: that one may be meant.
        if wrong and wrong[0] is not None and all(wrong):
            yield wrong[0]


def _wrong(provider: Provider, name: str, text: str, *, like: bool) -> str | None:
    """Return why the field is never like `text`, and what to write instead; None if it can be."""
    field = provider.fields[name]
    if field.type == "integer":
        return None  # Cedar itself reports a comparison with a text
    if like:  # the representation of `*` need not match
        field = field.model_copy(update={"pattern": None})
        provider = provider.model_copy(update={"fields": {name: field}})
    never = f"resource.{name} is never {'like ' if like else ''}{_quoted(text)}"
    try:
        right = _right(provider, name, text)
    except InvalidRequest as error:
        return f"{never}: it {str(error).removeprefix(f'resource.{name} ')}"
    if right == text:
        return None
    form = _FORMS["path" if field.type == "path" else "lower"]
    return f"{never}: {form}; write {_quoted(right)}"


def _right(provider: Provider, name: str, text: str) -> str:
    """Return the canonical form of the field; of a path, the one that is probably meant."""
    try:
        return _canonical(provider, name, text)
    except InvalidRequest:
        if provider.fields[name].type != "path":
            raise
    plain = text.replace("\\", "/")
    segments = [each for each in plain.split("/") if each not in ("", ".")]
    rest = [WILDCARD] if WILDCARD in plain and plain.endswith("/") else []
    return _canonical(provider, name, "/".join(segments + rest))


def _canonical(provider: Provider, name: str, text: str) -> str:
    return str(canonical_resource(provider, {"provider": provider.name, name: text})[name])


def _quoted(text: str) -> str:
    """Return a literal as in a policy, shortened, with unprintable characters escaped."""
    if len(text) > MAX_SHOWN:
        text = f"{text[:MAX_SHOWN]}…"
    for character, written in _ESCAPES.items():
        text = text.replace(character, written)
    return f'"{"".join(map(_printable, text))}"'


def _printable(character: str) -> str:
    return character if character.isprintable() else f"\\u{{{ord(character):x}}}"
