"""Complete uses of a guard, over real sockets, processes and files."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from guard_kinds import GUARD_KINDS, GuardKind
from long_runs import SLOW, times

from nomos import AsyncAuthGuard, AuthGuard, ConfigurationError, InvalidPolicy, Verifier, errors
from nomos._core.tokens import decode_unverified
from nomos.models import GrantBase

POLICY = """
@id("issues")
permit (principal, action in Action::"/github/issue", resource);

@id("files")
permit (principal, action in Action::"/filesystem", resource);

@id("no-secrets")
forbid (principal, action in Action::"/filesystem", resource)
when { resource.path like "secrets/*" };
"""
LIST = "/github/issue/list"
CALLS = times(1000, short=200)
FORKED_CALLS = times(300, short=25)
DEATHS = times(20, short=6)
CALLS_BETWEEN = 45
"""So many, at least, from one death of the binary to the next."""


def repo(name: object) -> dict[str, str]:
    return {"provider": "github", "owner": "acme", "repo": str(name)}


def is_right(grant: GrantBase, name: object) -> bool:
    """Whether the grant, its token and its delegation are all about this question."""
    if not grant or grant.ucan is None:
        return False
    payload = decode_unverified(grant.ucan)
    found = (
        grant.resource,
        payload["args"]["resource"],
        decode_unverified(grant.chain[0])["meta"]["resource_constraint"],
    )
    return found == (repo(name),) * 3 and bool(payload["iss"] == grant.agent)


@pytest.fixture(scope="module")
def guard() -> Iterator[AuthGuard]:
    with AuthGuard.embedded(policies=POLICY) as made:
        yield made


def joined(guard: AuthGuard, guard_kind: GuardKind, **settings: Any) -> Any:
    """Another guard for the same servers."""
    return guard_kind.guard(
        control_plane_url=guard.control_plane_url,
        api_key=guard.api_key,
        pdp_url=guard.pdp_url,
        **settings,
    )


@pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)
def test_an_embedded_guard_works_in_five_lines(guard_kind: GuardKind) -> None:
    guard = guard_kind.guard.embedded(policies=POLICY)
    grant = guard_kind.call(
        guard.authorize,
        command=LIST,
        resource={"provider": "github", "owner": "acme", "repo": "app"},
        ttl_seconds=300,
    )
    assert grant.decision == "allow"
    assert is_right(grant, "app")
    data = guard.workspace.parent
    assert data.exists()
    guard_kind.call(guard.close)
    assert not data.exists()


@pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)
def test_a_file_is_written_once_and_read_as_often_as_wanted(
    guard: AuthGuard, guard_kind: GuardKind
) -> None:
    agent = joined(guard, guard_kind)
    name = f"{guard_kind.name}.txt"
    where = {"provider": "filesystem", "path": name}
    content = {"content": "hello"}

    write = guard_kind.call(
        agent.authorize, command="/filesystem/file/write", resource=where, args=content
    )
    put = httpx.put(
        f"{guard.pdp_url}/filesystem/file/write",
        json={"path": name, **content},
        headers={"authorization": f"Bearer {write.ucan}"},
    )
    assert put.status_code == 200, put.text
    assert guard.workspace is not None
    assert (guard.workspace / name).read_text() == "hello"
    again = httpx.put(
        f"{guard.pdp_url}/filesystem/file/write",
        json={"path": name, **content},
        headers={"authorization": f"Bearer {write.ucan}"},
    )
    assert (again.status_code, again.json()["error_code"]) == (401, "replayed")
    fresh = httpx.put(
        f"{guard.pdp_url}/filesystem/file/write",
        json={"path": name, **content},
        headers=guard_kind.call(write.headers),
    )
    assert fresh.status_code == 200, fresh.text
    other = httpx.put(
        f"{guard.pdp_url}/filesystem/file/write",
        json={"path": name, "content": "something else"},
        headers=guard_kind.call(write.headers),
    )
    assert (other.status_code, other.json()["error_code"]) == (403, "resource_mismatch")
    assert (guard.workspace / name).read_text() == "hello"

    read = guard_kind.call(agent.authorize, command="/filesystem/file/read", resource=where)
    for _ in range(3):
        got = httpx.get(
            f"{guard.pdp_url}/filesystem/file/read",
            params={"path": name},
            headers={"authorization": f"Bearer {read.ucan}"},
        )
        assert got.json()["content"] == "hello"
    guard_kind.call(agent.close)


@pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)
def test_headers_are_signed_for_the_grants_calls_only(
    guard: AuthGuard, guard_kind: GuardKind
) -> None:
    agent = joined(guard, guard_kind)
    grant = guard_kind.call(
        agent.authorize, command=LIST, resource=repo("app"), args={"state": "open"}
    )
    headers = guard_kind.call(grant.headers, command=LIST, args={"state": "open"})
    assert (
        decode_unverified(headers["authorization"].removeprefix("Bearer "))["args"]["state"]
        == "open"
    )
    for wrong, setting in (
        ({"command": "/github/issue/create"}, "command"),
        ({"args": {"state": "closed"}}, "args"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            guard_kind.call(grant.headers, **wrong)
        assert refused.value.setting == setting
    with pytest.raises(errors.WrongAudience, match="this grant is for"):
        guard_kind.call(grant.headers, audience=grant.agent)
    open_ended = guard_kind.call(agent.authorize, command=LIST, resource=repo("app"))
    bound = guard_kind.call(open_ended.headers, args={"state": "closed"})
    assert (
        decode_unverified(bound["authorization"].removeprefix("Bearer "))["args"]["state"]
        == "closed"
    )
    guard_kind.call(agent.close)


@pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("question", "error", "says"),
    [
        ({"resource": {"provider": "github", "owner": "acme"}}, errors.InvalidRequest, "repo"),
        ({"resource": repo("a") | {"branch": "x"}}, errors.InvalidRequest, "branch"),
        ({"resource": repo("a") | {"owner": None}}, errors.InvalidRequest, "owner"),
        ({"resource": repo("a") | {"provider": "gitlab"}}, errors.InvalidRequest, "provider"),
        ({"ttl_seconds": 0}, errors.InvalidRequest, "ttl_seconds"),
        (
            {"audience": "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"},
            errors.InvalidRequest,
            "audience",
        ),
        ({"args": {"resource": 1}}, errors.InvalidRequest, "resource"),
        ({"args": {"body": "x" * 20_000}}, errors.InvalidRequest, "args"),
    ],
)
def test_an_invalid_question_names_its_fields_and_faults(
    guard: AuthGuard,
    guard_kind: GuardKind,
    question: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    agent = joined(guard, guard_kind)
    with pytest.raises(error, match=says):
        guard_kind.call(agent.authorize, **({"command": LIST, "resource": repo("app")} | question))
    guard_kind.call(agent.close)


def test_a_misspelt_command_has_suggestions(guard: AuthGuard) -> None:
    with pytest.raises(errors.InvalidRequest, match=LIST) as wrong:
        guard.authorize(command="/github/issues/list", resource=repo("app"))
    assert wrong.value.fields == ("command",)


@pytest.mark.parametrize("key", [None, "nomos_app_wrong", "cb_live_wrong"])
def test_a_wrong_or_missing_api_key_is_an_error_and_no_deny(
    guard: AuthGuard, key: str | None
) -> None:
    with (
        AuthGuard(control_plane_url=guard.control_plane_url, api_key=key) as other_guard,
        pytest.raises(errors.AuthenticationError) as refused,
    ):
        other_guard.authorize(command=LIST, resource=repo("app"))
    assert refused.value.code == ("missing_api_key" if key is None else "invalid_api_key")
    assert refused.value.request_id
    message = str(refused.value)
    assert "api_key=" in message
    assert "NOMOS_API_KEY" in message
    assert "hidden" not in message
    assert "`Authorization" not in message


def test_the_pdps_url_in_place_of_the_control_planes_is_reported(guard: AuthGuard) -> None:
    assert guard.pdp_url is not None
    key = guard.api_key
    with (
        AuthGuard(control_plane_url=guard.pdp_url, api_key=key) as other_guard,
        pytest.raises(errors.NotFound, match="this is a PDP") as refused,
    ):
        other_guard.authorize(command=LIST, resource=repo("app"))
    assert guard.control_plane_url in str(refused.value)
    with pytest.raises(errors.Unreachable, match="not of a PDP"):
        Verifier.from_control_plane(
            guard.pdp_url, api_key=key, audience=guard.did(), startup_timeout=0.2
        )
    send = {"authorization": f"Bearer {key}"}
    said = httpx.get(f"{guard.pdp_url}{LIST}", headers=send, trust_env=False)
    assert "this is an API key, not a token" in said.json()["error"]
    assert str(key) not in said.text
    said = httpx.get(f"{guard.pdp_url}/.well-known/nomos", trust_env=False)
    assert (said.status_code, said.json()["error_code"]) == (404, "not_found")
    said = httpx.get(f"{guard.control_plane_url}{LIST}?owner=acme", trust_env=False)
    assert said.status_code == 404
    assert guard.pdp_url in said.json()["error"]
    assert "the PDP" not in httpx.get(f"{guard.control_plane_url}/x", trust_env=False).text


def test_open_a_held_chain_serves_while_the_control_plane_is_away(guard: AuthGuard) -> None:
    """The PDP still verifies, so a read keeps the authority it had, and no more."""
    assert guard.workspace is not None
    (guard.workspace / "held.txt").write_text("held")
    where = {"provider": "filesystem", "path": "held.txt"}
    with joined(guard, GUARD_KINDS[0], failure_mode="open") as agent:
        assert agent.authorize(command="/filesystem/file/read", resource=where)
        agent._endpoint.url = "http://127.0.0.1:9"
        with pytest.warns(UserWarning, match="allowed without a decision"):
            grant = agent.authorize(command="/filesystem/file/read", resource=where)
        assert grant.degraded
        read = httpx.get(
            f"{guard.pdp_url}/filesystem/file/read",
            params={"path": "held.txt"},
            headers={"authorization": f"Bearer {grant.ucan}"},
        )
        assert read.json()["content"] == "held"


# Many at once


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_many_calls_fifty_at_a_time(guard: AuthGuard, backend: str) -> None:
    right: list[bool] = []

    async def run() -> None:
        agent = joined(guard, GUARD_KINDS[1], timeout=60.0)
        limit = anyio.CapacityLimiter(50)

        async def ask(number: int) -> None:
            async with limit:
                grant = await agent.authorize(command=LIST, resource=repo(number))
                right.append(is_right(grant, number))

        async with anyio.create_task_group() as tasks:
            for number in range(CALLS):
                tasks.start_soon(ask, number)
        await agent.close()

    anyio.run(run, backend=backend)
    assert right == [True] * CALLS


def test_one_async_guard_serves_sequential_and_concurrent_loops(guard: AuthGuard) -> None:
    agent: AsyncAuthGuard = joined(guard, GUARD_KINDS[1])
    right: list[bool] = []

    async def ask(loop: int) -> None:
        for number in range(5):
            name = f"{loop}-{number}"
            right.append(is_right(await agent.authorize(command=LIST, resource=repo(name)), name))

    for loop in range(3):
        asyncio.run(ask(loop))
    threads = [threading.Thread(target=asyncio.run, args=(ask(loop),)) for loop in (3, 4, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(agent.close())
    assert right == [True] * 30


def test_one_sync_guard_serves_many_threads(guard: AuthGuard) -> None:
    right: list[bool] = []

    def ask(worker: int) -> None:
        for number in range(20):
            name = f"{worker}-{number}"
            right.append(is_right(guard.authorize(command=LIST, resource=repo(name)), name))

    workers = [threading.Thread(target=ask, args=(worker,)) for worker in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert right == [True] * 160


FORKS = """
import os, sys, warnings
from nomos import AuthGuard
from test_journeys import FORKED_CALLS, LIST, POLICY, is_right, repo

