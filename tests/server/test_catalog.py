"""Providers from YAML: the built-in ones, and errors in declared ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nomos.errors import ConfigurationError
from nomos.policy.bundle import Source, load
from nomos.resources import canonical_resource, find_command
from nomos.server.providers.catalog import MAX_FILE, RESERVED_NAMES, load_catalog

GITHUB_COMMANDS = """
user/read repo/list repo/read repo/create repo/delete repo/search
issue/list issue/read issue/create issue/comment issue/comment/list issue/close issue/label
issue/search label/list branch/list branch/create content/read content/update commit/list
pr/list pr/read pr/create pr/merge pr/review/list pr/review/submit release/create
workflow/run/list workflow/trigger
"""

TRACKER = """\
provider: my-tracker
fields:
  project: {type: string, required: true, case: lower, pattern: "[a-z]+"}
  ticket: {type: integer}
  file: {type: path}
commands:
  /my-tracker/ticket/list:
    risk: read
    resource: [project]
    args: {state: {}, page: {type: integer}}
    upstream: {path: "/projects/{project}/tickets", result: tickets}
  /my-tracker/ticket/write:
    description: Write a ticket
    risk: write
    method: PUT
    resource: [project, ticket]
    optional: [file]
    args:
      title: {required: true, place: body}
      text: {place: body, digest: sha256}
    upstream: {path: "/projects/{project}/tickets/{ticket}/{title}", method: PATCH}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def refusal(folder: Path, text: str | bytes, name: str = "tracker.yaml") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError) as caught:
        load_catalog(folder)
    assert caught.value.setting == "providers"
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_every_github_command_is_registered() -> None:
    commands = load_catalog()["github"].commands
    assert set(commands) == {f"/github/{name}" for name in GITHUB_COMMANDS.split()}
    assert all(name == spec.name for name, spec in commands.items())
    assert all(spec.description for spec in commands.values())


def test_five_github_commands_are_served() -> None:
    served = {
        name: (spec.upstream.method, spec.upstream.path, spec.upstream.result)
        for name, spec in load_catalog()["github"].commands.items()
        if spec.upstream
    }
    issues = "/repos/{owner}/{repo}/issues"
    assert served == {
        "/github/repo/read": ("GET", "/repos/{owner}/{repo}", None),
        "/github/issue/list": ("GET", issues, "issues"),
        "/github/issue/read": ("GET", f"{issues}/{{issue_number}}", None),
        "/github/issue/create": ("POST", issues, None),
        "/github/pr/create": ("POST", "/repos/{owner}/{repo}/pulls", None),
    }


def test_read_commands_use_get() -> None:
    for provider in load_catalog().values():
        for spec in provider.commands.values():
            assert (spec.risk == "read") == (spec.method == "GET"), spec.name


def test_filesystem_commands_take_a_path() -> None:
    provider = load_catalog()["filesystem"]
    assert provider.handler == "filesystem"
    found = {name: (spec.method, spec.resource) for name, spec in provider.commands.items()}
    assert found == {
        "/filesystem/file/read": ("GET", ("path",)),
        "/filesystem/file/write": ("PUT", ("path",)),
        "/filesystem/dir/list": ("GET", ("path",)),
    }
    content = provider.commands["/filesystem/file/write"].args["content"]
    assert (content.digest, content.place, content.required) == ("sha256", "body", True)


def test_a_declared_provider_is_added(folder: Path) -> None:
    (folder / "tracker.YML").write_text(TRACKER)
    (folder / "notes.txt").write_text("not a provider")
    catalog = load_catalog(folder)
    assert sorted(catalog) == ["filesystem", "github", "my-tracker"]
    tracker = catalog["my-tracker"]
    assert (tracker.kind, tracker.handler) == ("MyTracker", "http")
    found = find_command(catalog, "/my-tracker/ticket/write")
    assert found is not None
    spec = found[1]
    assert spec.upstream is not None
    assert (spec.method, spec.upstream.method) == ("PUT", "PATCH")
    resource = {"provider": "my-tracker", "project": "WEB", "ticket": 7}
    assert canonical_resource(tracker, resource, spec) == {**resource, "project": "web"}


def test_policy_can_name_a_declared_provider(folder: Path) -> None:
    (folder / "tracker.yaml").write_text(TRACKER)
    text = (
        'permit(principal, action in Action::"/my-tracker/ticket", resource is MyTracker)'
        ' when { resource.project == "web" };'
    )
    assert len(load([Source("p.cedar", text)], load_catalog(folder)).policies) == 1


