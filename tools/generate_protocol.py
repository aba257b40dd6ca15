"""Write the protocol's schema and its TypeScript from the one source, `nomos/_protocol.py`.

    python tools/generate_protocol.py            write both files
    python tools/generate_protocol.py --check    exit 1 if either differs from its source

`ucan-bin/protocol.schema.json` is JSON Schema for every message. `ucan-bin/src/protocol.gen.ts`
has a type for each of them and a validator for all that the binary receives; the validators
are made of the hand-written checks in `ucan-bin/src/schema.ts`, so nothing is needed at runtime.

The schema uses a small part of JSON Schema, and so does this generator: a keyword it does not
know is an error here, never a check left out there.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, get_args

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from nomos import _protocol

ROOT: Final = Path(__file__).resolve().parent.parent
SCHEMA_FILE: Final = ROOT / "ucan-bin" / "protocol.schema.json"
TYPESCRIPT_FILE: Final = ROOT / "ucan-bin" / "src" / "protocol.gen.ts"

REQUESTS: Final[tuple[type[_protocol.Request], ...]] = get_args(get_args(_protocol.AnyRequest)[0])
ANSWERS: Final = tuple(dict.fromkeys(request.answer for request in REQUESTS))
PAYLOADS: Final[tuple[type[BaseModel], ...]] = (
    _protocol.Delegation,
    _protocol.Invocation,
    _protocol.Checkpoint,
    _protocol.Receipt,
    _protocol.Call,
    _protocol.RequestedCapability,
    _protocol.ForkLink,
    _protocol.ForkChild,
)
PARTS: Final[tuple[type[BaseModel], ...]] = (_protocol.ForkedLink, _protocol.Forked)
"""What answers are made of; the binary sends these and never receives them."""
NAMED: Final = {
    "DID": ("Delegation", "iss"),
    "COMMAND": ("Delegation", "cmd"),
    "NONCE": ("Delegation", "nonce"),
    "NAME": ("Checkpoint", "tenant"),
    "HEX_32": ("LoadKey", "seed"),
    "CODE": ("Receipt", "outcome"),
    "TEXT": ("Inspect", "token"),
    "TIME": ("Delegation", "exp"),
    "COUNT": ("Hello", "id"),
    "DEPTH": ("Verify", "max_depth"),
}
"""Kinds of value that messages use: the name of their check in TypeScript, and where one is."""

Schema = dict[str, Any]
MAX_SAFE_INTEGER: Final = 2**53 - 1


class Untitled(GenerateJsonSchema):
    """Titles would only repeat the names of fields."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def schema() -> Schema:
    """Return the JSON Schema of every message, under `$defs`."""
    models: tuple[type[BaseModel], ...] = (
        *PAYLOADS,
        *REQUESTS,
        *PARTS,
        *ANSWERS,
        _protocol.Refused,
    )
    mode: JsonSchemaMode = "serialization"
    _, document = models_json_schema([(model, mode) for model in models], schema_generator=Untitled)
    for model in models:
        definition = document["$defs"][model.__name__]
        definition.pop("title")
        definition["properties"] = {
            name: present(definition["properties"][name])
            if field.exclude_if
            else definition["properties"][name]
            for name, field in model.model_fields.items()
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Messages between nomos and nomos-ucan",
        "$defs": {model.__name__: document["$defs"][model.__name__] for model in models},
    }


def present(optional: Schema) -> Schema:
    """Return the schema of a field that is left out when it is None: the field without null."""
    (kind,) = [option for option in optional["anyOf"] if option != {"type": "null"}]
    described = {key: optional[key] for key in ("description",) if key in optional}
    return {**kind, **described}


def typescript(document: Schema) -> str:
    """Return the source of `protocol.gen.ts`."""
    defs: dict[str, Schema] = document["$defs"]
    named = named_checks(defs)
    parts = [
        HEADER,
        "\n".join(f"const {name} = {check};" for check, name in named.items()),
        *(interface(name, definition) for name, definition in defs.items()),
        operations(defs),
        *(validator(model.__name__, defs[model.__name__], named) for model in PAYLOADS),
        requests(defs, named),
    ]
    return "\n\n".join(parts) + "\n"


