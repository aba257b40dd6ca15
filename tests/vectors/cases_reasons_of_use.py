"""Refusals of an invocation, and of a requested capability."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vectors.cases import Case, verify, verify_use
from vectors.cases_reasons import HELD, LIMITED, ROOT, reason, text
from vectors.forge import (
    HERE,
    INVOCATION,
    ISSUER,
    NOW,
    PLANNER,
    RESEARCHER,
    SERVICE,
    Payload,
    child,
    invocation,
    root,
    sign,
)

LIST: Final = "/github/issue/list"
GITHUB: Final = {"provider": "github"}


def reasons_of_use() -> Iterator[Case]:
    yield from _parties()
    yield from _wider()
    yield from _at_a_service()
    yield from _policies()
    yield from _calls()
    yield from _requested()


def used(first: str = ROOT, /, **changes: Any) -> str:
    """The planner's use of a root."""
    claims = {"args": {"resource": GITHUB}, **changes}
    return sign(INVOCATION, invocation(PLANNER, [first], **claims), PLANNER)


def below(meta: Payload, link: Payload) -> str:
    """The researcher's use of a link below a root."""
    first = root(meta=meta)
    links = [first, child(first, meta=link)]
    return sign(INVOCATION, invocation(RESEARCHER, links), RESEARCHER)


def _parties() -> Iterator[Case]:
    begins = "the token is not valid yet by the verifier's clock"
    yield reason(
        "a use that begins later",
        verify_use(used(iat=NOW + 1)),
        "not_yet_valid",
        1,
        begins,
        field="iat",
        wanted=f"at most {NOW}",
        found=f"{NOW + 1}",
    )
    by_another = used(root(aud=ISSUER.did), iss=ISSUER.did)
    yield reason(
        "a use in the name of another",
        verify_use(by_another),
        "bad_signature",
        1,
        "the signature is not the issuer's",
    )
    yield reason(
        "a use by another than the holder",
        verify_use(used(root(aud=RESEARCHER.did))),
        "chain_invalid",
        1,
        "the invocation is not by the chain's last audience",
        field="iss",
        wanted=text(RESEARCHER.did),
        found=text(PLANNER.did),
    )
    yield reason(
        "a use of another root",
        verify_use(used(sub=PLANNER.did)),
        "chain_invalid",
        1,
        "sub is not the issuer of the root",
        field="sub",
        wanted=text(ISSUER.did),
        found=text(PLANNER.did),
    )
    yield reason(
        "a use for another service",
        verify_use(used()) | {"audience": ISSUER.did},
        "audience_mismatch",
        1,
        "the invocation is for another service",
        field="aud",
        wanted=text(ISSUER.did),
        found=text(SERVICE.did),
    )


def _wider() -> Iterator[Case]:
    yield reason(
        "a use of another command",
        verify_use(used(cmd="/github/issues/list")),
        "chain_attenuation_violation",
        1,
        "cmd is not within that of the chain",
        field="cmd",
        wanted='"/github/issue" or under it',
        found='"/github/issues/list"',
    )
    yield reason(
        "a use for longer",
        verify_use(used(exp=NOW + 301)),
        "chain_attenuation_violation",
        1,
        "exp is later than that of the chain",
        field="exp",
        wanted=f"at most {NOW + 300}",
        found=f"{NOW + 301}",
    )
    yield reason(
        "a use of another resource",
        verify_use(used(root(meta={**HERE, **HELD}))),
        "resource_out_of_scope",
        1,
        "the resource is not within the chain's constraint",
        field="args.resource",
        wanted='within {"owner":"acme"}',
        found=text(GITHUB),
    )


def _at_a_service() -> Iterator[Case]:
    other, service = "the chain is for another service", text(SERVICE.did)
    unnamed = "the chain does not name the service that it is for"
    for_pdp = "the chain is for a PDP, which decides on each call by policy"
    elsewhere, several = {**HERE, "audience": ISSUER.did}, {**HERE, "audience": [SERVICE.did]}
    opened, anonymous, word = (
        {"audience": SERVICE.did},
        {"closed": True},
        {**HERE, "closed": "true"},
    )
    hosted = {"allow_missing_prf": True}
    audience, closed = ("meta.audience", service), ("meta.closed", "true")
    for name, token, asked, hop, message, (field, wanted), found in (
        ("for another", used(root(meta=elsewhere)), {}, 0, other, audience, ISSUER.did),
        ("for a list", used(root(meta=several)), {}, 0, other, audience, [SERVICE.did]),
        ("for none", used(root(meta=anonymous)), {}, 0, unnamed, audience, ...),
        ("without meta", used(root(meta=...)), {}, 0, unnamed, audience, ...),
        ("for a PDP", used(root(meta=opened)), {}, 0, for_pdp, closed, ...),
        (
            *("closed in another word", used(root(meta=word)), {**hosted, "pdp": False}),
            *(0, for_pdp, closed, "true"),
        ),
        ("closed below its root", below(opened, anonymous), {}, 0, for_pdp, closed, ...),
        ("named below its root", below(anonymous, HERE), {}, 0, unnamed, audience, ...),
        (
            *("narrowed to another", below(HERE, elsewhere), {**hosted, "pdp": True}),
            *(1, other, audience, ISSUER.did),
        ),
    ):
        says = {"field": field, "wanted": wanted}
        says |= {} if found is ... else {"found": text(found)}
        request = verify_use(token, **asked)
        yield reason(f"a chain {name}", request, "audience_mismatch", hop, message, **says)


