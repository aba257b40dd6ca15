"""`nomos policy`, as real processes; versions against a real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prepared import NOMOS

from nomos.embedded import EmbeddedServer, start

SERVICE = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
POLICIES = """\
@id("reads") permit(principal, action in Action::"/github/issue", resource)
when { resource.owner == "acme" && context.now.hour < 19 };
@id("archive") @reason("the archive is frozen")
forbid(principal, action, resource is Github) when { resource.repo == "archive" };
"""
TESTS = """\
policies: policies
cases:
  - name: reads are allowed
    command: /github/issue/list
    resource: {provider: github, owner: acme, repo: app}
    expect: allow
  - name: the archive is frozen
    command: /github/issue/list
    resource: {provider: github, owner: acme, repo: archive}
    expect: deny
    policies: [archive]
"""


def nomos(*args: object, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NOMOS, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "60", **environ},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "p.cedar").write_text(POLICIES)
    (tmp_path / "tests.yaml").write_text(TESTS)
    return tmp_path


# test


def test_passing_cases_are_counted(folder: Path) -> None:
    for given in (folder / "tests.yaml", folder):
        done = nomos("policy", "test", given)
        assert done.returncode == 0, done.stderr
        assert " ok   reads are allowed" in done.stdout
        assert "2 cases, all passed" in done.stdout
    rows = [
        json.loads(line) for line in nomos("policy", "test", folder, "--json").stdout.splitlines()
    ]
    assert [(row["case"], row["ok"]) for row in rows] == [
        ("reads are allowed", True),
        ("the archive is frozen", True),
    ]


def test_a_failed_case_names_the_deciding_policy_and_its_place(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    (other / "o.cedar").write_text(POLICIES.replace('"reads"', '"all"').replace("acme", "zzz"))
    (folder / "surprise.yaml").write_text(
        TESTS.replace("expect: deny\n    policies: [archive]", "expect: allow")
    )
    done = nomos("policy", "test", folder / "surprise.yaml", "--policies", other)
    assert done.returncode == 1
    assert done.stdout == (
        "FAIL  reads are allowed\n"
        "        decision    expected allow, got deny\n"
        "        because     no policy permits /github/issue/list here\n"
        "FAIL  the archive is frozen\n"
        "        decision    expected allow, got deny\n"
        "        decided by  forbid archive  o.cedar:3\n"
        "        because     the archive is frozen\n"
        "\n"
        "2 cases, 2 failed\n"
    )


def test_a_faulty_test_file_is_reported(folder: Path) -> None:
    file = folder / "tests.yaml"
    file.write_text(TESTS.replace("policies: policies\n", ""))
    done = nomos("policy", "test", file)
    assert done.returncode == 1
    assert "names no policies. Pass --policies DIR" in done.stderr
    file.write_text(TESTS.replace("expect: allow", "expects: allow"))
    done = nomos("policy", "test", file)
    assert done.returncode == 1
    assert "case 'reads are allowed': expect: is required; expects: is not a member" in done.stderr


# explain


def explain(folder: Path, *args: object) -> subprocess.CompletedProcess[str]:
    command = ("--command", "/github/issue/list", "--policies", folder / "policies")
    return nomos("policy", "explain", *command, *args)


def test_an_explanation_is_readable_and_not_truncated(folder: Path) -> None:
    resource = '{"owner": "acme", "repo": "app"}'
    done = explain(folder, "--resource", resource, "--now", "2026-01-05T22:00:00Z")
    assert done.returncode == 0, done.stderr
    assert "denied  policy_denied" in done.stdout
    assert "permit reads, if this held → allowed by reads" in done.stdout
    assert "no  context.now.hour < 19" in done.stdout
    assert 'the same question with context.now = "2026-01-06T00:00:00Z" → allowed' in done.stdout
    suggested = 'permit (principal, action == Action::"/github/issue/list", resource is Github)'
    assert suggested in done.stdout


def test_an_explanation_of_a_forbid_shows_its_text_and_place(folder: Path) -> None:
    resource = '{"owner": "acme", "repo": "archive"}'
    done = explain(folder, "--resource", resource, "--now", "2026-01-05T09:00:00+01:00")
    assert "forbid archive  p.cedar:3" in done.stdout
    assert '@reason("the archive is frozen")' in done.stdout
    assert 'yes resource.repo == "archive"' in done.stdout


def test_an_explanation_as_json(folder: Path) -> None:
    more = ("--args", "{}", "--context", "{}", "--purpose", "triage", "--rate", "2", "--json")
    resource = '{"owner": "other", "repo": "archive"}'
    found = json.loads(explain(folder, "--resource", resource, *more).stdout)
    assert (found["decision"], found["decidedBy"]) == ("deny", ["archive"])
    assert found["determined"][0]["line"] == 3
    assert [change["kind"] for change in found["changes"]] == ["lift", "meet", "add"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--resource", "{"), "is not JSON"),
        (("--resource", "[]"), "is not a JSON object"),
        (("--resource", '{"owner": "a"}'), "resource.repo is missing"),
        (("--resource", '{"owner": "a", "repo": "b"}', "--now", "noon"), "is not a time"),
        (
            ("--resource", '{"owner": "a", "repo": "b"}', "--now", "2026-01-05T09:00:00"),
            "needs a time zone",
        ),
        (("--agent", "me"), "agent:"),
    ],
)
def test_an_invalid_question_is_reported_in_one_sentence(
    folder: Path, args: tuple[str, ...], message: str
) -> None:
    done = explain(folder, *args)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


# starters


def test_a_starter_is_listed_copied_and_passes_its_tests(tmp_path: Path) -> None:
    listed = nomos("policy", "starters")
    assert "read-only" in listed.stdout
    rows = [json.loads(line) for line in nomos("policy", "starters", "--json").stdout.splitlines()]
    assert "read-only" in [row["name"] for row in rows]
    for row in rows:
        out = tmp_path / row["name"]
        done = nomos("policy", "init", row["name"], "--out", out)
        assert done.returncode == 0, done.stderr
        assert f"wrote {out}/tests.yaml" in done.stdout
        assert nomos("policy", "test", out).returncode == 0
        assert nomos("policy", "validate", out).returncode == 0
    again = nomos("policy", "init", "read-only", "--out", tmp_path / "read-only")
    assert again.returncode == 1
    assert "exists, and is not overwritten" in again.stderr


# versions


@dataclass
class Server:
    running: EmbeddedServer
    key_file: Path

    def policy(self, *args: object) -> subprocess.CompletedProcess[str]:
        options = ("--control-url", self.running.control_plane_url, "--key-file", self.key_file)
        return nomos("policy", *args, *options)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = start(policies="// nothing\n", data=tmp_path / "data")
    key_file = tmp_path / "operator"
    key_file.touch(0o600)
    key_file.write_text(running.operator_key.reveal())
    try:
        yield Server(running, key_file)
    finally:
        running.close()


def test_versions_are_put_activated_and_rolled_back(server: Server, folder: Path) -> None:
    shutil.copy(folder / "tests.yaml", folder / "policies")
    done = server.policy("put", folder / "policies")
    assert done.returncode == 0, done.stderr
    assert "version 2 created; nomos policy activate 2 activates it" in done.stdout
    done = server.policy("activate", 2)
    assert "version 2 is active" in done.stdout
    assert "before: version 1" in done.stdout
    listed = server.policy("versions")
    first, second = listed.stdout.splitlines()[1:]
    assert (first.split()[0], first.split()[-1]) == ("2", "active")
    assert (second.split()[0], second.split()[-1]) == ("1", "files")
    assert "version 1 is active" in server.policy("rollback").stdout
    again = server.policy("put", folder / "policies", "--activate", "--json")
    kept, active = map(json.loads, again.stdout.splitlines())
    assert (kept["version"], kept["created"], active["version"]) == (2, False, 2)
    rows = [json.loads(line) for line in server.policy("versions", "--json").stdout.splitlines()]
    assert [(row["version"], row["active"]) for row in rows] == [(2, True), (1, False)]
    back = server.policy("rollback", "--json")
    assert json.loads(back.stdout)["before"] == 2


def test_errors_of_the_server_are_printed_unchanged(server: Server, tmp_path: Path) -> None:
    (tmp_path / "bad.cedar").write_text(
        '\n@id("typo") permit(principal, action, resource is Github) when { resource.x == 1 };\n'
    )
    done = server.policy("put", tmp_path / "bad.cedar")
    assert done.returncode == 1
    assert "bad.cedar:2: typo" in done.stderr
    done = server.policy("activate", 7)
    assert done.returncode == 1
    assert "there is no policy version '7'" in done.stderr


def test_an_activation_lists_grants_that_services_still_accept(
    server: Server, tmp_path: Path
) -> None:
    policies = tmp_path / "all.cedar"
    policies.write_text('permit(principal, action in Action::"/github/issue", resource);\n')
    done = server.policy("put", policies, "--activate")
    assert "valid grants" not in done.stdout and done.returncode == 0, done.stderr
    url, key = server.running.control_plane_url, server.running.operator_key.reveal()
    with httpx.Client(base_url=url, trust_env=False) as http:
        made = http.post(
            "/v1/services",
            json={"name": "board", "did": SERVICE, "url": "https://board.example"},
            headers={"authorization": f"Bearer {key}"},
        )
        assert made.status_code == 200, made.text
        answer = http.post(
            "/v1/authorize",
            json={
                "command": "/github/issue/list",
                "resource": {"provider": "github", "owner": "acme", "repo": "app"},
                "audience": SERVICE,
            },
            headers={"authorization": f"Bearer {server.running.api_key.reveal()}"},
        ).json()
    assert answer["decision"] == "allow", answer
    done = server.policy("activate", 1)
    assert "1 valid grants for services would not be issued by this version" in done.stdout
    assert "--revoke revokes them" in done.stdout
    assert "/github/issue/list  no policy permits it" in done.stdout
    done = server.policy("activate", 1, "--revoke")
    assert "1 revoked now" in done.stdout
    assert "valid grants" not in server.policy("activate", 1).stdout
    wrong = server.policy("put", policies, "--revoke")
    assert wrong.returncode == 1 and "--revoke needs --activate" in wrong.stderr


def test_unsatisfiable_conditions_are_a_warning(server: Server, tmp_path: Path) -> None:
    (tmp_path / "odd.cedar").write_text(
        '@id("mine") permit(principal in App::"my-agent", action, resource);\n'
    )
    done = nomos("policy", "validate", tmp_path / "odd.cedar")
    assert done.returncode == 0
    assert "warning  odd.cedar:1: mine: no app is" in done.stdout
    done = server.policy("put", tmp_path / "odd.cedar")
    assert 'warning  odd.cedar:1: mine: no app is App::"my-agent"' in done.stdout
    (tmp_path / "none.cedar").write_text("// nothing yet\n")
    done = nomos("policy", "validate", tmp_path / "none.cedar")
    assert done.returncode == 0 and "there are no policies" in done.stdout


def test_policies_are_read_from_pipes_and_the_standard_input(tmp_path: Path) -> None:
    def piped(content: bytes, *args: object) -> tuple[int, str]:
        done = subprocess.run(
            [NOMOS, *map(str, args)], input=content, capture_output=True, timeout=120, check=False
        )
        return done.returncode, (done.stdout + done.stderr).decode()

    text = b'@id("mine") permit (principal, action, resource);\n'
    for path in ("-", "/dev/stdin"):
        code, said = piped(text, "policy", "validate", path)
        assert code == 0 and "mine" in said and "1 policy" in said, said
    code, said = piped(b"permit (", "policy", "validate", "-")
    assert code == 1 and "<stdin>:1: does not parse" in said
    code, said = piped(b"\xff\xfe", "policy", "validate", "-")
    assert code == 1 and "<stdin> is not UTF-8 text" in said
    code, said = piped(b"", "policy", "validate", "-")
    assert code == 0 and "there are no policies" in said
    gone = nomos("policy", "test", tmp_path / "gone.yaml")
    assert gone.returncode == 1 and "No such file" in gone.stderr
    assert "not YAML" not in gone.stderr
    code, said = piped(b"", "policy", "validate", tmp_path / "gone.cedar")
    assert code == 1 and "file or folder" in said and "does not exist" in said


def test_explain_shows_whether_a_grant_for_a_service_is_possible(folder: Path) -> None:
    question = ("--command", "/github/issue/list", "--now", "2026-01-05T09:00:00Z")
    repo = ("--resource", '{"owner": "acme", "repo": "app"}')
    done = explain(folder, *question, *repo, "--service")
    assert "possible: a grant fixes everything that policy depends on" in done.stdout
    done = explain(folder, *question, *repo, "--service", "--json")
    assert json.loads(done.stdout)["service"] == {
        "closed": True,
        "forkable": True,
        "policies": [],
        "open": [],
    }
    (folder / "policies" / "p.cedar").write_text(
        "permit(principal, action, resource);\n"
        '@id("secret") forbid(principal, action, resource is Filesystem) '
        'when { resource.path like "a/secret/*" };\n'
        '@id("deep") forbid(principal, action, resource is Github) '
        "when { principal.delegationDepth > 1 };\n"
    )
    read = ("--command", "/filesystem/file/read", "--resource", '{"path": "a"}')
    done = explain(folder, *read, "--service")
    assert "denied: a grant would leave open what policy depends on" in done.stdout
    assert "resource.path  secret" in done.stdout
    done = explain(folder, *question, *repo, "--service")
    assert "cannot be delegated: deep" in done.stdout
    denied = ("--command", "/filesystem/file/read", "--resource", '{"path": "a/secret/x"}')
    assert "for a service" not in explain(folder, *denied, "--service").stdout
