"""The flow that forks children: choice of chains, number of requests, refusals."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from vectors.forge import (
    DELEGATION,
    ISSUER,
    NOW,
    PLANNER,
    RESEARCHER,
    UNRELATED,
    Party,
    child,
    delegation,
    did,
    root,
    sign,
)
from vectors.points import off_curve

from nomos._core import chain_verification, fork_request
from nomos._core.effects import Effect, Flow, Sign
from nomos._core.fork_request import ChildSpec, ForkedChild, ForkRequest, child_spec, fork
from nomos._core.scope import effective_capability, payloads
from nomos._io.runtime import run_flow
from nomos._io.signer import Signer, SignerConnection
from nomos._protocol import (
    Fork,
    ForkAnswer,
    Forked,
    ForkedLink,
    LoadKey,
    LoadKeyAnswer,
    Refused,
    Verified,
)
from nomos._sealed import make
from nomos.errors import (
    AttenuationError,
    ChainError,
    ChainTooDeep,
    ConfigurationError,
    ExpiredChain,
    MalformedChain,
    NomosError,
    SignerError,
    WrongAudience,
)
from nomos.models import Capability, Chain, ParentChain, chain_of

ACME = {"provider": "github", "owner": "acme"}
APP = ACME | {"repo": "app"}
READ = {"with": "github://acme/app", "can": "repo:read"}
RECEIPT = "evt_01jb0000000000000000000000"


def held(**changes: Any) -> Chain:
    meta = {"resource_constraint": ACME, "receipt_id": RECEIPT}
    return chain_of([root(**{"cmd": "/github", "meta": meta, **changes})])


def asking(*specs: ChildSpec, parent: ParentChain | None = None, **changes: Any) -> ForkRequest:
    values: dict[str, Any] = {
        "key": PLANNER.did,
        "parent": parent or make(ParentChain, chains=(held(),)),
        "specs": specs,
        "nonces": (f"n-{index}" for index in itertools.count()),
        "now": NOW,
    }
    return ForkRequest(**values | changes)


def wanted(*capabilities: Any, **changes: Any) -> ChildSpec:
    values: dict[str, Any] = {"audience_did": RESEARCHER.did, "ttl_seconds": None, "now": NOW}
    return child_spec(capabilities=list(capabilities) or [READ], **values | changes)


@pytest.fixture(scope="module")
def signer(binary: Path) -> Iterator[Signer]:
    link = SignerConnection(binary)
    made = Signer(link)
    made.ask(LoadKey(seed=PLANNER.seed))
    yield made
    link.close()


def played(flow: Flow[Any], signer: Signer) -> Any:
    def perform(effect: Effect[Any]) -> object:
        assert isinstance(effect, Sign)
        return signer.ask(effect.request)

    return run_flow(flow, perform)


def forked(signer: Signer, *specs: ChildSpec, **changes: Any) -> tuple[ForkedChild, ...]:
    children: tuple[ForkedChild, ...] = played(fork(asking(*specs, **changes)), signer)
    return children


def refused(signer: Signer, *specs: ChildSpec, **changes: Any) -> NomosError:
    with pytest.raises(NomosError) as error:
        forked(signer, *specs, **changes)
    return error.value


def test_a_child_gets_one_exact_link_for_each_capability(signer: Signer) -> None:
    (made,) = forked(
        signer,
        wanted(READ, {"command": "/github/issue", "resource": APP, "args": {"state": "open"}}),
    )
    assert made.agent == RESEARCHER.did
    assert made.seed is None
    assert [len(chain) for chain in made.parent.chains] == [2, 2]
    assert [effective_capability(chain) for chain in made.parent.chains] == [
        Capability("/github/repo/read", APP),
        Capability("/github/issue", APP, (["==", ".args.state", "open"],)),
    ]
    assert made.expires_at == datetime.fromtimestamp(NOW + 300, UTC)
    assert (made.parent.parent_receipt_id, made.parent.swarm_id) == (RECEIPT, RECEIPT)
    assert {payloads(chain)[1]["nonce"] for chain in made.parent.chains} == {"n-0", "n-1"}


def test_a_child_without_a_key_gets_one_of_its_own(signer: Signer, binary: Path) -> None:
    first, second = forked(signer, wanted(audience_did=None), wanted(READ, READ, audience_did=None))
    assert first.seed is not None and second.seed is not None
    link = SignerConnection(binary)
    try:
        answer = Signer(link).ask(LoadKey(seed=second.seed.reveal()))
    finally:
        link.close()
    assert isinstance(answer, LoadKeyAnswer)
    assert answer.key == second.agent != first.agent
    assert {payloads(chain)[-1]["aud"] for chain in second.parent.chains} == {second.agent}
    assert second.seed.reveal() not in repr(second)


def test_a_forked_chain_is_valid_and_can_be_forked_again(signer: Signer, binary: Path) -> None:
    parent = make(ParentChain, chains=(held(),), max_depth=4)
    link = SignerConnection(binary)
    try:
        for depth in range(2, 5):
            (made,) = played(
                fork(asking(wanted(audience_did=None), parent=parent, key=key_of(parent))), signer
            )
            assert made.seed is not None
            played(_loaded(made.seed.reveal()), signer)
            parent = made.parent
            (proven,) = played(
                chain_verification.verify_chain(parent, key=made.agent, now=NOW, setting="X"),
                signer,
            )
            assert isinstance(proven, Verified)
            assert proven.depth == depth
        error = refused(signer, wanted(), parent=parent, key=key_of(parent))
    finally:
        link.close()
    assert isinstance(error, ChainTooDeep)
    assert str(error).startswith("capabilities[0]: the chain has 4 delegations of at most 4")


def key_of(parent: ParentChain) -> str:
    return str(payloads(parent.chains[0])[-1]["aud"])


def _loaded(seed: str) -> Flow[object]:
    yield Sign(LoadKey(seed=seed))
    return None


@pytest.mark.parametrize(
    ("capability", "asked", "has"),
    [
        ({"with": "github://acme/app", "can": "*"}, "cmd /github ", "/github/repo"),
        ({"with": "github://acme/app", "can": "issue:list"}, "/github/issue/list", "/github/repo"),
        ({"with": "github://other/app", "can": "repo:read"}, '"owner":"other"', '"owner":"acme"'),
        ({"with": "github://acme", "can": "repo:read"}, '{"owner":"acme"', '"repo":"app"'),
        ({"with": "filesystem:///a", "can": "read"}, "/filesystem/read", "/github/repo"),
    ],
)
def test_a_capability_beyond_the_chain_is_refused_with_both(
    signer: Signer, capability: dict[str, Any], asked: str, has: str
) -> None:
    chain = held(cmd="/github/repo", meta={"resource_constraint": APP})
    parent = make(ParentChain, chains=(chain,))
    error = refused(signer, wanted(READ, capability), parent=parent)
    assert isinstance(error, AttenuationError)
    assert error.code == "chain_attenuation_violation"
    assert str(error).startswith("capabilities[1]: ")
    assert asked in str(error)
    assert has in str(error)


def test_a_lifetime_beyond_the_chain_is_refused_with_both_times(signer: Signer) -> None:
    assert forked(signer, wanted(ttl_seconds=300))
    error = refused(signer, wanted(ttl_seconds=301))
    assert isinstance(error, AttenuationError)
    assert "ttl_seconds=301 would end at 2023-11-14 22:18:21 UTC" in str(error)
    assert "the chain ends at 2023-11-14 22:18:20 UTC" in str(error)
    (made,) = forked(signer, wanted(ttl_seconds=10))
    assert made.expires_at == datetime.fromtimestamp(NOW + 10, UTC)
    assert payloads(made.parent.chain)[1]["exp"] == NOW + 10


def test_the_first_error_of_several_children_names_the_child(signer: Signer) -> None:
    specs = [wanted(at=f"children[{index}].") for index in range(3)]
    specs[2] = wanted(READ, {"with": "github://other", "can": "*"}, at="children[2].")
    assert str(refused(signer, *specs)).startswith("children[2].capabilities[1]: ")


def test_chains_that_cannot_be_delegated_are_refused_with_the_reason(signer: Signer) -> None:
    cases: list[tuple[Chain, type[ChainError], str]] = [
        (held(exp=NOW), ExpiredChain, "expired"),
        (held(nbf=NOW + 10), ExpiredChain, "not_yet_valid"),
        (held(meta={"approval": {"id": "env_1"}}), MalformedChain, "chain_invalid"),
        (chain_of([root(cmd="/github"), root(cmd="/github")]), MalformedChain, "chain_invalid"),
        (chain_of([root(cmd="/github")[:-4] + "AAAA"]), MalformedChain, "bad_signature"),
    ]
    for chain, kind, code in cases:
        error = refused(signer, wanted(), parent=make(ParentChain, chains=(chain,)))
        assert isinstance(error, kind), code
        assert error.code == code
        assert str(error).startswith(("parent_chain: ", "capabilities[0]: ")), str(error)
        assert chain[0] not in str(error)


def test_a_chain_for_another_key_names_both(signer: Signer) -> None:
    unrelated = sign(DELEGATION, delegation(ISSUER, UNRELATED), ISSUER)
    for chains in [(chain_of([unrelated]),), (held(), chain_of([unrelated]))]:
        error = refused(signer, wanted(), parent=make(ParentChain, chains=chains))
        assert isinstance(error, WrongAudience)
        assert UNRELATED.did in str(error)
        assert PLANNER.did in str(error)


def test_a_missing_key_names_its_variables(signer: Signer) -> None:
    writer = Party(9)
    chain = chain_of([sign(DELEGATION, delegation(ISSUER, writer), ISSUER)])
    error = refused(
        signer,
        wanted({"command": "/github/issue", "resource": APP}),
        parent=make(ParentChain, chains=(chain,)),
        key=writer.did,
    )
    assert isinstance(error, ConfigurationError)
    for variable in ("KEY_FD", "KEY_HANDOVER_FILE", "KEY_FILE"):
        assert f"NOMOS_AGENT_{variable}" in str(error)


@pytest.mark.parametrize(
    "pol",
    [
        [["or", []]],
        [["sounds like", ".args.a", 1]],
        ["=="],
        [["==", "args", 1]],
        [["==", ".a", []], ["or", [["or", []]]]],
    ],
)
def test_a_vacuous_statement_is_an_invalid_argument(signer: Signer, pol: list[Any]) -> None:
    error = refused(signer, wanted(READ, READ | {"pol": pol}))
    assert isinstance(error, ConfigurationError)
    assert error.setting == "capabilities[1]"


def test_an_impossible_audience_is_an_invalid_argument(signer: Signer) -> None:
    for named in ("", "did:key:z6MkNobody", "did:web:example.com", RESEARCHER.did + "x", 7):
        with pytest.raises(ConfigurationError, match="audience_did must be") as error:
            wanted(audience_did=named)
        assert error.value.setting == "audience_did"
    not_on_the_curve = did(off_curve())
    error_of_binary = refused(signer, wanted(audience_did=not_on_the_curve))
    assert isinstance(error_of_binary, ConfigurationError)
    assert error_of_binary.setting == "audience_did"


@pytest.mark.parametrize("ttl", [0, -1, 1.5, "60", True, 10**12])
def test_an_invalid_time_is_an_invalid_argument(ttl: Any) -> None:
    with pytest.raises(ConfigurationError) as error:
        wanted(ttl_seconds=ttl, at="children[1].")
    assert error.value.setting == "children[1].ttl_seconds"


def sent(forking: ForkRequest) -> Fork:
    effect = next(fork(forking))
    assert isinstance(effect, Sign)
    assert isinstance(effect.request, Fork)
    return effect.request


def test_each_capability_narrows_the_first_chain_that_covers_it() -> None:
    issues = held(cmd="/github/issue")
    everything = held(meta={"resource_constraint": {"provider": "github"}}, nonce="n-2")
    parent = make(ParentChain, chains=(issues, everything))
    request = sent(
        asking(
            wanted({"with": "github://acme/app", "can": "issue:list"}, READ),
            wanted({"with": "github://other/app", "can": "issue:list"}),
            parent=parent,
        )
    )
    assert request.chains == [list(issues), list(everything)]
    assert [[link.chain for link in each.links] for each in request.children] == [[0, 1], [1]]


def test_only_the_chains_that_are_narrowed_are_sent() -> None:
    parent = make(ParentChain, chains=(held(cmd="/github/issue"), held(nonce="n-2")))
    request = sent(asking(wanted(), parent=parent))
    assert request.chains == [list(parent.chains[1])]
    assert request.children[0].links[0].chain == 0


def test_a_chain_that_expires_sooner_or_is_approved_is_skipped() -> None:
    over, once = held(exp=NOW), held(meta={"approval": {"id": "env_1"}})
    short, long = held(exp=NOW + 100), held(exp=NOW + 200)
    parent = make(ParentChain, chains=(once, over, short, long))
    assert sent(asking(wanted(), parent=parent)).chains == [list(short)]
    assert sent(asking(wanted(ttl_seconds=150), parent=parent)).chains == [list(long)]


def test_an_uncovered_capability_is_sent_with_the_first_chain() -> None:
    parent = make(ParentChain, chains=(held(cmd="/github/issue"), held(nonce="n-2")))
    request = sent(asking(wanted({"with": "filesystem:///a", "can": "*"}), parent=parent))
    assert request.chains == [list(parent.chains[0])]


OPEN = ["==", ".args.state", "open"]
ANY = ["==", ".args.state", "all"]


def of_two(**capability: Any) -> ForkRequest:
    """Return a request by a parent with two chains of the same reach, and other statements."""
    parent = make(ParentChain, chains=(held(pol=[OPEN]), held(pol=[[*OPEN[:2], "closed"]])))
    return asking(wanted(READ | capability), parent=parent)


def test_each_covering_chain_is_an_alternative_if_there_are_statements() -> None:
    request = sent(of_two(pol=[ANY]))
    assert len(request.chains) == 2
    (link,) = request.children[0].links
    assert (link.chain, link.alternatives) == (0, [1])
    (plain,) = sent(of_two()).children[0].links
    assert (plain.chain, plain.alternatives) == (0, None)


@pytest.mark.parametrize(("taken", "index"), [(None, 0), (1, 1)])
def test_a_child_inherits_the_chain_that_the_binary_selected(taken: int | None, index: int) -> None:
    forking = of_two(pol=[ANY])
    flow = fork(forking)
    next(flow)
    made = Forked(aud=RESEARCHER.did, links=[ForkedLink(jwt="a.b.c", cid="ab", chain=taken)])
    with pytest.raises(StopIteration) as done:
        flow.send(ForkAnswer(id=1, children=[made], more=False))
    assert done.value.value[0].parent.chains[0][0] == forking.parent.chains[index][0]


def test_an_answer_with_an_unoffered_chain_is_refused() -> None:
    for forking, chain in ((of_two(pol=[ANY]), 0), (of_two(pol=[ANY]), 2), (of_two(), 1)):
        flow = fork(forking)
        next(flow)
        made = Forked(aud=RESEARCHER.did, links=[ForkedLink(jwt="a.b.c", cid="ab", chain=chain)])
        with pytest.raises(SignerError, match="unexpected response type"):
            flow.send(ForkAnswer(id=1, children=[made], more=False))


def refused_as(signer_says: Refused) -> str:
    flow = fork(asking(wanted()))
    next(flow)
    with pytest.raises(AttenuationError) as error:
        flow.send(signer_says)
    return str(error.value)


def test_statements_that_exceed_the_chain_are_worded_if_they_can_be() -> None:
    no = Refused(
        code="chain_attenuation_violation",
        message="children[0].links[0]: too much",
        statement=OPEN,
        requested=[ANY],
    )
    assert refused_as(no) == (
        'capabilities[0] exceeds the chain: requested is `state is "all"`, held is '
        "`state is \"open\"`. A child's constraints must be within its parent's, or left out"
    )
    for unread in ({"statement": ["xor"]}, {"requested": [["xor"]]}, {"requested": None}):
        assert refused_as(no.model_copy(update=unread)) == "capabilities[0]: too much"


def answered(forking: ForkRequest) -> tuple[list[Fork], tuple[ForkedChild, ...]]:
    """Play a binary that gives whatever is asked."""
    requests: list[Fork] = []

    def perform(effect: Effect[Any]) -> object:
        assert isinstance(effect, Sign)
        request = effect.request
        assert isinstance(request, Fork)
        requests.append(request)
        children = [
            Forked(
                aud=RESEARCHER.did if each.aud is None else each.aud,
                links=[ForkedLink(jwt=f"a.{link.nonce}.c", cid="ab") for link in each.links],
            )
            for each in request.children
        ]
        return ForkAnswer(id=1, children=children, more=False)

    return requests, run_flow(fork(forking), perform)


def test_many_children_go_in_requests_of_a_thousand_links() -> None:
    requests, children = answered(asking(*[wanted(READ, READ, READ)] * 1000))
    assert [sum(len(each.links) for each in one.children) for one in requests] == [999, 999, 999, 3]
    assert len(children) == 1000
    seen = [chain[-1] for each in children for chain in each.parent.chains]
    assert seen == [f"a.n-{index}.c" for index in range(3000)]


def test_a_request_stays_below_what_the_binary_reads() -> None:
    statement = ["==", ".args.text", "x" * 9000]
    requests, children = answered(asking(*[wanted(READ | {"pol": [statement]})] * 250))
    assert len(requests) == 3
    assert len(children) == 250
    assert all(len(one.model_dump_json()) < 1024 * 1024 for one in requests)


def test_a_child_that_fits_into_no_request_is_refused_by_name() -> None:
    large = READ | {"pol": [["==", ".args.text", "ü" * 60_000]]}
    with pytest.raises(ConfigurationError, match="name fewer capabilities") as error:
        sent(asking(wanted(*[large] * 10, at="children[0].")))
    assert error.value.setting == "children[0].capabilities"


def test_a_refusal_in_the_second_request_names_its_child_and_chain() -> None:
    specs = [wanted(*[READ] * 64, at=f"children[{index}].") for index in range(20)]
    flow = fork(asking(*specs, parent=make(ParentChain, chains=(held(cmd="/a"), held()))))
    effect = next(flow)
    assert isinstance(effect, Sign) and isinstance(effect.request, Fork)
    given = [
        Forked(aud=RESEARCHER.did, links=[ForkedLink(jwt="a.b.c", cid="ab")] * 64)
        for _ in effect.request.children
    ]
    flow.send(ForkAnswer(id=1, children=given, more=False))
    message = "children[1].links[5]: no"
    with pytest.raises(AttenuationError, match=r"^children\[16\]\.capabilities\[5\]: no$"):
        flow.send(Refused(code="chain_attenuation_violation", message=message))
    flow = fork(asking(*specs, parent=make(ParentChain, chains=(held(cmd="/a"), held()))))
    next(flow)
    with pytest.raises(ExpiredChain, match=r"^parent_chain\[1\]: late$") as error:
        flow.send(Refused(code="expired", message="chains[0]: late", hop=1))
    assert error.value.hop == 1


@pytest.mark.parametrize(
    "answer",
    [
        LoadKeyAnswer(id=1, key=PLANNER.did),
        ForkAnswer(id=1, children=[], more=False),
        ForkAnswer(id=1, children=[Forked(aud=RESEARCHER.did, links=[])], more=False),
    ],
)
def test_an_answer_to_another_request_is_refused(answer: object) -> None:
    flow = fork(asking(wanted()))
    next(flow)
    with pytest.raises(SignerError, match="unexpected response type"):
        flow.send(answer)


def test_a_refusal_that_is_not_about_chains_is_the_signers() -> None:
    flow = fork(asking(wanted()))
    next(flow)
    with pytest.raises(SignerError, match="it broke") as error:
        flow.send(Refused(code="internal", message="it broke"))
    assert error.value.code == "internal"


def test_every_refusal_of_a_chain_has_its_error() -> None:
    for code, kind in chain_verification.ERROR_BY_CODE.items():
        error = chain_verification.error(Refused(code=code, message="", hop=2), "m")  # type: ignore[arg-type]
        assert isinstance(error, ChainError)
        assert (type(error), error.code, error.hop) == (kind, code, 2)


def test_a_chain_is_verified_by_the_binary_for_its_key(signer: Signer) -> None:
    good = make(ParentChain, chains=(held(), held(nonce="n-2")))
    assert (
        len(
            played(
                chain_verification.verify_chain(good, key=PLANNER.did, now=NOW, setting="X"), signer
            )
        )
        == 2
    )
    with pytest.raises(
        WrongAudience, match=f"X\\[0\\] is delegated to the key {PLANNER.did}"
    ) as wrong:
        played(
            chain_verification.verify_chain(good, key=RESEARCHER.did, now=NOW, setting="X"), signer
        )
    assert RESEARCHER.did in str(wrong.value)
    late = make(ParentChain, chains=(held(), held(exp=NOW)))
    with pytest.raises(ExpiredChain, match=r"^X\[1\]: "):
        played(chain_verification.verify_chain(late, key=PLANNER.did, now=NOW, setting="X"), signer)
    wider = [*held(cmd="/github/issue"), child(held()[0], cmd="/github")]
    wide = make(ParentChain, chains=(chain_of(wider),))
    with pytest.raises(ChainError, match=r"^X: "):
        played(
            chain_verification.verify_chain(wide, key=RESEARCHER.did, now=NOW, setting="X"), signer
        )
    widened = chain_of([root(), child(root(), cmd="/github")])
    parent = make(ParentChain, chains=(widened,))
    with pytest.raises(AttenuationError, match=r"^X: ") as error:
        played(
            chain_verification.verify_chain(parent, key=RESEARCHER.did, now=NOW, setting="X"),
            signer,
        )
    assert error.value.hop == 1
    deep = make(ParentChain, chains=(chain_of([root(), child(root())]),), max_depth=1)
    with pytest.raises(ChainTooDeep):
        played(
            chain_verification.verify_chain(deep, key=RESEARCHER.did, now=NOW, setting="X"), signer
        )


def test_an_unexpected_answer_proves_nothing() -> None:
    flow = chain_verification.verify_chain(
        make(ParentChain, chains=(held(),)), key=PLANNER.did, now=NOW, setting="X"
    )
    next(flow)
    with pytest.raises(SignerError):
        flow.send(LoadKeyAnswer(id=1, key=PLANNER.did))


def test_swarm_and_parent_receipt_come_from_the_chain_or_else_from_the_parent(
    signer: Signer,
) -> None:
    def family(meta: dict[str, Any] | None) -> tuple[str | None, str | None]:
        said = {"parent_receipt_id": "evt_said", "swarm_id": "said"}
        parent = make(ParentChain, chains=(held(meta=meta or ...),), **said)
        (made,) = forked(signer, wanted({"command": "/github", "resource": APP}), parent=parent)
        return made.parent.parent_receipt_id, made.parent.swarm_id

    assert family(None) == ("evt_said", "said")
    assert family({"receipt_id": RECEIPT}) == (RECEIPT, RECEIPT)
    lineage = {"root": PLANNER.did, "invokedBy": [], "depth": 0, "swarmId": "night-run"}
    assert family({"receipt_id": RECEIPT, "lineage": lineage}) == (RECEIPT, "night-run")


def test_the_repr_of_a_fork_request_has_no_token() -> None:
    assert "n-0" not in repr(asking(wanted()))
    assert fork_request.MAX_REQUEST < 1024 * 1024
