"""`nomos token verify` and `why`, with issuer, audience and other terms as options."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from cli.token_world import (
    CALL,
    CHAIN,
    CHILD,
    HOLDER,
    NOW,
    RESOURCE,
    ROOT,
    TERMS,
    TOKEN,
    child,
    json_output,
    nomos,
    process,
    root,
    seen,
    terminal,
    use,
)
from vectors.forge import (
    INVOCATION,
    ISSUER,
    PLANNER,
    RESEARCHER,
    SERVICE,
    UNRELATED,
    cid,
    flip,
    invocation,
    sign,
    with_signature,
)

from nomos import AuthGuard, Verifier
from nomos.errors import Denied

REPLAY: Final = "whether it was used before: only the service knows"
MISSING: Final = "earlier links are missing"
WHOLE: Final = "send the whole chain, root first"
REVOCATIONS: Final = "revocations: pass --revoked or --control-url to check them"


@pytest.fixture
def receipts(tmp_path: Path) -> tuple[str, str]:
    """The receipt of an allow and that of a refusal, by the service."""
    key = tmp_path / "service.key"
    key.write_text(SERVICE.seed)
    key.chmod(0o600)
    verifier = Verifier(
        trusted_issuers=[ISSUER.did], audience=SERVICE.did, revocations=(), receipt_key=key
    )
    call: dict[str, Any] = {"command": "/github/issue/list", "resource": RESOURCE}
    allowed = verifier.verify(TOKEN, **call, args={"state": "open"}).receipt_jwt
    with pytest.raises(Denied) as denied:
        verifier.verify(TOKEN, **call, args={"state": "closed"})
    return str(allowed), str(denied.value.receipt_jwt)


# A verdict


def test_a_valid_token_is_verified_and_its_claims_are_printed() -> None:
    done = process("verify", *TERMS, *CALL, stdin=TOKEN)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "✓ verified  the invocation is valid"
    for part in ("/github/issue/list", 'state = "open"', RESEARCHER.did, ISSUER.did, "evt_01jb"):
        assert part in done.stdout
    found = json_output("verify", *TERMS, *CALL)
    assert (found["verified"], found["kind"]) == (True, "invocation")
    assert (found["agent"], found["root"], found["depth"]) == (RESEARCHER.did, ISSUER.did, 2)
    assert (found["resource"], found["args"]) == (RESOURCE, {"state": "open"})
    assert (found["chain"], found["cid"]) == ([cid(ROOT), cid(CHILD)], cid(TOKEN))


def test_no_claim_is_made_about_replay() -> None:
    assert json_output("verify", *TERMS, *CALL)["not_checked"] == [REPLAY, REVOCATIONS]
    # Asked twice, even about a write: nothing is used up, so it holds twice.
    write = invocation(
        PLANNER, [root(pol=[])], cmd="/github/issue/create", iat=NOW - 60, exp=NOW + 2300
    )
    for _ in range(2):
        assert (
            json_output("verify", *TERMS, stdin=sign(INVOCATION, write, PLANNER))["verified"]
            is True
        )
    assert REPLAY in nomos("verify", *TERMS).stdout


def test_the_headline_states_only_what_was_checked() -> None:
    shown = nomos("verify", *TERMS).stdout
    assert shown.startswith("✓ valid  the invocation is valid; no call was checked\n")
    assert "The token is valid; no call was checked.\n" in nomos("why", *TERMS).stdout


def test_unrequested_checks_are_listed_as_not_checked() -> None:
    assert json_output("verify", *TERMS)["not_checked"] == [
        REPLAY,
        REVOCATIONS,
        "a call: pass --command and --resource to check one",
    ]
    assert json_output("verify", *TERMS, *CALL, "--revoked", "x")["not_checked"] == [REPLAY]


def _refused() -> dict[str, tuple[str, list[str], dict[str, Any]]]:
    """A name, what came in, the options, and what is said of it."""
    terms, holder = list(TERMS), list(HOLDER)
    late = child(ROOT, cmd="/github")
    other = ["--command", "/github/issue/list", "--resource", '{"owner": "acme", "repo": "x"}']
    return {
        "expired": (
            use([ROOT, CHILD], exp=NOW - 1),
            terms,
            {"code": "expired", "hop": 2, "fix": "sign a fresh call with `grant.headers()`"},
        ),
        "forged": (with_signature(TOKEN, flip), terms, {"code": "bad_signature", "hop": 2}),
        "an expired root": (
            use([root(exp=NOW - 1)], exp=NOW - 2),
            terms,
            {"code": "expired", "hop": 0, "fix": "ask for a new grant"},
        ),
        "a link alone": (
            CHILD,
            holder,
            {"code": "untrusted_issuer", "message": MISSING, "fix": WHOLE},
        ),
        "a link alone that names its root": (
            child(ROOT, prf=..., sub=ISSUER.did),
            holder,
            {"code": "chain_invalid", "message": MISSING, "fix": WHOLE},
        ),
        "a call on a link alone": (
            use([CHILD]),
            terms,
            {"code": "untrusted_issuer", "message": MISSING, "fix": WHOLE},
        ),
        "another issuer": (
            TOKEN,
            ["--issuer", UNRELATED.did, "--audience", SERVICE.did],
            {"code": "untrusted_issuer", "hop": 0},
        ),
        "another service": (
            TOKEN,
            ["--issuer", ISSUER.did, "--audience", UNRELATED.did],
            {"code": "audience_mismatch", "hop": 2, "field": "aud"},
        ),
        "a wider link": (
            use([ROOT, late]),
            terms,
            {"code": "chain_attenuation_violation", "hop": 1, "field": "cmd", "found": '"/github"'},
        ),
        "revoked by cid": (
            TOKEN,
            [*terms, "--revoked", cid(CHILD)],
            {"code": "revoked", "hop": 1},
        ),
        "revoked by key": (TOKEN, [*terms, "--revoked", PLANNER.did], {"code": "revoked"}),
        "another resource": (
            TOKEN,
            [*terms, *other],
            {"code": "resource_mismatch", "field": "args.resource"},
        ),
        "another argument": (
            TOKEN,
            [*terms, *CALL[:4], "--args", '{"state": "closed"}'],
            {"code": "resource_mismatch", "wanted": '"closed"', "found": '"open"'},
        ),
        "too deep": (TOKEN, [*terms, "--max-depth", "1"], {"code": "chain_too_deep"}),
        "tomorrow": (TOKEN, [*terms, "--at", str(NOW + 86400)], {"code": "expired"}),
        "yesterday": (TOKEN, [*terms, "--at", str(NOW - 86400)], {"code": "not_yet_valid"}),
        "a chain of another": (CHAIN, terms, {"code": "audience_mismatch"}),
        "a chain that is revoked": (
            CHAIN,
            [*holder, "--revoked", cid(ROOT)],
            {"code": "revoked", "hop": 0},
        ),
        "a chain for another command": (
            CHAIN,
            [*holder, "--command", "/github/repo/get", "--resource", "{}"],
            {"code": "chain_attenuation_violation"},
        ),
        "a chain that is none": (
            json.dumps(["a.b.c"]),
            holder,
            {"code": "malformed_ucan", "hop": 0},
        ),
    }


REFUSED: Final = _refused()


def at_any_second(text: str) -> str:
    return re.sub(r"and it is \S+Z", "and it is now", text)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_has_code_hop_field_and_fix(name: str) -> None:
    text, options, said = REFUSED[name]
    found = json_output("verify", *options, stdin=text)
    assert found["verified"] is False
    assert {key: found.get(key) for key in said} == said
    assert found["message"]
    assert found["fix"]
    shown = nomos("verify", *options, stdin=text)
    assert shown.exit_code == 1
    assert shown.stdout.startswith(f"✗ denied  {said['code']}\n")
    assert found["fix"] in shown.stdout
    # A refusal for its time names the second in which it was verified, and these are two.
    assert at_any_second(found["message"]) in at_any_second(shown.stdout)
    assert f"(hop {found.get('hop')})" not in found["message"]


def test_a_chain_with_another_holder_has_a_fix() -> None:
    found = json_output("verify", *TERMS, stdin=CHAIN)
    assert "the chain is held by another DID than --audience" in found["message"]
    assert found["fix"].startswith("set --audience to the DID of the chain's holder, or send an ")
    holder = json_output("verify", *TERMS, stdin=ROOT)["found"]
    assert holder == f'"{PLANNER.did}"'
    # An invocation for another service is another matter.
    elsewhere = ("--issuer", ISSUER.did, "--audience", UNRELATED.did)
    assert "`audience=`" in json_output("verify", *elsewhere)["fix"]


def test_times_that_were_compared_have_their_dates() -> None:
    text, options, _ = REFUSED["an expired root"]
    date = f"{datetime.fromtimestamp(NOW - 1, UTC):%Y-%m-%d %H:%M:%S}Z"
    assert json_output("verify", *options, stdin=text)["found"] == str(NOW - 1)
    for command in ("verify", "why"):
        shown = nomos(command, *options, stdin=text).stdout
        assert re.search(rf"found +{NOW - 1} \({date}\)\n", shown)


def test_a_refusal_is_the_verifiers() -> None:
    for name, (text, options, _) in REFUSED.items():
        if text[0] == "[" or "--at" in options or options[3] == RESEARCHER.did:
            continue
        given = dict(zip(options[::2], options[1::2], strict=True))
        revoked = [value for key, value in given.items() if key == "--revoked"]
        verifier = Verifier(
            trusted_issuers=[given["--issuer"]],
            audience=given["--audience"],
            revocations=revoked,
            max_depth=int(given.get("--max-depth", 8)),
        )
        call: dict[str, Any] = {"command": "/github/issue/list", "resource": RESOURCE}
        if "--resource" in given:
            resource = json.loads(given["--resource"])
            call["resource"] = {"provider": "github", **resource}
            call["args"] = json.loads(given.get("--args", "{}"))
        with pytest.raises(Denied) as denied:
            verifier.verify(text, **call)
        assert denied.value.code == json_output("verify", *options, stdin=text)["code"], name


def test_a_chain_is_verified_for_its_holder() -> None:
    found = json_output("verify", *HOLDER, stdin=CHAIN)
    assert (found["verified"], found["kind"], found["agent"]) == (True, "chain", RESEARCHER.did)
    assert REPLAY not in found["not_checked"]
    assert "its policies" in found["not_checked"][1]
    within = (*HOLDER, "--command", "/github/issue/list", "--resource", json.dumps(RESOURCE))
    assert json_output("verify", *within, stdin=CHAIN)["verified"] is True
    shown = nomos("verify", *HOLDER, stdin=CHAIN).stdout
    assert shown.startswith("✓ valid  the chain is valid; no call was checked\n")
    shown = nomos("verify", *within, stdin=CHAIN).stdout
    assert shown.startswith("✓ verified  the chain is valid, and the call is within it\n")


def test_revoking_the_app_refuses_its_chain() -> None:
    link = root(meta={"app_id": "app_1"})
    holder = ("--issuer", ISSUER.did, "--audience", PLANNER.did)
    assert json_output("verify", *holder, "--revoked", "app_2", stdin=link)["verified"] is True
    assert json_output("verify", *holder, "--revoked", "app_1", stdin=link)["code"] == "revoked"


def test_one_refused_chain_of_several_is_a_failure() -> None:
    chains = json.dumps([[ROOT, CHILD], [ROOT]])
    done = nomos("verify", *HOLDER, "--json", stdin=chains)
    assert done.exit_code == 1
    results = [json.loads(line)["verified"] for line in done.stdout.splitlines()]
    assert results == [True, False]


def test_several_issuers_and_revocations_may_be_named() -> None:
    more = ("--issuer", UNRELATED.did, "--revoked", "env_1", "--revoked", cid("x"))
    assert json_output("verify", *TERMS, *more)["verified"] is True
    assert "2 revoked given by --revoked" in nomos("verify", *TERMS, *more).stdout


def test_leeway_forgives_clocks() -> None:
    token = use([ROOT, CHILD], exp=NOW + 10)
    at = ("--at", datetime.fromtimestamp(NOW + 30, UTC).isoformat())
    assert json_output("verify", *TERMS, *at, stdin=token)["code"] == "expired"
    assert json_output("verify", *TERMS, *at, "--leeway", "60", stdin=token)["verified"] is True


def test_links_without_prf_are_accepted_with_allow_missing_prf() -> None:
    token = use([ROOT, child(ROOT, prf=...)])
    assert json_output("verify", *TERMS, stdin=token)["code"] == "chain_invalid"
    assert json_output("verify", *TERMS, "--allow-missing-prf", stdin=token)["verified"] is True


# Receipts


def test_a_receipt_of_a_trusted_signer_is_verified(receipts: tuple[str, str]) -> None:
    allowed, refused = receipts
    found = json_output("verify", "--issuer", SERVICE.did, stdin=allowed)
    assert (found["kind"], found["verified"]) == ("receipt", True)
    assert (found["receipt"]["outcome"], found["receipt"]["invocation"]) == ("allow", cid(TOKEN))
    assert (found["genuine"], found["allowed"]) == (True, True)
    shown = process("verify", "--issuer", SERVICE.did, stdin=allowed)
    signed = "the receipt is signed by a trusted key; the call was"
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"✓ verified  {signed} allowed\n")
    shown = process("verify", "--issuer", SERVICE.did, stdin=refused)
    assert shown.returncode == 1
    assert shown.stdout.startswith(f"! genuine  {signed} denied\n")
    found = json_output("verify", "--issuer", SERVICE.did, stdin=refused)
    assert (found["genuine"], found["allowed"], found["verified"]) == (True, False, False)
    assert "code" not in found
    assert "resource_mismatch (hop 2)" in shown.stdout
    assert "eyJ" not in shown.stdout


def test_the_help_has_the_exit_code_for_a_receipt_of_a_refusal() -> None:
    printed = " ".join(process("verify", "--help", COLUMNS="200").stdout.split())
    assert "or a receipt of a denied call" in printed


def test_a_receipt_is_compared_with_service_and_call(receipts: tuple[str, str]) -> None:
    terms = ("--issuer", SERVICE.did, "--audience", SERVICE.did)
    assert json_output("verify", *terms, *CALL, stdin=receipts[0])["verified"] is True
    for wrong, code, field in (
        (["--audience", UNRELATED.did], "audience_mismatch", "service"),
        (["--command", "/github/issue/get", "--resource", "{}"], "resource_mismatch", "cmd"),
        (
            [*CALL[:2], "--resource", '{"owner":"a","repo":"b"}'],
            "resource_mismatch",
            "resource_hash",
        ),
        ([*CALL[:4], "--args", '{"state":"closed"}'], "resource_mismatch", "args_hash"),
        ([*CALL[:2], "--resource", "{}"], "resource_mismatch", "resource_hash"),
    ):
        found = json_output("verify", "--issuer", SERVICE.did, *wrong, stdin=receipts[0])
        assert (found["verified"], found["code"], found["field"]) == (False, code, field)
        assert (found["genuine"], found["allowed"]) == (True, True)


def test_a_changed_receipt_or_one_of_another_signer_is_refused(receipts: tuple[str, str]) -> None:
    found = json_output("verify", "--issuer", ISSUER.did, stdin=receipts[0])
    assert (found["code"], found["verified"]) == ("untrusted_issuer", False)
    assert (found["genuine"], found["allowed"]) == (False, False)
    forged = with_signature(receipts[0], flip)
    assert json_output("verify", "--issuer", SERVICE.did, stdin=forged)["code"] == "bad_signature"
    looked = json_output("inspect", stdin=forged)
    assert (looked["holds"], looked["findings"][0]["code"]) == (False, "bad_signature")


def test_a_receipt_is_inspected_without_trust(receipts: tuple[str, str]) -> None:
    done = nomos("inspect", stdin=receipts[0])
    assert done.exit_code == 0
    assert "✓ the signature is by the key that the receipt names" in done.stdout
    assert "not verified  no issuer is trusted here" in done.stdout
    assert json_output("inspect", stdin=receipts[1])["receipt"]["outcome"] == "resource_mismatch"


# The whole story


def test_why_prints_the_verifiers_explanation() -> None:
    done = process("why", *TERMS, *CALL, "--at", str(NOW), stdin=TOKEN)
    verifier = Verifier(
        trusted_issuers=[ISSUER.did],
        audience=SERVICE.did,
        revocations=(),
        clock=lambda: NOW,
    )
    text = verifier.explain(
        TOKEN, command="/github/issue/list", resource=RESOURCE, args={"state": "open"}
    )
    unknown = f"  skipped  {REPLAY}\n           {REVOCATIONS}\n"
    assert (done.returncode, done.stdout) == (0, f"{text}\n{unknown}")
    assert json_output("why", *TERMS, *CALL, "--at", NOW)["text"] == text


def test_why_explains_a_refusal_and_exits_with_1() -> None:
    done = nomos("why", *TERMS, stdin=use([ROOT, child(ROOT, cmd="/github")]))
    assert done.exit_code == 1
    assert "REFUSED: chain_attenuation_violation at hop 1" in done.stdout
    assert "eyJ" not in done.stdout


def test_why_explains_a_chain_hop_by_hop() -> None:
    done = nomos("why", *HOLDER, "--at", NOW, stdin=CHAIN)
    assert done.exit_code == 0
    for part in (
        f"hop 0  delegation {cid(ROOT)}\n  from   {ISSUER.did} (a trusted issuer)\n",
        f"hop 1  delegation {cid(CHILD)}\n",
        f"  to     {RESEARCHER.did}\n",
        '  pol[0] state is "open"\n',
        f"The chain is valid; no call was checked.\n  skipped  {REVOCATIONS}\n",
    ):
        assert part in done.stdout
    assert json_output("why", *HOLDER, "--at", NOW, stdin=CHAIN)["text"] in done.stdout
    call = ("--command", "/github/issue/list", "--resource", json.dumps(RESOURCE))
    shown = nomos("why", *HOLDER, *call, stdin=CHAIN).stdout
    assert "The chain is valid and covers the call; its policies were not evaluated" in shown
    refused = nomos("why", *TERMS, stdin=ROOT)
    assert refused.exit_code == 1
    assert "REFUSED: audience_mismatch at hop 0\n" in refused.stdout
    assert "The token cannot be read." in nomos("why", *HOLDER, stdin='["a.b.c"]').stdout


@pytest.mark.parametrize("columns", [40, 80])
def test_why_fits_the_width_of_the_terminal(columns: int, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(use([ROOT, child(ROOT, meta={"facts": {"purpose": "p" * 300}})]))
    args = ("why", *TERMS, *CALL[:4], "--at", str(NOW))
    lines = seen(terminal(columns, "token", *args, str(file)))
    assert max(map(len, lines)) <= columns
    at = lines.index("REFUSED: resource_mismatch at hop 2")
    assert lines[at + 1].startswith("  the call")
    assert lines[at + 2].startswith(" " * 9)
    piped = process(*args, file).stdout
    assert max(map(len, piped.splitlines())) > 80
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", piped)


# Arguments that were not given


def test_a_call_without_its_arguments_has_a_fix() -> None:
    fix = "pass the arguments of the call with --args"
    refused = nomos("verify", *TERMS, *CALL[:4])
    assert refused.exit_code == 1
    assert f'field    args.state\n  found    "open"\n  fix      {fix}\n' in refused.stdout
    found = json_output("verify", *TERMS, *CALL[:4])
    assert (found["code"], found["field"], found["fix"]) == ("resource_mismatch", "args.state", fix)
    assert f": {fix}\n" in nomos("why", *TERMS, *CALL[:4]).stdout
    assert fix in json_output("why", *TERMS, *CALL[:4])["text"]
    # A caller that passed other arguments, or another resource, knows the option.
    other = json_output("verify", *TERMS, *CALL[:4], "--args", '{"state": "closed"}')
    assert (other["field"], "--args" in other["fix"]) == ("args.state", False)
    elsewhere = json_output(
        "verify", *TERMS, *CALL[:2], "--resource", '{"owner": "acme", "repo": "b"}'
    )
    assert (elsewhere["field"], "--args" in elsewhere["fix"]) == ("args.resource", False)


def test_a_call_that_no_token_can_have_is_refused_for_a_chain_too() -> None:
    call = ("--command", "/github/issue/list", "--resource", '{"owner": 5}')
    for terms, token in ((TERMS, TOKEN), (HOLDER, CHAIN)):
        found = json_output("verify", *terms, *call, stdin=token)
        assert (found["code"], found["field"]) == ("resource_mismatch", "resource.owner")


def test_why_of_a_receipt_prints_its_verification(receipts: tuple[str, str]) -> None:
    terms = ("--issuer", SERVICE.did, "--at", NOW)
    shown = nomos("why", *terms, stdin=receipts[1])
    assert (shown.exit_code, shown.stdout) == (1, nomos("verify", *terms, stdin=receipts[1]).stdout)


# Usage


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["--audience", SERVICE.did], "--issuer"),
        (["--issuer", ISSUER.did], "--audience"),
        (["--issuer", "me", "--audience", SERVICE.did], "--issuer"),
        (["--issuer", ISSUER.did, "--audience", "me"], "--audience"),
        ([*TERMS, "--command", "/a/b"], "--resource"),
        ([*TERMS, "--resource", "{}"], "--command"),
        ([*TERMS, "--args", "{}"], "--command"),
        ([*TERMS, "--command", "a b", "--resource", "{}"], "--command"),
        ([*TERMS, "--command", "/a/b", "--resource", "[]"], "--resource"),
        ([*TERMS, "--command", "/a/b", "--resource", "{"], "--resource"),
        ([*TERMS, "--command", "/a/b", "--resource", "[" * 9999], "--resource"),
        ([*TERMS, *CALL[:4], "--args", "1"], "--args"),
        ([*TERMS, "--revoked", "a b"], "--revoked"),
        ([*TERMS, "--revoked", TOKEN], "--revoked"),
        ([*TERMS, "--at", "noon"], "--at"),
        ([*TERMS, "--at", "9" * 30], "--at"),
        ([*TERMS, "--at", "-5"], "--at"),
        ([*TERMS, "--at", "0001-01-01T00:00:00+14:00"], "--at"),
        ([*TERMS, "--leeway", "61"], "--leeway"),
        ([*TERMS, "--max-depth", "33"], "--max-depth"),
        ([*TERMS, TOKEN], "other users of this machine"),
        ([*TERMS, "--token", TOKEN], "No such option"),
        ([*TERMS, "--control-url", "ftp://x"], "--control-url"),
    ],
)
def test_wrong_options_are_named_and_nothing_is_repeated(args: list[str], hint: str) -> None:
    done = nomos("verify", *args, NO_COLOR="1", TERM="dumb")
    assert done.exit_code == 2, done.output
    assert hint in done.output.replace("\n", " ")
    assert "eyJ" not in done.output
    assert done.stdout == ""


def test_no_input_is_usage_and_no_chain_is_refused() -> None:
    assert nomos("verify", *TERMS, stdin="").exit_code == 2
    done = nomos("verify", *TERMS, "--json", stdin="[[]]")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["code"] == "malformed_ucan"


# A control plane


@pytest.fixture(scope="module")
def guard() -> Iterator[AuthGuard]:
    policy = 'permit (principal, action in Action::"/filesystem", resource);'
    with AuthGuard.embedded(policies=policy) as guard:
        yield guard


def _feed(guard: AuthGuard, tmp_path: Path) -> list[str]:
    key = tmp_path / "api-key"
    assert guard.api_key is not None
    key.write_text(guard.api_key)
    key.chmod(0o600)
    issuer = _known(guard)["issuers"][0]["did"]
    service = _known(guard)["services"][0]["did"]
    return [
        *("--issuer", issuer, "--audience", service, "--pdp"),
        *("--control-url", str(guard.control_plane_url), "--key-file", str(key)),
    ]


def _known(guard: AuthGuard) -> dict[str, Any]:
    import httpx

    with httpx.Client(trust_env=False) as client:
        found: dict[str, Any] = client.get(f"{guard.control_plane_url}/.well-known/nomos").json()
    return found


def test_revocations_of_a_control_planes_feed_are_applied(guard: AuthGuard, tmp_path: Path) -> None:
    terms = _feed(guard, tmp_path)
    grant = guard.authorize(
        command="/filesystem/file/read", resource={"provider": "filesystem", "path": "a"}
    )
    good = nomos("verify", *terms, stdin=str(grant.ucan))
    assert good.exit_code == 0, good.output
    assert f"checked  the feed of {guard.control_plane_url}" in good.stdout
    assert REVOCATIONS not in good.stdout
    guard.revoke(grant)
    found = json_output("verify", *terms, stdin=str(grant.ucan))
    assert (found["verified"], found["code"]) == (False, "revoked")


def test_a_feed_is_read_with_the_agents_api_key(
    guard: AuthGuard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    terms = _feed(guard, tmp_path)[:7]
    grant = guard.authorize(
        command="/filesystem/file/read", resource={"provider": "filesystem", "path": "b"}
    )
    clean = {"NOMOS_OPERATOR_KEY": "", "NOMOS_OPERATOR_KEY_FILE": ""}
    key = str(guard.api_key)
    good = nomos("verify", *terms, stdin=str(grant.ucan), **clean, NOMOS_API_KEY=key)
    assert good.exit_code == 0, good.output
    for value, hint in (("", "set NOMOS_API_KEY, or pass --key-file"), ("a b", "(NOMOS_API_KEY)")):
        done = nomos("verify", *terms, stdin=str(grant.ucan), **clean, NOMOS_API_KEY=value)
        assert done.exit_code == 2
        assert hint in done.output.replace("\n", " ")
    # One that was named for this goes before one that is there for something else.
    named = (*terms, "--key-file", str(tmp_path / "api-key"))
    assert nomos("verify", *named, stdin=str(grant.ucan), NOMOS_API_KEY="x").exit_code == 0


def test_an_unreachable_feed_is_an_error_and_no_decision(guard: AuthGuard, tmp_path: Path) -> None:
    terms = _feed(guard, tmp_path)
    terms[terms.index("--control-url") + 1] = "http://127.0.0.1:9"
    done = nomos("verify", *terms)
    assert done.exit_code == 2
    assert done.stdout == ""
    printed = done.stderr.replace("\n", " ")
    assert "--control-url is right" in printed
    assert "control_plane_url" not in printed
    assert "timeout=" not in printed
    assert "no valid reply within" in printed


def test_a_feed_is_accepted_for_its_issuer_only(guard: AuthGuard, tmp_path: Path) -> None:
    terms = _feed(guard, tmp_path)
    done = nomos("verify", *terms, "--issuer", ISSUER.did)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "needs exactly one --issuer" in done.stderr
    assert "(--control-url)" in done.stderr
    again = nomos("verify", *terms, *terms[:2])
    assert again.exit_code == 1, again.output
    assert "untrusted_issuer" in again.stdout


def test_a_receipt_needs_no_feed(receipts: tuple[str, str]) -> None:
    terms = ("--issuer", SERVICE.did, "--issuer", ISSUER.did, "--control-url", "http://127.0.0.1:9")
    unknown = "a receipt is about a past call, so --control-url was not used"
    good = nomos("verify", *terms, stdin=receipts[0])
    assert good.exit_code == 0, good.output
    assert f"skipped  revocations: {unknown}\n" in good.stdout
    assert "checked  " not in good.stdout
    assert unknown in json_output("verify", *terms, stdin=receipts[0])["not_checked"][0]
    revoked = nomos("verify", "--issuer", SERVICE.did, "--revoked", "evt_1", stdin=receipts[0])
    assert "--revoked was not used" in revoked.stdout
    assert "checked  " not in revoked.stdout
    plain = nomos("verify", "--issuer", SERVICE.did, stdin=receipts[0])
    assert "skipped" not in plain.stdout
