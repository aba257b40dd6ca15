"""The Cedar schema of a catalog: the names that a policy can use, and their types.

    principal   Agent in [App]   delegationDepth, rootAgent, invokedBy, swarmId
    action      "/github/issue/list" in "/github/issue" in "/github"
    resource    one entity type per provider (`Github`) with the provider's fields
    context     cosigned, cosigner, argsBound, now, purpose, agent, rate

Every attribute is always there, so that a policy can read it without `has`, except a resource's
optional fields and the facts in `context.agent`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from nomos.errors import ConfigurationError
from nomos.resources import Catalog, Provider

FACT_TYPES: Final = ("String", "Long", "Bool", "Set<String>")
"""The types that an operator can declare for a fact in `context.agent`."""

NO_FACTS: Final[Mapping[str, str]] = MappingProxyType({})

RESERVED_KINDS: Final = frozenset(
    {"Action", "Agent", "App", "Bool", "Boolean", "Entity", "Extension", "Long", "Record"}
    | {"Set", "String"}
)
"""Entity types that a provider cannot have: those of this schema, and Cedar's own names."""

_FACT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TYPES: Final = {"string": "String", "path": "String", "integer": "Long"}

_ENTITIES = """\
entity App;
entity Agent in [App] {
  delegationDepth: Long,
  rootAgent: String,
  invokedBy: Set<String>,
  swarmId: String,
};
"""

_CONTEXT = """\
type context = {{
  cosigned: Bool,
  cosigner: Bool,
  argsBound: Bool,
  now: {{ epoch: Long, hour: Long, dayOfWeek: Long }},
  purpose: String,
  agent: {{ {facts} }},
  rate: Long,
}};
"""


def generate(catalog: Catalog, facts: Mapping[str, str] = NO_FACTS) -> str:
    """Return the schema's text; `facts` are the optional attributes of `context.agent`.

    Raises ConfigurationError for a fact's name or type, or two providers of one entity type.
    """
    parts = [_ENTITIES, _CONTEXT.format(facts=_facts(facts))]
    kinds: dict[str, str] = {}
    for name in sorted(catalog):
        provider = catalog[name]
        if provider.kind in RESERVED_KINDS or provider.kind in kinds:
            other = kinds.get(provider.kind, "Cedar's own types")
            raise ConfigurationError(
                f"provider {name}: its entity type {provider.kind} clashes with {other}; "
                "rename the provider",
                setting="providers",
            )
        kinds[provider.kind] = f"provider {name}"
        parts.append(_entity(provider))
        parts.extend(_actions(provider))
    return "".join(parts)


_ATTRIBUTE = re.compile(r"^  (\w+): ", re.MULTILINE)


def attributes(catalog: Catalog, facts: Mapping[str, str] = NO_FACTS) -> frozenset[str]:
    """Return every attribute name of a principal, resource or context."""
    ours = _ATTRIBUTE.findall(_ENTITIES + _CONTEXT)
    fields = [name for provider in catalog.values() for name in provider.fields]
    return frozenset({*ours, *fields, *facts, "epoch", "hour", "dayOfWeek"})


def _facts(facts: Mapping[str, str]) -> str:
    for name, kind in facts.items():
        if not _FACT_NAME.fullmatch(name):
            raise ConfigurationError(
                f"fact {name!r}: a name must be at most 64 letters, digits and _", setting="facts"
            )
        if kind not in FACT_TYPES:
            raise ConfigurationError(
                f"fact {name}: {kind!r} is not one of {', '.join(FACT_TYPES)}", setting="facts"
            )
    return ", ".join(f'"{name}"?: {facts[name]}' for name in sorted(facts))


def _entity(provider: Provider) -> str:
    lines = [
        f'  "{name}"{"" if field.required else "?"}: {_TYPES[field.type]},\n'
        for name, field in provider.fields.items()
    ]
    return f"entity {provider.kind} {{\n{''.join(lines)}}};\n"


def _actions(provider: Provider) -> list[str]:
    """Return one action per command, and one per prefix of commands for use with `in`."""
    groups = {name[:end] for name in provider.commands for end in _segment_ends(name)}
    lines = []
    for name in sorted(groups | set(provider.commands)):
        parent = name.rpartition("/")[0]
        line = f'action "{name}"'
        if parent:
            line += f' in [Action::"{parent}"]'
        if name in provider.commands:
            line += (
                f" appliesTo {{ principal: Agent, resource: {provider.kind}, context: context }}"
            )
        lines.append(f"{line};\n")
    return lines


def _segment_ends(name: str) -> list[int]:
    return [position for position, character in enumerate(name) if character == "/" and position]
