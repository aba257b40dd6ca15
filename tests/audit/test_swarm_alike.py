"""Similar members of a swarm are grouped, and different ones are kept apart."""

from __future__ import annotations

from typing import Any

from audit.families import APP, LISTING, Log, cid, did
from hypothesis import given
from hypothesis import strategies as some

from nomos.audit.agent_groups import AgentGroup, grouped
from nomos.audit.swarm import Swarm


def many(log: Log, delegator: str, names: list[str], **members: Any) -> list[str]:
    agents = [did(name) for name in names]
    for agent in agents:
        log.link(delegator, agent, **members)
    return agents


def sizes(group: AgentGroup) -> list[int]:
    return [len(each.members) for each in group.walk()]


def test_a_hundred_grandchildren_are_three_lines() -> None:
    log = Log()
    for child in many(log, log.root, list("abcdefghij"), command="/github"):
        for agent in many(log, child, [f"{child} {number}" for number in range(10)]):
            log.call(agent)
    top = grouped(log.swarm())
    assert sizes(top) == [1, 10, 100]
    assert sizes(grouped(log.swarm(), apart=True)) == [1] * 111


def test_groups_may_differ_in_size_and_actions() -> None:
    log = Log()
    a, b = many(log, log.root, ["a", "b"], command="/github")
    many(log, a, ["1", "2", "3"])
    [last] = many(log, b, ["4"])
    log.call(last, resource={**APP, "repo": "web"})
    assert sizes(grouped(log.swarm())) == [1, 2, 4]


def test_a_member_that_differs_is_not_grouped() -> None:
    def refused(log: Log, agent: str) -> None:
        log.call(agent, "resource_out_of_scope")

    def revoked(log: Log, agent: str) -> None:
        log.revoke(agent)

    def link_revoked(log: Log, agent: str) -> None:
        log.revoke(str(log.records[1].cid))

    def asked(log: Log, agent: str) -> None:
        log.add("decision", agent, decision="requires_step_up", command="/x")

    def given_more(log: Log, agent: str) -> None:
        log.link(log.root, agent, command="/x")

    def given_less(log: Log, agent: str) -> None:
        log.records[1] = log.records[1].__class__(
            **{**vars(log.records[1]), "detail": {"by": log.root, "pol": [["==", ".cmd", "/x"]]}}
        )

    def child_differs(log: Log, agent: str) -> None:
        log.link(agent, did("child"))

    for differs in (refused, revoked, link_revoked, asked, given_more, given_less, child_differs):
        log = Log()
        names = ["z", "a", "b", "c"]
        many(log, log.root, names)
        assert log.records[1].cid == cid("link 1")
        differs(log, did("a"))
        top = grouped(log.swarm())
        assert [len(each.members) for each in top.below] == [3, 1], differs
        assert [each.agent for each in top.below[1].members] == [did("a")]


def test_agents_with_equal_refusals_are_grouped() -> None:
    log = Log()
    for number, agent in enumerate(many(log, log.root, ["a", "b"])):
        log.call(agent, "resource_out_of_scope", resource={**APP, "repo": f"r{number}"})
    assert sizes(grouped(log.swarm())) == [1, 2]


LINKS = some.lists(
    some.tuples(some.integers(0, 8), some.integers(0, 8), some.booleans()), max_size=30
)


@given(LINKS, some.booleans())
def test_every_member_is_in_one_group_under_its_parent(
    links: list[tuple[int, int, bool]],
    apart: bool,  # noqa: FBT001
) -> None:
    log = Log()
    names = [log.root, *(did(number) for number in range(8))]
    for delegator, taker, same in links:
        log.link(names[delegator], names[taker], command=LISTING if same else f"/x{taker}")
    swarm: Swarm = log.swarm()
    groups = list(grouped(swarm, apart=apart).walk())
    members = [member for group in groups for member in group.members]
    assert sorted(each.agent for each in members) == sorted(each.agent for each in swarm.members)
    for group in groups:
        above = {each.agent for each in group.members}
        for lower in group.below:
            assert {each.forked_by for each in lower.members} <= above
    assert not apart or all(len(each.members) == 1 for each in groups)
