"""`explain`: a verification as text, for tokens of any kind."""

from __future__ import annotations

import re
from typing import Any

import pytest
from vectors.forge import (
    DELEGATION,
    HERE,
    ISSUER,
    PLANNER,
    RESEARCHER,
    SERVICE,
    UNRELATED,
    b64,
    child,
    cid,
    delegation,
    root,
    sign,
    use,
)
from verifiers import LINKS, READ, RESOURCE, TO_WRITE, TOKEN, WRITE, VerifierKind, replay

from nomos._core.token_report import SHOWN, Called, dated, plain, render_token
from nomos._core.unverified import read


def test_explain_describes_the_chain_hop_by_hop(verifier_kind: VerifierKind) -> None:
    first = root(
        meta={**HERE, "resource_constraint": {"provider": "github", "owner": "acme"}},
        pol=[["==", ".args.state", "open"]],
    )
    second = child(first)
    token = use([first, second], args={"resource": RESOURCE, "state": "open"})
    text = verifier_kind.explain(token, {**READ, "args": {"state": "open"}})
    assert (
        text
        == f"""\
hop 0  delegation {cid(first)}
  from   {ISSUER.did} (a trusted issuer)
  to     {PLANNER.did}
  for    /github/issue and all under it, on github owner=acme
  pol[0] state is "open"
  from 2023-11-14 22:12:20Z until 2023-11-14 22:18:20Z
  only at {SERVICE.did} (this service)
hop 1  delegation {cid(second)}
  from   {PLANNER.did}
  to     {RESEARCHER.did}
  for    /github/issue and all under it
  from 2023-11-14 22:12:20Z until 2023-11-14 22:18:20Z
hop 2  call {cid(token)}
  by     {RESEARCHER.did}
  at     {SERVICE.did} (this service)
  does   /github/issue/list on github owner=acme repo=app
  with   {{"state": "open"}}
  from 2023-11-14 22:12:20Z until 2023-11-14 22:14:20Z
checked at 2023-11-14 22:13:20Z
  for the call /github/issue/list on github owner=acme repo=app
  with   {{"state": "open"}}
The token is valid for this call."""
    )


def test_explain_describes_the_fault_and_the_fix(verifier_kind: VerifierKind) -> None:
    text = verifier_kind.explain(use([*LINKS], aud=UNRELATED.did))
    assert f"{UNRELATED.did} (another service)" in text
    sentence = (
        "  the invocation is for another service (hop 2): ask for a grant with `audience=` the DID "
        "of the service that is called"
    )
    assert text.splitlines()[-6:] == [
        "REFUSED: audience_mismatch at hop 2",
        sentence,
        "  check  the audience",
        "  field  aud",
        f'  wanted "{SERVICE.did}"',
        f'  found  "{UNRELATED.did}"',
    ]


def test_explain_needs_no_call_and_claims_no_nonce(verifier_kind: VerifierKind) -> None:
    store = replay()
    assert "The token is valid; no call was checked." in verifier_kind.explain(
        TO_WRITE, {}, replay=store
    )
    assert "valid for this call" in verifier_kind.explain(TO_WRITE, WRITE, replay=store)
    assert len(store) == 0
    assert "valid for this call" in verifier_kind.explain(TO_WRITE, WRITE)


def test_explain_describes_a_single_delegation(verifier_kind: VerifierKind) -> None:
    text = verifier_kind.explain(LINKS[1])
    assert f"a delegation, and no call: {cid(LINKS[1])}" in text
    assert f"to     {RESEARCHER.did}" in text
    assert "REFUSED: malformed_ucan" in text


HOSTILE = [
    root(cmd="/x\n\x1b[2J\u202e"),
    root(nbf="yesterday", exp=10**30),
    root(nbf=[], exp=-(10**20)),
    root(pol="all", meta=[], iss=7, aud=None),
    root(pol=[["==", ".args.a", "b"]] * 30),
    root(pol=["all", ["==", ".x"], ["like", ".args.x", "\u202e\n"], ["and", [["x"]]]]),
    root(meta={"resource_constraint": "all\u202e"}),
    root(meta={"resource_constraint": {"provider": "p", "x": {"y": "\u200b"}}}),
]


@pytest.mark.parametrize("link", HOSTILE)
def test_explain_escapes_invisible_characters(verifier_kind: VerifierKind, link: str) -> None:
    for token in (link, use([link, *LINKS]), use([link], args=[], cmd=8, iat="x")):
        text = verifier_kind.explain(token)
        assert text.isprintable() or re.fullmatch(r"[^\x00-\x09\x0b-\x1f\x7f\u200b\u202e]*", text)
        assert "REFUSED" in text
        assert max(map(len, text.splitlines())) < 3 * SHOWN


def test_explain_of_many_statements_and_links_is_bounded(verifier_kind: VerifierKind) -> None:
    assert "and 10 more statements" in verifier_kind.explain(HOSTILE[4])
    many = use([*LINKS] * 30)
    text = verifier_kind.explain(many)
    assert "REFUSED: chain_too_deep" in text
    assert text.startswith("a chain of 60 delegations, which is too long to be read\n")


def test_explain_describes_text_that_is_no_token(verifier_kind: VerifierKind) -> None:
    deep = f"{b64(b'{}')}.{b64(b'[' * 40_000)}.x"
    for token in ("", "a.b.c", "x" * 70_000, None, b"x", "é", deep, f"x.{b64(b'[]')}.x"):
        assert verifier_kind.explain(token).startswith("The token cannot be read.\n")


def test_values_that_are_not_json_are_shown_as_such(verifier_kind: VerifierKind) -> None:
    text = verifier_kind.explain(TOKEN, {**READ, "args": {"n": b""}})
    assert "(not JSON)" in text


def test_plain_text_is_shortened_and_escaped() -> None:
    assert plain("a\nb\u202e") == "a\\u000ab\\u202e"
    assert plain("x" * 300) == "x" * SHOWN + "…"


def test_a_link_of_an_untrusted_issuer_is_not_called_trusted(verifier_kind: VerifierKind) -> None:
    link = sign(DELEGATION, delegation(UNRELATED, RESEARCHER), UNRELATED)
    text = verifier_kind.explain(use([link], sub=UNRELATED.did))
    assert "a trusted issuer" not in text
    assert f'one of ["{ISSUER.did}"]' in text


def test_times_that_were_compared_have_their_dates(verifier_kind: VerifierKind) -> None:
    first = root(exp=1_700_000_000 - 1)
    text = verifier_kind.explain(use([first], exp=1_700_000_000 - 2))
    assert "  found  1699999999 (2023-11-14 22:13:19Z)" in text
    assert dated("exp", "at most 9" + "9" * 14) == "at most 999999999999999 (no time)"
    assert dated("exp", "9" * 400) == "9" * 400
    assert (dated("cmd", "5"), dated("exp", None)) == ("5", None)


def test_explain_states_only_what_was_checked_of_a_chain() -> None:
    claims = read(LINKS[0], 1)
    known: dict[str, Any] = {"audience": PLANNER.did, "trusted": [ISSUER.did], "now": 1_700_000_000}
    call: Called = ("/github/issue/list", RESOURCE, {})
    assert render_token(claims, None, call=None, **known).endswith(
        "The chain is valid; no call was checked."
    )
    text = render_token(claims, None, call=call, **known)
    assert text.endswith("covers the call; its policies were not evaluated.")
    assert f"  from   {ISSUER.did} (a trusted issuer)\n" in text
