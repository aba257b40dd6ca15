"""An approval is valid for exactly one question: every difference is named."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import pytest
from long_runs import times
from server.control.people import ISSUE, POLICY, REPO, approved, operator, seen

from nomos._io.signer import AsyncSigner, Signer, SignerConnection
from nomos._protocol import LoadKey, LoadKeyAnswer
from nomos.server.domain.envelope import LIFE_SECONDS

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio

WANTED: Final = times(200, short=50)

PULL: Final = {"command": "/github/pr/create", "resource": REPO}
READ: Final = {"command": "/github/issue/read", "resource": {**REPO, "issue_number": 7}}
WRITE: Final = {
    "command": "/filesystem/file/write",
    "resource": {"provider": "filesystem", "path": "notes.txt"},
    "args": {"content": "All is well.\n", "encoding": "utf-8"},
}
DELETED: Final = object()

Change = tuple[Mapping[str, Any], tuple[str, ...], Any, str]
"""A question, the member to change, its new value, and what the refusal must name."""


@pytest.fixture(autouse=True)
def _later(plane: Plane) -> None:
    """Approvals of the test before have expired."""
    plane.clock.now += LIFE_SECONDS


def changes() -> Iterator[Change]:
    """Every kind of field, and other values for it each time around."""
    unbound = {name: ISSUE[name] for name in ("command", "resource", "context")}
    for n in itertools.count():
        yield PULL, ("command",), "/github/issue/create", "command"
        yield unbound, ("command",), "/github/pr/create", "command"
        yield ISSUE, ("resource", "owner"), f"other{n}", "resource.owner"
        yield ISSUE, ("resource", "repo"), f"other{n}", "resource.repo"
        yield READ, ("resource", "issue_number"), 8 + n, "resource.issue_number"
        yield WRITE, ("resource", "path"), f"notes{n}.txt", "resource.path"
        yield ISSUE, ("args", "title"), f"It works{n}", "args.title"
        yield ISSUE, ("args", "body"), f"Again{n}", "args.body"
        yield ISSUE, ("args", "body"), DELETED, "args.body"
        yield ISSUE, ("args", "labels"), ["ui", "bug", str(n)], "args.labels"
        yield ISSUE, ("args", "labels"), ["ui", "bug"], "args.labels"
        yield ISSUE, ("args", "milestone"), 8 + n, "args.milestone"
        yield ISSUE, ("args", "assignees"), [f"someone{n}"], "args.assignees"
        yield ISSUE, ("args",), DELETED, "args"
        yield unbound, ("args",), {"title": f"bound{n}"}, "args"
        yield WRITE, ("args", "content"), f"All is lost{n}.\n", "args.content"
        yield WRITE, ("args", "encoding"), DELETED, "args.encoding"
        yield ISSUE, ("context", "team"), f"red{n}", "context.team"
        yield ISSUE, ("context", "ticket"), 13 + n, "context.ticket"
        yield ISSUE, ("context", "ticket"), "12", "context.ticket"
        yield ISSUE, ("context", "ticket"), DELETED, "context.ticket"
        yield ISSUE, ("context", "deep"), {"a": [n]}, "context.deep"
        yield ISSUE, ("ttlSeconds",), 301 + n, "ttlSeconds"
        yield ISSUE, ("agentDid",), n, "agentDid"
        yield ISSUE, ("app",), n, "app"


def changed(question: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The question with one member set, or left out."""
    after = dict(question)
    if len(path) == 1:
        after[path[0]] = value
    else:
        after[path[0]] = changed(question.get(path[0], {}), path[1:], value)
    return {name: member for name, member in after.items() if member is not DELETED}


@pytest.fixture(scope="module")
async def plane(
    tmp_path_factory: pytest.TempPathFactory, signer: AsyncSigner, open_plane: OpenPlane
) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path_factory.mktemp("mismatch"), signer, policy=POLICY) as plane:
        yield plane