guard = AuthGuard.embedded(policies=POLICY)
assert is_right(guard.authorize(command=LIST, resource=repo("first")), "first")

def ask(who):
    return sum(
        is_right(guard.authorize(command=LIST, resource=repo(f"{who}-{n}")), f"{who}-{n}")
        for n in range(FORKED_CALLS)
    )

children = []
for who in (1, 2, 3):
    child = os.fork()
    if child == 0:
        right = ask(who)
        guard.close()
        os._exit(0 if right == FORKED_CALLS else 1)
    children.append(child)
right = ask(0)
codes = [os.waitpid(child, 0)[1] for child in children]
still = is_right(guard.authorize(command=LIST, resource=repo("last")), "last")
guard.close()
print(right, codes, still)
"""


def run_python(program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parent),
            "NOMOS_TEST_SLOW": str(int(SLOW)),  # no variable of ours reaches a test by itself
            **environ,
        },
    )


def test_a_parent_and_three_forked_children_ask_at_the_same_time() -> None:
    done = run_python(FORKS)
    assert done.stdout == f"{FORKED_CALLS} [0, 0, 0] True\n", done.stderr[-2000:]


def test_many_calls_succeed_while_the_binary_is_killed_repeatedly() -> None:
    """Server and guard share the binary here, so both sides of a call meet its death."""
    program = """
        import os, signal, threading
        from nomos import AuthGuard, NomosError
        from nomos._io.signer import shared
        from test_journeys import CALLS_BETWEEN, DEATHS, LIST, POLICY, is_right, repo

        guard = AuthGuard.embedded(policies=POLICY)
        guard.authorize(command=LIST, resource=repo("first"))
        right, raised, wrong, asked = [], [], [], threading.Semaphore(0)

        def ask(worker):
            for n in range(DEATHS * 25 // 2):
                name = f"{worker}-{n}"
                try:
                    grant = guard.authorize(command=LIST, resource=repo(name))
                    (right if is_right(grant, name) else wrong).append(name)
                except NomosError as error:
                    raised.append(type(error).__name__)
                asked.release()

        workers = [threading.Thread(target=ask, args=(w,)) for w in range(4)]
        for worker in workers: worker.start()
        kills = 0
        for _ in range(DEATHS):
            for _ in range(CALLS_BETWEEN): asked.acquire()
            process = shared().running()
            if process is not None:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
        for worker in workers: worker.join()
        restarts = shared().restarts
        print(len(right) + len(raised), wrong, kills >= DEATHS * 3 // 4, 1 <= restarts <= kills)
        guard.close()
    """
    done = run_python(program)
    assert done.stdout == f"{DEATHS * 50} [] True True\n", done.stderr[-2000:]


# The embedded server


def test_an_embedded_guard_that_is_not_closed_leaves_nothing_behind(tmp_path: Path) -> None:
    program = """
        from nomos import AuthGuard
        guard = AuthGuard.embedded(policies="permit(principal, action, resource);")
        guard.authorize(command="/github/repo/list", resource={"provider": "github"})
    """
    done = run_python(program, TMPDIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_that_ends_leaves_the_parents_data_alone(tmp_path: Path) -> None:
    program = """
        import os, sys
        from nomos import AuthGuard
        guard = AuthGuard.embedded(policies="permit(principal, action, resource);")
        question = dict(command="/github/repo/list", resource={"provider": "github"})
        guard.authorize(**question)
        if os.fork() == 0:
            guard.authorize(**question)
            sys.exit(0)
        print(os.wait()[1], guard.workspace.parent.exists(), bool(guard.authorize(**question)))
    """
    done = run_python(program, TMPDIR=str(tmp_path))
    assert done.stdout == "0 True True\n", done.stderr[-2000:]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_users_is_served(tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("mine")
    with AuthGuard.embedded(policies=POLICY, workspace=tmp_path) as guard:
        assert guard.workspace == tmp_path
        grant = guard.authorize(
            command="/filesystem/file/read",
            resource={"provider": "filesystem", "path": "report.txt"},
        )
        read = httpx.get(
            f"{guard.pdp_url}/filesystem/file/read",
            params={"path": "report.txt"},
            headers=grant.headers(),
        )
        assert read.json()["content"] == "mine"


def test_a_served_folder_that_holds_the_keys_is_refused(tmp_path: Path) -> None:
    for workspace in (tmp_path, tmp_path / "data", tmp_path / "data" / "keys"):
        with pytest.raises(ConfigurationError) as refused:
            AuthGuard.embedded(policies=POLICY, data=tmp_path / "data", workspace=workspace)
        assert refused.value.setting == "workspace"


def test_a_write_whose_args_could_never_match_is_refused(guard: AuthGuard) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        guard.authorize(command="/github/issue/create", resource=repo("app"), args={})
    assert refused.value.fields == ("args.title",)


def test_invalid_policies_are_named_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "good.cedar").write_text('@id("fine")\npermit(principal, action, resource);\n')
    (tmp_path / "bad.cedar").write_text(
        '// a comment\n\n@id("odd")\npermit(principal, action == Action::"/nope", resource);\n'
    )
    with pytest.raises(InvalidPolicy) as invalid:
        AuthGuard.embedded(policies=tmp_path)
    problem = invalid.value.problems[0]
    assert (problem.file, problem.line, problem.policy) == ("bad.cedar", 3, "odd")


@pytest.mark.parametrize(
    ("policies", "says"),
    [
        ("policies/", "pass a Path"),
        (Path("/nowhere"), "does not exist"),
        (b"permit(principal, action, resource);", "Cedar text or a Path"),
    ],
)
def test_policies_that_are_no_policies_are_refused(policies: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        AuthGuard.embedded(policies=policies)


def test_data_is_kept_and_one_server_at_a_time_may_use_it(tmp_path: Path) -> None:
    with AuthGuard.embedded(policies=POLICY, data=tmp_path) as first:
        issuer = first.authorize(command=LIST, resource=repo("app")).issuer
        with pytest.raises(ConfigurationError, match=f"process {os.getpid()}"):
            AuthGuard.embedded(policies=POLICY, data=tmp_path)
    with AuthGuard.embedded(policies=POLICY, data=tmp_path) as second:
        assert second.authorize(command=LIST, resource=repo("app")).issuer == issuer


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="is not a folder") as refused:
        AuthGuard.embedded(policies=POLICY, data=tmp_path / "file")
    assert refused.value.setting == "data"


def test_a_failure_of_the_servers_thread_is_reported(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    with AuthGuard.embedded(policies=POLICY, data=tmp_path) as guard:
        guard.authorize(command=LIST, resource=repo("app"))
    for key in keys.glob("issuer-*.key"):
        key.chmod(0o644)
    with (
        AuthGuard.embedded(policies=POLICY, data=tmp_path) as guard,
        pytest.raises(errors.Unreachable, match="embedded server has failed: ConfigurationError"),
    ):
        guard.authorize(command=LIST, resource=repo("app"))


def test_swarm_variables_stop_an_embedded_guard_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOMOS_SWARM_ID", "s")
    with pytest.raises(ConfigurationError, match="NOMOS_SWARM_ID"):
        AuthGuard.embedded(policies=POLICY)


def test_receipts_survive_a_killed_process(tmp_path: Path) -> None:
    """The receipt of an allow is on disk before the allow is answered."""
    program = f"""
        from nomos import AuthGuard
        guard = AuthGuard.embedded(policies={POLICY!r}, data={str(tmp_path)!r})
        print(guard.authorize(command={LIST!r}, resource={repo("app")!r}).receipt_id, flush=True)
        input()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    receipt = process.stdout.readline().strip()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    import sqlite3

    with sqlite3.connect(next(tmp_path.glob("*.db"))) as database:
        rows = database.execute("select id from records where kind = 'decision'").fetchall()
    database.close()
    assert rows == [(receipt,)]


def test_the_delegation_has_receipt_purpose_and_resource(guard: AuthGuard) -> None:
    grant = guard.authorize(command=LIST, resource=repo("app"), purpose="triage")
    payload = decode_unverified(grant.chain[0])
    assert payload["meta"]["receipt_id"] == grant.receipt_id
    assert payload["meta"]["facts"]["purpose"] == "triage"
    assert payload["pol"] == [["==", ".cmd", LIST]]
    assert payload["meta"]["resource_constraint"] == repo("app")
