"""The published snippets, unchanged, with real servers, a real langgraph and a local GitHub."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from github import ISSUES, TOKEN, GitHub, github

from nomos import AuthGuard
from nomos._core.tokens import decode_unverified

POLICY = """
permit (principal, action in Action::"/github/issue", resource)
when { resource.owner == "acme" };

permit (principal, action == Action::"/github/pr/create", resource)
when { resource.owner == "acme" };

permit (principal, action == Action::"/github/repo/read", resource)
when { resource.owner == "acme" };

@id("a-lead-looks-first") @step_up("lead")
forbid (principal, action == Action::"/github/pr/create", resource)
unless { context.cosigned };
"""
HUMAN = Path(__file__).parent / "human.py"
SWARM_PARENT = Path(__file__).parent / "swarm_parent.py"
RESOURCE = {"provider": "github", "owner": "acme", "repo": "app"}


def page() -> Path:
    """The page lies beside the folder of vectors; a user's clone has neither."""
    vectors = os.environ.get("NOMOS_VECTORS")
    if vectors is None:
        pytest.skip("NOMOS_VECTORS is not set: the published page is not here")
    return Path(vectors).parent / "reference" / "PAGE.md"


def snippet(name: str) -> str:
    match = re.search(
        rf"^## {re.escape(name)}\n```python\n(.*?)^```",
        page().read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert match, f"the page has no snippet {name!r}"
    return match[1]


def run(source: str, **names: Any) -> dict[str, Any]:
    """Run a snippet as a reader would; a top-level `await` gets a loop."""
    code = compile(source, "PAGE.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    scope: dict[str, Any] = {"os": os, **names}
    outcome = eval(code, scope)
    if inspect.iscoroutine(outcome):
        asyncio.run(outcome)
    return scope


@pytest.fixture(scope="module")
def upstream() -> Iterator[GitHub]:
    with github() as served:
        yield served


@pytest.fixture
def system(upstream: GitHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[AuthGuard]:
    monkeypatch.setenv("NOMOS_GITHUB_URL", upstream.url)
    monkeypatch.setenv("NOMOS_GITHUB_TOKEN", TOKEN)
    with AuthGuard.embedded(policies=POLICY) as running:
        monkeypatch.delenv("NOMOS_GITHUB_TOKEN")
        monkeypatch.setenv("NOMOS_CONTROL_URL", running.control_plane_url)
        monkeypatch.setenv("NOMOS_API_KEY", str(running.api_key))
        monkeypatch.setenv("NOMOS_PDP_URL", str(running.pdp_url))
        yield running


def test_the_five_lines_run(system: AuthGuard) -> None:
    scope = run(snippet("five lines"))
    assert scope["grant"].decision == "allow"
    assert scope["grant"].ucan.count(".") == 2
    scope["guard"].close()


def test_the_langgraph_example_runs(system: AuthGuard, upstream: GitHub) -> None:
    from langgraph.graph import END, START

    scope = run(snippet("langgraph"))
    graph = scope["graph"]
    graph.add_edge(START, "list")
    graph.add_edge("list", END)
    compiled = graph.compile()
    assert compiled.invoke({"owner": "acme", "repo": "app"})["issues"] == ISSUES[:1]
    assert upstream.requests[-1][1:] == (
        "/repos/acme/app/issues",
        {"state": ["open"]},
        f"Bearer {TOKEN}",
    )
    with pytest.raises(RuntimeError, match="nomos denied: policy_denied"):
        compiled.invoke({"owner": "evil", "repo": "app"})
    scope["guard"].close()


def test_the_async_example_runs(system: AuthGuard) -> None:
    source = snippet("async").replace("{...}", repr(RESOURCE))
    source += "await guard.close()\n"
    assert run(source)["grant"].decision == "allow"


def test_the_fail_open_example_runs(system: AuthGuard) -> None:
    scope = run(snippet("fail-open"), AuthGuard=AuthGuard)
    guard = scope["guard"]
    assert guard.authorize(command="/github/issue/list", resource=RESOURCE).degraded is False
    guard.close()


@pytest.mark.parametrize(
    ("answer", "decision", "reason"),
    [("approve", "allow", None), ("deny", "deny", "approval_denied")],
)
def test_the_step_up_example_runs(
    system: AuthGuard, tmp_path: Path, answer: str, decision: str, reason: str | None
) -> None:
    """The person who is notified is another process, with an operator's key in a file."""
    key = tmp_path / "operator-api-key"
    key.touch(mode=0o600)
    key.write_text(system.approvals.operator_key.reveal())
    notified: list[Any] = []

    def notify_human(envelope_id: str) -> None:
        human = [
            sys.executable,
            str(HUMAN),
            system.control_plane_url,
            str(key),
            envelope_id,
            answer,
        ]
        done = subprocess.run(human, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        notified.append(json.loads(done.stdout))

    with AuthGuard.from_env() as guard:
        source = snippet("step-up").replace("{...}", repr(RESOURCE))
        grant = run(source, guard=guard, notify_human=notify_human)["grant"]
    (seen,) = notified
    assert (seen["asked"]["state"], seen["asked"]["agent"]) == ("pending", grant.agent)
    assert (seen["asked"]["command"], seen["asked"]["resource"]) == (grant.command, RESOURCE)
    assert [vote["reason"] for vote in seen["decided"]["votes"]] == ["seen by a person"]
    assert (grant.decision, grant.reason) == (decision, reason)
    if grant:
        assert decode_unverified(grant.chain[0])["meta"]["approval"]["id"] == seen["asked"]["id"]


def test_the_swarm_example_runs(system: AuthGuard, upstream: GitHub, tmp_path: Path) -> None:
    """The snippet runs in a process with a real chain; the process that it makes reads."""
    key = tmp_path / "child-key"
    made = subprocess.run(
        [sys.executable, "-m", "nomos", "keygen", str(key)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (did,) = re.findall(r"did:key:z6Mk\w{44}", made.stdout + made.stderr)
    source = snippet("swarm")
    assert source.count("did:key:z6Mk…child") == 1, "the snippet names a child"
    (tmp_path / "snippet.py").write_text(source.replace("did:key:z6Mk…child", did))
    grant = system.authorize(command="/github/repo/read", resource=RESOURCE)
    with system.fork_child(
        parent_chain=grant.require().chain,
        capabilities=[{"with": "github://acme/app", "can": "repo:read"}],
    ) as parent:
        process = parent.popen(
            [sys.executable, str(SWARM_PARENT), str(tmp_path / "snippet.py"), str(key)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        out, trouble = process.communicate(timeout=90)
    assert process.returncode == 0, trouble
    output = json.loads(out)
    assert (output["agent"], output["links"]) == (did, 3)
    assert output["online"] == output["offline"]
    assert output["online"]["full_name"] == "acme/app"
    assert upstream.requests[-1][1:] == ("/repos/acme/app", {}, f"Bearer {TOKEN}")