def test_a_field_named_path_is_a_path(folder: Path) -> None:
    """A token that names one covers paths under it; other fields have none."""
    (folder / "tracker.yaml").write_text(re.sub(r"\bfile\b", "path", TRACKER))
    assert load_catalog(folder)["my-tracker"].fields["path"].type == "path"


def test_an_empty_folder_adds_nothing(folder: Path) -> None:
    assert load_catalog(folder) == load_catalog()


def test_a_missing_folder_is_named(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(str(folder / "none"))):
        load_catalog(folder / "none")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("provider: my-tracker", "provider: My", "provider: "),
        ("provider: my-tracker", "provider: 9lives", "provider: "),
        ("provider: my-tracker", "provider: other", "commands./my-tracker/ticket/list: "),
        ("provider: my-tracker", "provider: my-tracker\nkind: X", "kind: Extra"),
        ("provider: my-tracker", "provider: my-tracker\nhandler: filesystem", "handler: "),
        ("provider: my-tracker", "provider: my-tracker\nprovider: x", "provider: given twice"),
        ("provider: my-tracker", "", "provider: Field required"),
        ("  /my-tracker/ticket/list:", "  /my-tracker:", "commands./my-tracker: "),
        ("  /my-tracker/ticket/list:", "  /My-tracker/x:", "commands./My-tracker/x: "),
        ("ticket/list:", "ticket/write:", "commands./my-tracker/ticket/write: given twice"),
        ("risk: read", "risk: harmless", "commands./my-tracker/ticket/list.risk: "),
        ("    risk: read\n", "", "commands./my-tracker/ticket/list.risk: Field required"),
        ("risk: read", "risk: read\n    rsik: read", "commands./my-tracker/ticket/list.rsik: "),
        (
            "risk: read",
            "risk: read\n    risk: write",
            "commands./my-tracker/ticket/list.risk: given",
        ),
        ("risk: read", "risk: read\n    method: HEAD", "commands./my-tracker/ticket/list.method: "),
        ("[project]", "[projct]", "commands./my-tracker/ticket/list.resource: projct is not"),
        ("[project]", "project", "commands./my-tracker/ticket/list.resource: "),
        (
            "[project]",
            "[project, project]",
            "commands./my-tracker/ticket/list.resource: project is",
        ),
        ("optional: [file]", "optional: [ticket]", "commands./my-tracker/ticket/write.resource: "),
        ("optional: [file]", "optional: [fil]", "commands./my-tracker/ticket/write.optional: fil"),
        ("state: {}", "project: {}", "commands./my-tracker/ticket/list.args.project: "),
        ("state: {}", "resource: {}", "commands./my-tracker/ticket/list.args.resource: "),
        ("state: {}", "provider: {}", "commands./my-tracker/ticket/list.args.provider: "),
        ("state: {}", "State: {}", "commands./my-tracker/ticket/list.args.State: "),
        ("state: {}", "state: {typ: x}", "commands./my-tracker/ticket/list.args.state.typ: "),
        ("state: {}", "state: {type: x}", "commands./my-tracker/ticket/list.args.state.type: "),
        (
            "state: {}",
            "state: {place: body}",
            "commands./my-tracker/ticket/list.args.state.place: ",
        ),
        (
            "state: {}",
            "state: {required: 1}",
            "commands./my-tracker/ticket/list.args.state.required",
        ),
        ("state: {}", "state:", "commands./my-tracker/ticket/list.args.state: "),
        ("state: {}", "on: {}", "commands./my-tracker/ticket/list.args.on: this key is not text"),
        ("state: {}", "1: {}", "commands./my-tracker/ticket/list.args.1: this key is not text"),
        (
            "page: {type: integer}",
            "page: {type: integer, digest: sha256}",
            "commands./my-tracker/ticket/list.args.page.digest: ",
        ),
        (
            '{project}/tickets"',
            '{state}"',
            "commands./my-tracker/ticket/list.upstream.path: {state}",
        ),
        ('{project}/tickets"', '{file}"', "commands./my-tracker/ticket/list.upstream.path: {file}"),
        (
            '{project}/tickets"',
            '{project"',
            "commands./my-tracker/ticket/list.upstream.path: braces",
        ),
        ('{project}/tickets"', '{{x}}"', "commands./my-tracker/ticket/list.upstream.path: {x}"),
        ('{project}/tickets"', '../x"', "commands./my-tracker/ticket/list.upstream.path: has"),
        ('{project}/tickets"', 'x/"', "commands./my-tracker/ticket/list.upstream.path: has"),
        ('{project}/tickets"', 'x?a=1"', "commands./my-tracker/ticket/list.upstream.path: "),
        (
            '"/projects/{project}/tickets"',
            '"//evil.example/x"',
            "commands./my-tracker/ticket/list.upstream.path: has",
        ),
        (
            '"/projects/{project}/tickets"',
            '"http://x/"',
            "commands./my-tracker/ticket/list.upstream.path: ",
        ),
        (
            "result: tickets",
            "results: tickets",
            "commands./my-tracker/ticket/list.upstream.results: ",
        ),
        ("result: tickets", "result: 7", "commands./my-tracker/ticket/list.upstream.result: "),
        ("method: PATCH", "method: TRACE", "commands./my-tracker/ticket/write.upstream.method: "),
        ("{type: integer}\n  file", "{type: integer, pattern: x}\n  file", "fields.ticket: "),
        ("{type: integer}\n  file", "{type: integer, case: lower}\n  file", "fields.ticket: "),
        (
            "{type: integer}\n  file",
            "{type: integer, required: true}\n  file",
            "commands./my-tracker/ticket/list.resource: ticket",
        ),
        ("{type: integer}\n  file", "{type: number}\n  file", "fields.ticket.type: "),
        ("  ticket: {type", "  provider: {type", "fields.provider: "),
        ("  ticket: {type: integer}", "  path: {type: integer}", "fields.path: a field of this"),
        ("  ticket: {type: integer}", "  path: {}", "fields.path: a field of this name covers"),
        ("[a-z]+", "[a-z", "fields.project: "),
        (
            "risk: read",
            "risk: &r read\n    description: *r",
            "commands./my-tracker/ticket/list.description: anchors",
        ),
        ("risk: read", "risk: 2026-01-01", "not YAML of this format: "),
        ("risk: read", "risk: 2026-99-99", "not YAML of this format: "),
        ("risk: read", "risk: !!python/name:os.system x", "not YAML of this format: "),
        ("risk: read", "risk: [", "not YAML of this format: "),
    ],
)
def test_an_error_names_its_key(folder: Path, old: str, new: str, key: str) -> None:
    assert old in TRACKER
    assert refusal(folder, TRACKER.replace(old, new, 1)).startswith(key)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("7", "Input should be an object"),
        ("[]", "Input should be an object"),
        (".nan", "Input should be an object"),
        ("a: 1\n---\nb: 2\n", "single document"),
        (b"\xff", "utf-8"),
        ("[" * 1000, "nested too deeply"),
        ("a: " + "x" * MAX_FILE, "larger"),
        ("? [a]\n: 1\n", "not text"),
        ("a: &a [1]\nb: [*a, *a]\n", "b.0: anchors"),
        ("<<: {a: 1}\n", "not text"),
        ("provider: x\ncommands: {}\n", "commands: "),
        ("provider: x\ncommands: {/x/y: {risk: read}}\n", "fields: missing"),
    ],
)
def test_a_file_that_is_no_provider_is_refused(folder: Path, text: str | bytes, what: str) -> None:
    assert what in refusal(folder, text)


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "x.yaml").mkdir()
    with pytest.raises(ConfigurationError, match=r"x\.yaml: cannot be read"):
        load_catalog(folder)


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_the_servers_own_routes_are_reserved(folder: Path, name: str) -> None:
    assert "reserved" in refusal(
        folder, f"provider: {name}\ncommands: {{/{name}/x: {{risk: read}}}}"
    )


@pytest.mark.parametrize("name", ["agent", "app", "action", "string", "set"])
def test_names_that_policy_uses_are_reserved(folder: Path, name: str) -> None:
    assert "rename" in refusal(folder, f"provider: {name}\ncommands: {{/{name}/x: {{risk: read}}}}")


def test_a_built_in_provider_cannot_be_replaced(folder: Path) -> None:
    text = TRACKER.replace("my-tracker", "github")
    assert refusal(folder, text) == "provider: github is already defined"


def test_two_names_with_one_type_in_policy_clash(folder: Path) -> None:
    (folder / "a.yaml").write_text(TRACKER)
    message = refusal(folder, TRACKER.replace("my-tracker", "my_tracker"), "b.yaml")
    assert "MyTracker, is that of my-tracker" in message