HEADER: Final = """\
/* Written by tools/generate_protocol.py from nomos/_protocol.py. Do not edit. */

import { anyObject, anything, exactly, flag, list, oneOf } from "./schema.ts";
import { record, text, whole, type Check } from "./schema.ts";
import type { Json, JsonObject } from "./token/canonical.ts";"""


def interface(name: str, definition: Schema) -> str:
    required = definition.get("required", [])
    lines = []
    for field, rules in definition["properties"].items():
        if "description" in rules:
            lines.append(comment(rules["description"], "  "))
        lines.append(f"  {field}{'' if field in required else '?'}: {type_of(rules)};")
    about = comment(definition["description"]) + "\n" if "description" in definition else ""
    return about + f"export type {name} = {{\n" + "\n".join(lines) + "\n};"


SCALARS: Final = {
    "boolean": "boolean",
    "integer": "number",
    "null": "null",
    "object": "JsonObject",
    "string": "string",
}


def type_of(rules: Schema) -> str:
    if "$ref" in rules:
        return reference(rules)
    if "anyOf" in rules:
        return " | ".join(type_of(option) for option in rules["anyOf"])
    if values := rules.get("enum", [rules["const"]] if "const" in rules else []):
        return " | ".join(json.dumps(value) for value in values)
    if rules.get("type") == "array":
        item = type_of(rules["items"])
        return f"({item})[]" if " " in item else f"{item}[]"
    return SCALARS[rules["type"]] if "type" in rules else "Json"


def operations(defs: dict[str, Schema]) -> str:
    asked = "\n".join(f"  {op_of(defs[r.__name__])}: {r.__name__};" for r in REQUESTS)
    answered = "\n".join(f"  {op_of(defs[r.__name__])}: {r.answer.__name__};" for r in REQUESTS)
    return (
        f"export const PROTOCOL = {_protocol.PROTOCOL};\n\n"
        f"/** Bytes in one request line. */\nexport const MAX_LINE = {_protocol.MAX_LINE};\n\n"
        "/** Children, and links for all of them, in one fork. */\n"
        f"export const MAX_FORKED = {_protocol.MAX_FORKED};\n\n"
        "/** Links in one line of the answer to a fork. */\n"
        f"export const MAX_FORKED_LINE = {_protocol.MAX_FORKED_LINE};\n\n"
        'export type RefusalCode = Refused["code"];\n\n'
        f"export type RequestOf = {{\n{asked}\n}};\n\n"
        f"export type AnswerOf = {{\n{answered}\n}};\n\n"
        "export type Op = keyof RequestOf;\n\n"
        "/** A request without the members of every request. */\n"
        'export type Question<O extends Op> = Omit<RequestOf[O], "id" | "protocol" | "op">;\n\n'
        "/** An answer without the members of every answer. */\n"
        'export type Body<O extends Op> = Omit<AnswerOf[O], "id" | "ok">;'
    )


def op_of(definition: Schema) -> str:
    return str(definition["properties"]["op"]["const"])


def validator(name: str, definition: Schema, named: Names) -> str:
    return f"export const is{name} = {record_of(name, definition, named)};"


FRAME: Final = ("id", "protocol")
"""The members of every request, beside its `op`."""


def requests(defs: dict[str, Schema], named: Names) -> str:
    """Return the table of the operations' validators."""
    first = defs[REQUESTS[0].__name__]["properties"]
    frame = ", ".join(f"{name}: {check_of(first[name], named)}" for name in FRAME)
    rows = []
    for request in REQUESTS:
        definition = defs[request.__name__]
        check = record_of(request.__name__, definition, named, inner="  ")
        rows.append(f"  {op_of(definition)}: {check},")
    return (
        f"const FRAME = {{ {frame} }};\n\n"
        "/** The validator of each operation's request. */\n"
        "export const isRequest: { readonly [O in Op]: Check<RequestOf[O]> } = {\n"
        + "\n".join(rows)
        + "\n};"
    )


def record_of(name: str, definition: Schema, named: Names, inner: str = "") -> str:
    """Return the check of an object; a request's begins with the members of every request."""
    fields = definition["properties"]
    framed = set(FRAME) <= set(fields)
    members = ["...FRAME"] if framed else []
    members += [
        f"{field}: {check_of(rules, named)}"
        for field, rules in fields.items()
        if not framed or field not in FRAME
    ]
    optional = [field for field in fields if field not in definition.get("required", [])]
    last = f"{inner}}}, {json.dumps(optional)})" if optional else f"{inner}}})"
    return "\n".join([f"record<{name}>({{", *filled(members, f"{inner}  "), last])


