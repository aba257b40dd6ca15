"""Attacks with another resource or another call than the signed one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from vectors.attack_base import ARGS, FIELDS, LIST, RESOURCE, Attack, Good
from vectors.attack_places import LENGTHS, RICH_USE, USE, everywhere
from vectors.attack_use import rich_uses
from vectors.forge import HERE, Payload
from vectors.making import Forge, saying

ABOUT: Final = "Resources beyond the constraint, and calls that are not what was signed."


def attacks() -> Iterator[Attack]:
    yield from everywhere(_resources(), "resource_out_of_scope", at=rich_uses, read=False)
    yield from everywhere(SIGNED, "resource_mismatch", at=rich_uses, read=False)
    yield from _empty_prototype(USE[2])
    for length in LENGTHS:
        yield from _calls(RICH_USE[length])


def _on(resource: object) -> Forge:
    return lambda m: m.saying(args={**m.payload["args"], "resource": resource}).token


def _resources() -> dict[str, Forge]:
    without_path = {**FIELDS, "repo": "app"}
    fields: dict[str, dict[str, Any]] = {
        "no fields": {},
        "no path": without_path,
        "no owner": {"provider": "github", "path": RESOURCE["path"]},
        "another owner": {**RESOURCE, "owner": "evil"},
        "an owner in another case": {**RESOURCE, "owner": "Acme"},
        "an owner and a space": {**RESOURCE, "owner": "acme "},
        "an owner that is null": {**RESOURCE, "owner": None},
        "owners in a list": {**RESOURCE, "owner": ["acme"]},
        "an owner in an object": {**RESOURCE, "owner": {"name": "acme"}},
        "another provider": {**RESOURCE, "provider": "gitlab"},
        "its fields in the prototype": {"__proto__": RESOURCE},
    }
    paths: dict[str, Any] = {
        "outside": "secrets",
        "above": "src",
        "the root": "",
        "that begins alike": "src/apple/main.py",
        "that begins alike at the top": "srcs/app/main.py",
        "that is the beginning": "src/ap",
        "in another case": "src/App/main.py",
        "with a way up": "src/app/../../etc",
        "with a way up that stays inside": "src/app/../app/main.py",
        "that ends in a way up": "src/app/..",
        "with a dot": "src/./app/main.py",
        "with two slashes": "src//app/main.py",
        "with a slash first": "/src/app/main.py",
        "with a slash after": "src/app/",
        "with a backslash": "src\\app\\main.py",
        "with a backslash and a way up": "src/app/..\\..\\etc",
        "with a NUL": "src/app/main.py\0.png",
        "percent-encoded": "src%2fapp%2fmain.py",
        "with a look-alike slash": "src\u2215app/main.py",
        "with a look-alike letter": "src/\u0430pp/main.py",
        "with a full-width dot": "\uff0e\uff0e/src/app",
        "with a scheme": "file:///src/app/main.py",
        "that is a list": ["src", "app"],
        "that is a number": 7,
        "that is null": None,
    }
    fields |= {f"a path {name}": {**RESOURCE, "path": path} for name, path in paths.items()}
    return {f"use: a resource with {name}": _on(resource) for name, resource in fields.items()}


def _argument(name: str) -> Forge:
    return lambda m: m.saying(args={**m.payload["args"], name: {}}).token


# The call at hand stays what it was; what the agent signed is then not what is called.
SIGNED: Final[dict[str, Forge]] = {
    "signed: a command beneath": saying(cmd=f"{LIST}/all"),
    "signed: another repo": _on({**RESOURCE, "repo": "other"}),
    "signed: another file": _on({**RESOURCE, "path": "src/app/other.py"}),
    "signed: a field more": _on({**RESOURCE, "branch": "main"}),
    "signed: another argument": lambda m: m.saying(args={**m.payload["args"], "page": 3}).token,
    "signed: an argument more": lambda m: m.saying(args={**m.payload["args"], "all": True}).token,
    "signed: an argument that is null": lambda m: (
        m.saying(args={**m.payload["args"], "all": None}).token
    ),
    **{
        f"signed: an argument named {name}": _argument(name)
        for name in ("constructor", "toString", "hasOwnProperty", "__defineGetter__")
    },
    "signed: an argument named __proto__ that is empty": _argument("__proto__"),
    "signed: an empty __proto__ for a field": _on(
        {**FIELDS, "path": RESOURCE["path"], "__proto__": {}}
    ),
    "signed: an argument in the prototype": lambda m: (
        m.saying(args={**m.payload["args"], "__proto__": {"page": 2}}).token
    ),
}


def _calls(good: Good) -> Iterator[Attack]:
    """The agent signed what it should, and another call is made with it."""
    last = len(good.links)
    calls: dict[str, dict[str, Any]] = {
        "another command": {"cmd": "/github/issue/read"},
        "a command beneath": {"cmd": f"{LIST}/all"},
        "the command above": {"cmd": "/github/issue"},
        "another repo": {"resource": {**RESOURCE, "repo": "other"}},
        "another file": {"resource": {**RESOURCE, "path": "src/app/other.py"}},
        "a resource with more": {"resource": {**RESOURCE, "number": 1}},
        "a resource with less": {"resource": FIELDS},
        "no resource": {"resource": {}},
        "an argument changed": {"args": {**ARGS, "page": 3}},
        "an argument of another type": {"args": {**ARGS, "page": "2"}},
        "an argument in another case": {"args": {**ARGS, "state": "Open"}},
        "an argument missing": {"args": {"state": "open"}},
        "no arguments": {"args": {}},
        "an argument under another name": {"args": {"state": "open", "Page": 2}},
        "an argument in a list": {"args": {**ARGS, "page": [2]}},
        "an argument that is null": {"args": {**ARGS, "page": None}},
        "arguments in the prototype": {"args": {"__proto__": ARGS}},
    }
    for name, changes in calls.items():
        call = {**good.asked["call"], **changes}
        request = good.request(call=call)
        yield good.attack(f"call: {name}", "the invocation", "resource_mismatch", last, request)


def _empty_prototype(good: Good) -> Iterator[Attack]:
    """Every object has a `__proto__`; only one that says so has it as a field."""
    assert good.use is not None
    field: Payload = {"__proto__": {}}
    meta = {"meta": {**HERE, "resource_constraint": {**FIELDS, **field}}}
    narrow = replace(
        good,
        name=f"{good.name} on a field named __proto__",
        links=({**good.links[0], **meta}, *good.links[1:]),
        use={**good.use, "args": {"resource": {**RESOURCE, **field}}},
    )
    without = narrow.request({narrow.last: saying(args={"resource": RESOURCE})})
    yield narrow.attack(
        "use: a resource without a field named __proto__",
        "the invocation",
        "resource_out_of_scope",
        narrow.last,
        without,
    )
