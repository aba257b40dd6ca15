"""Exact messages about refused resources and arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from nomos._limits import MAX_INTEGER
from nomos.errors import InvalidRequest
from nomos.resources import (
    MAX_FIELD,
    MAX_ITEMS,
    Argument,
    CommandSpec,
    Provider,
    ResourceField,
    canonical_args,
    canonical_resource,
    nearest_command,
    provider_name,
)

READ = CommandSpec(
    name="/shop/order/read",
    risk="read",
    resource=("shop", "id"),
    optional=("path", "note"),
    args={
        "text": Argument(required=True),
        "count": Argument(type="integer"),
        "dry": Argument(type="boolean"),
        "tags": Argument(type="strings"),
        "body": Argument(digest="sha256"),
    },
)
LIST = CommandSpec(name="/shop/order/list", risk="read")
SHOP = Provider(
    name="shop",
    kind="Shop",
    fields={
        "shop": ResourceField(required=True, case="lower", pattern="[a-z]+"),
        "id": ResourceField(type="integer"),
        "path": ResourceField(type="path"),
        "note": ResourceField(),
        "hidden": ResourceField(),
    },
    commands={READ.name: READ, LIST.name: LIST},
)
GOOD: Mapping[str, object] = {"provider": "shop", "shop": "acme", "id": 7}


def message_of(field: str, value: object) -> str:
    with pytest.raises(InvalidRequest) as caught:
        canonical_resource(SHOP, {**GOOD, field: value}, READ)
    assert caught.value.fields == (f"resource.{field}",)
    return str(caught.value)


def message_of_argument(name: str, value: object) -> str:
    with pytest.raises(InvalidRequest) as caught:
        canonical_args(READ, {name: value})
    return str(caught.value)


SHORTEST = "must be in its shortest form: no //, no /./ and no / at its end"
PLAIN = "must separate its segments by plain /, with nothing percent-encoded"
PATTERN = "has a form that this field does not accept: it must match [a-z]+"


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("provider", "github", "must be shop, the first segment of the command"),
        ("shop", "", "must not be empty"),
        ("shop", "a1", PATTERN),
        ("shop", None, "must be a string, not null"),
        ("shop", True, "must be a string, not a boolean"),
        ("shop", 1, "must be a string, not a number"),
        ("shop", 1.5, "must be a string, not a number"),
        ("shop", [], "must be a string, not a list"),
        ("shop", {}, "must be a string, not an object"),
        ("shop", "a" * (MAX_FIELD + 1), f"is longer than {MAX_FIELD} characters"),
        ("shop", "a\ud800", "has half of a surrogate pair"),
        ("note", "a\nb", "has control characters"),
        ("note", "a\u202eb", "has control characters"),
        ("note", "e\u0301", "is not in Unicode's composed form (NFC)"),
        ("path", "a\\b", PLAIN),
        ("path", "a%2Fb", PLAIN),
        ("path", "a/../b", "must not contain .."),
        ("path", "a//b", SHORTEST),
        ("path", "a/./b", SHORTEST),
        ("path", "a/", SHORTEST),
        ("id", "7", "must be a whole number, not a string"),
        ("id", -1, f"must be between 0 and {MAX_INTEGER}"),
        ("id", MAX_INTEGER + 1, f"must be between 0 and {MAX_INTEGER}"),
        ("nota", "x", "is not taken by /shop/order/read: did you mean note"),
        (
            "zzz",
            "x",
            "is not taken by /shop/order/read: it takes provider, shop, id, path, note",
        ),
    ],
)
def test_a_resource_is_refused_with_a_sentence(field: str, value: object, what: str) -> None:
    assert message_of(field, value) == f"resource.{field} {what}"


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("text", 1, "must be a string, not a number"),
        ("count", "1", "must be a whole number, not a string"),
        ("count", True, "must be a whole number, not a boolean"),
        ("count", -MAX_INTEGER - 1, f"must be between -{MAX_INTEGER} and {MAX_INTEGER}"),
        ("dry", "yes", "must be true or false, not a string"),
        ("dry", None, "must be true or false, not null"),
        ("tags", "x", "must be a list of strings, not a string"),
        ("tags", {}, "must be a list of strings, not an object"),
        ("tags", ["x"] * (MAX_ITEMS + 1), f"has more than {MAX_ITEMS} items"),
        ("tags", ["x" * (MAX_FIELD + 1)], f"is longer than {MAX_FIELD} characters"),
        ("tags", ["x", 1], "must be a string, not a number"),
        ("body", {}, 'must be text, or {"sha256": "<64 lower-case hex digits>"}'),
        ("body", {"sha256": "A" * 64}, 'must be text, or {"sha256": "<64 lower-case hex digits>"}'),
        ("zzz", 1, "is not taken by /shop/order/read: it takes text, count, dry, tags, body"),
    ],
)
def test_an_argument_is_refused_with_a_sentence(name: str, value: object, what: str) -> None:
    assert message_of_argument(name, value) == f"args.{name} {what}"


def test_all_faults_are_reported_at_once_and_in_order() -> None:
    with pytest.raises(InvalidRequest) as caught:
        canonical_resource(SHOP, {"zzz": 1, "provider": "shop", "note": "", "path": ".."}, READ)
    assert caught.value.fields == (
        "resource.zzz",
        "resource.note",
        "resource.path",
        "resource.shop",
        "resource.id",
    )
    assert str(caught.value) == (
        "resource.zzz is not taken by /shop/order/read: it takes provider, shop, id, path, note; "
        "resource.note must not be empty; "
        "resource.path must not contain ..; "
        "resource.shop is missing: /shop/order/read requires it; "
        "resource.id is missing: /shop/order/read requires it"
    )


def test_without_a_command_the_message_names_the_provider() -> None:
    with pytest.raises(InvalidRequest, match=r"^resource\.provider is missing: shop requires it$"):
        canonical_resource(SHOP, {})
    with pytest.raises(InvalidRequest, match="is not taken by shop: it takes provider, shop, id, "):
        canonical_resource(SHOP, {"provider": "shop", "zzz": 1})


def test_a_command_without_arguments_refuses_any() -> None:
    with pytest.raises(InvalidRequest) as caught:
        canonical_args(LIST, {"x": 1})
    assert str(caught.value) == "args.x is not taken by /shop/order/list: it takes nothing"


def test_a_missing_argument_is_reported_with_its_command() -> None:
    with pytest.raises(InvalidRequest) as caught:
        canonical_args(READ, {}, complete=True)
    assert str(caught.value) == "args.text is missing: /shop/order/read requires it"


@pytest.mark.parametrize(
    ("given", "root"), [([], "resource"), (None, "resource"), ("x", "resource")]
)
def test_a_resource_that_is_no_object_is_refused(given: Any, root: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        canonical_resource(SHOP, given, READ)
    assert (str(caught.value), caught.value.fields) == (f"{root} must be a JSON object", (root,))


def test_at_most_100_members_are_checked() -> None:
    names = {f"x{number}": 1 for number in range(MAX_ITEMS)}
    with pytest.raises(InvalidRequest) as caught:
        canonical_args(READ, names)
    assert len(caught.value.fields) == MAX_ITEMS
    with pytest.raises(InvalidRequest) as caught:
        canonical_args(READ, {**names, "one_more": 1})
    assert str(caught.value) == f"args has more than {MAX_ITEMS} members"
    assert caught.value.fields == ("args",)


def test_a_list_has_at_most_100_texts() -> None:
    tags = ["x" * MAX_FIELD] * MAX_ITEMS
    assert canonical_args(READ, {"tags": tags}) == {"tags": tags}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Zz.-_9", "Zz.-_9"),
        ("a" * 64, "a" * 64),
        ("a" * 65, "'" + "a" * 63),
        ("a b", "'a b'"),
        ("é", "'\\xe9'"),
        ("\n", "'\\n'"),
        (7, "7"),
        (("x",), "('x',)"),
    ],
)
def test_a_foreign_name_is_shown_short_and_printable(name: Any, shown: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        canonical_args(LIST, {name: 1})
    assert caught.value.fields == (f"args.{shown}",)


def test_only_the_beginning_of_a_long_name_is_compared() -> None:
    """Comparing texts takes the product of their lengths."""
    near = "note" * 16
    spec = CommandSpec(name="/shop/x", risk="read", args={near: Argument()})
    with pytest.raises(InvalidRequest, match=f"did you mean {near}$"):
        canonical_args(spec, {near + "z" * 9000: 1})


def test_only_a_similar_command_is_suggested() -> None:
    catalog = {"shop": SHOP}
    assert nearest_command(catalog, "/shop/order/reed") == "/shop/order/read"
    assert nearest_command(catalog, "/shop/order/lst") == "/shop/order/list"
    assert nearest_command(catalog, "/nothing/like/it/at/all") is None
    assert nearest_command({}, "/shop/order/read") is None
    long = CommandSpec(name="/" + "a" * 255, risk="read")
    far = SHOP.model_copy(update={"commands": {long.name: long}})
    assert nearest_command({"shop": far}, long.name + "b" * 10_000) == long.name


@pytest.mark.parametrize(
    ("command", "name"), [("/a", "a"), ("/a/b", "a"), ("/a/b/c", "a"), ("/", "")]
)
def test_a_command_begins_with_its_provider(command: str, name: str) -> None:
    assert provider_name(command) == name