def filled(members: list[str], indent: str) -> list[str]:
    """Return lines of members, as many to a line as it has room for."""
    lines: list[str] = []
    for member in members:
        if lines and len(lines[-1]) + len(member) + 2 <= WIDTH:
            lines[-1] += f" {member},"
        else:
            lines.append(f"{indent}{member},")
    return lines


WIDTH: Final = 100

Names = dict[str, str]
"""Names of checks, by the checks."""


def named_checks(defs: dict[str, Schema]) -> Names:
    found = ((name, defs[model]["properties"][field]) for name, (model, field) in NAMED.items())
    return {check_of(rules, {}): name for name, rules in found}


def check_of(rules: Schema, named: Names) -> str:
    """Return the check of a value: its name, if it has one."""
    if "$ref" in rules:
        return f"is{reference(rules)}"
    if "const" in rules:
        only(rules, {"const"})
        return f"exactly({json.dumps(rules['const'])})"
    if "enum" in rules:
        only(rules, {"enum"})
        return f"oneOf({', '.join(json.dumps(value) for value in rules['enum'])})"
    if "type" not in rules:
        only(rules, set())
        return "anything"
    check = CHECKS[rules["type"]](rules, named)
    return named.get(check, check)


def text_check(rules: Schema, _: Names) -> str:
    only(rules, {"minLength", "maxLength", "pattern"})
    found = []
    if "minLength" in rules:
        found.append(f"min: {rules['minLength']}")
    if "maxLength" in rules:
        found.append(f"max: {rules['maxLength']}")
    if "pattern" in rules:
        found.append(f"pattern: /{rules['pattern'].replace('/', chr(92) + '/')}/")
    return f"text({{ {', '.join(found)} }})" if found else "text({})"


def integer_check(rules: Schema, _: Names) -> str:
    only(rules, {"minimum", "maximum"})
    low = rules.get("minimum", -MAX_SAFE_INTEGER)
    high = rules.get("maximum", MAX_SAFE_INTEGER)
    return f"whole({low}, {high})"


def list_check(rules: Schema, named: Names) -> str:
    only(rules, {"items", "minItems", "maxItems"})
    least, most = rules.get("minItems", 0), rules.get("maxItems")
    bounds = [least, most] if most is not None else [least] if least else []
    return f"list({', '.join([check_of(rules['items'], named), *map(str, bounds)])})"


def flag_check(rules: Schema, _: Names) -> str:
    only(rules, set())
    return "flag"


def object_check(rules: Schema, _: Names) -> str:
    only(rules, set())
    return "anyObject"


CHECKS: Final[dict[str, Callable[[Schema, Names], str]]] = {
    "array": list_check,
    "boolean": flag_check,
    "integer": integer_check,
    "object": object_check,
    "string": text_check,
}


def reference(rules: Schema) -> str:
    return str(rules["$ref"]).removeprefix("#/$defs/")


def only(rules: Schema, known: set[str]) -> None:
    everywhere = {"additionalProperties", "default", "description", "type"}
    if unknown := set(rules) - known - everywhere:
        raise ValueError(f"the generator does not know the keywords {sorted(unknown)}")


def comment(text: str, indent: str = "") -> str:
    text = text.replace("*/", "* /")
    if "\n" not in text and len(text) + len(indent) <= 92:
        return f"{indent}/** {text} */"
    lines = textwrap.indent(text, f"{indent} * ", lambda _: True).splitlines()
    return "\n".join([f"{indent}/**", *(line.rstrip() for line in lines), f"{indent} */"])


def main() -> int:
    """Write the files, or with `--check` compare them whole."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    document = schema()
    wanted = {
        SCHEMA_FILE: json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        TYPESCRIPT_FILE: typescript(document),
    }
    stale = [path for path, text in wanted.items() if not is_text(path, text)]
    if not check:
        for path in stale:
            path.write_text(wanted[path], encoding="utf-8")
        return 0
    for path in stale:
        print(
            f"{path.relative_to(ROOT)} is not what nomos/_protocol.py says; "
            "run: python tools/generate_protocol.py",
            file=sys.stderr,
        )
    return 1 if stale else 0


def is_text(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


if __name__ == "__main__":
    sys.exit(main())