def _policies() -> Iterator[Case]:
    """The message has the whole statement up to 4096 characters of JSON."""
    is_four = ["==", ".args.n", 4]
    longest, longer = (["==", ".args.n", "x" * (4096 - rest)] for rest in (19, 18))
    deep = [*([["==", ".args.n", 3]] * 11), ["and", [["and", []], is_four]]]
    call = {"args": {"resource": GITHUB, "n": 3}}
    shortened = '["==",".args.n","' + "x" * (256 - 17) + "…"
    whole = {"wanted": text(is_four), "statement": is_four}
    for name, pol, changes, where, says in (
        ("deep in a policy", deep, call, "pol[11][1][1]", {**whole, "found": "3"}),
        ("that finds nothing", [is_four], {}, "pol[0]", whole),
        ("as long as any", [longest], {}, "pol[0]", {"wanted": shortened, "statement": longest}),
        ("too long to be shown", [longer], {}, "pol[0]", {"wanted": shortened}),
    ):
        message = f"{where[: where.index(']') + 1]} of this link does not hold"
        request = verify_use(used(root(pol=pol), **changes))
        details = {"field": where, **says}
        yield reason(f"a statement {name}", request, "resource_out_of_scope", 0, message, **details)


def _calls() -> Iterator[Case]:
    call = {"cmd": LIST, "resource": GITHUB, "args": {}}
    closed = {"args": {"state": "closed"}}
    read, owned = "/github/issue/read", {"owner": "acme", **GITHUB}
    signed = {"args": {"resource": GITHUB, "state": "open"}}
    long, cut = {"args": {"resource": GITHUB, "n" * 65: 1}}, "n" * 64
    statement = ["!=", ".args.state", "closed"]
    where = {"field": "pol[0]", "wanted": text(statement), "statement": statement}
    for name, token, changes, hop, message, says in (
        (
            *("another command", used(), {"cmd": read}, 1),
            "the call's command is not the signed one",
            {"field": "cmd", "wanted": text(read), "found": text(LIST)},
        ),
        (
            *("another resource", used(), {"resource": owned}, 1),
            "the call's resource is not the signed one",
            {"field": "args.resource", "wanted": text(owned), "found": text(GITHUB)},
        ),
        (
            *("another argument", used(**signed), closed, 1),
            'the call\'s argument "state" is not the signed one',
            {"field": "args.state", "wanted": '"closed"', "found": '"open"'},
        ),
        (
            *("no such argument", used(**long), {}, 1),
            f'the call is without the argument "{cut}", which was signed',
            {"field": f"args.{cut}", "found": "1"},
        ),
        (
            *("a policy over the call", used(root(pol=[statement])), closed, 0),
            "pol[0] of this link does not hold",
            {**where, "found": '"closed"'},
        ),
    ):
        request = verify_use(token, call={**call, **changes})
        yield reason(f"a call: {name}", request, "resource_mismatch", hop, message, **says)


def _requested() -> Iterator[Case]:
    """Requests for a capability."""
    requested = {"cmd": LIST, "resource": {"owner": "acme"}}
    yield reason(
        *(
            "requested: above the command",
            verify(chain=[ROOT], requested={**requested, "cmd": "/github"}),
        ),
        "chain_attenuation_violation",
        0,
        "the requested command is not within that of the chain",
        field="cmd",
        wanted='"/github/issue" or under it',
        found='"/github"',
    )
    beyond = verify(chain=[LIMITED, child(LIMITED)], requested={**requested, "resource": {}})
    yield reason(
        "requested: beyond the constraint",
        beyond,
        "resource_out_of_scope",
        1,
        "the requested resource is not within the chain's constraint",
        field="meta.resource_constraint",
        wanted='within {"owner":"acme"}',
        found="{}",
    )
    yield reason(
        "requested: from an approval",
        verify(chain=[root(meta={"approval": {}})], requested=requested),
        "chain_invalid",
        0,
        "a delegation that came from an approval is for one call only",
        field="meta.approval",
    )