async def test_one_changed_field_is_refused_and_named(
    plane: Plane, agent: str, link: SignerConnection
) -> None:
    lead = await operator(plane, "lead")
    another_app = await plane.another()
    refusals, kinds = 0, set()
    for number, (question, path, value, field) in enumerate(itertools.islice(changes(), WANTED)):
        # The purpose is not bound; the ttl makes each approval another one.
        base = {**question, "ttlSeconds": question.get("ttlSeconds", 300), "agentDid": agent}
        if field != "ttlSeconds":
            base["ttlSeconds"] = 400 + number
        envelope = await approved(plane, lead, **base)
        headers = another_app if field == "app" else None
        if field == "agentDid":
            value = other_key(link, value)  # noqa: PLW2901 (it is made here)
        # Another app cannot ask for this agent at all: it asks for its own.
        retry = {**base, "agentDid": ...} if field == "app" else changed(base, path, value)
        answer = (await plane.ask(headers, **retry, cosignerEnvelopeId=envelope)).json()
        assert answer["decision"] == "deny", (field, answer)
        message = answer["explanation"]["message"]
        if field == "app":
            assert answer["reason"] == "approval_not_found"
            assert "app" in message
        else:
            assert answer["reason"] == "approval_mismatch", (field, answer)
            assert answer["explanation"]["fields"] == [field]
            assert f": {field} differs" in message
        assert ("agent_key_file" in message) == (field == "agentDid")
        assert (await seen(plane, envelope))["state"] == "approved"
        allowed = (await plane.ask(**base, cosignerEnvelopeId=envelope)).json()
        assert allowed["decision"] == "allow"
        refusals += 1
        kinds.add(field)
    assert refusals == WANTED
    assert len(kinds) == 19


def other_key(link: SignerConnection, number: int) -> str:
    answer = Signer(link).ask(LoadKey(seed=f"{number + 1:064x}"))
    assert isinstance(answer, LoadKeyAnswer)
    return answer.key


async def test_all_differing_fields_are_named(plane: Plane, agent: str) -> None:
    envelope = await approved(plane, await operator(plane, "lead"), **ISSUE, agentDid=agent)
    retry = {
        **ISSUE,
        "resource": {**REPO, "repo": "other"},
        "args": {"title": "other"},
        "ttlSeconds": 1,
        "cosignerEnvelopeId": envelope,
    }
    answer = (await plane.ask(**retry)).json()
    assert answer["explanation"]["fields"] == [
        "agentDid",
        "args.body",
        "args.labels",
        "args.milestone",
        "args.title",
        "resource.repo",
        "ttlSeconds",
    ]


SAME: Final[Mapping[str, Mapping[str, Any]]] = {
    "letters of a name": {"resource": {**REPO, "owner": "ACME"}},
    "order of members": {"context": {"ticket": 12, "team": "blue"}},
    "a whole float": {"context": {"ticket": 12.0, "team": "blue"}},
    "another purpose": {"purpose": "something else"},
    "the default said": {"ttlSeconds": 300},
}


@pytest.mark.parametrize("name", SAME)
async def test_equivalent_spellings_match_the_approval(plane: Plane, agent: str, name: str) -> None:
    envelope = await approved(plane, await operator(plane, "lead"), **ISSUE, agentDid=agent)
    retry = {**ISSUE, **SAME[name], "agentDid": agent, "cosignerEnvelopeId": envelope}
    assert (await plane.ask(**retry)).json()["decision"] == "allow"


async def test_names_chosen_by_an_agent_are_escaped(plane: Plane, agent: str) -> None:
    context = {f"fact{n}": n for n in range(50)} | {"\u202eevil\n": 1}
    question = {**ISSUE, "agentDid": agent, "context": {}}
    envelope = await approved(plane, await operator(plane, "lead"), **question)
    answer = (
        await plane.ask(**{**question, "context": context}, cosignerEnvelopeId=envelope)
    ).json()
    assert answer["reason"] == "approval_mismatch"
    assert len(answer["explanation"]["message"]) < 500
    assert all(field.isascii() for field in answer["explanation"]["fields"])
