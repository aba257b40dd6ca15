"""`nomos token inspect`: its output, secrets that it never prints, and hostile input."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from cli.token_world import (
    CHAIN,
    CHILD,
    HELD,
    NOW,
    PEOPLE,
    RESOURCE,
    ROOT,
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
from prepared import INSTALLED
from vectors.forge import (
    DELEGATION,
    ISSUER,
    PLANNER,
    RESEARCHER,
    SERVICE,
    UNRELATED,
    canonical,
    checkpoint,
    cid,
    delegation,
    flip,
    sign,
    sign_raw,
    with_signature,
)

ESCAPE: Final = "\x1b"


def codes(found: dict[str, Any]) -> list[tuple[int, str]]:
    return [(hop["hop"], each["code"]) for hop in found["hops"] for each in hop["findings"]]


# What it shows


def test_an_invocation_is_drawn_with_its_chain() -> None:
    done = process("inspect", stdin=TOKEN)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "an invocation with 2 delegations"
    assert [line[1] for line in lines if line[1:2] in ("●", *"012")] == ["●", "0", "1", "2"]
    assert all(line == line.rstrip() for line in lines)
    for part in (
        "the root issuer",
        "may      /github/issue and everything under it",
        "on       github owner=acme",
        'if       pol[0] state is "open"',
        "why      list the open issues",
        "receipt  evt_01jb",
        "does     /github/issue/list",
        "on       github owner=acme repo=app",
        'with     state = "open"',
        f"cid      {cid(TOKEN)}",
        "✓ every signature is valid, and no link exceeds the one before",
    ):
        assert part in done.stdout
    assert re.search(r"from +\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  \d+ min( \d+ s)? ago", done.stdout)
    assert re.search(r"until +\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  \d+ min( \d+ s)? from", done.stdout)


def test_inspect_states_that_nothing_was_verified() -> None:
    done = nomos("inspect")
    assert "not verified  no issuer is trusted here" in done.stdout
    assert json_output("inspect")["verified"] is False


def test_json_has_everything_in_full() -> None:
    found = json_output("inspect")
    assert (found["kind"], found["holds"]) == ("invocation", True)
    first, second, last = found["hops"]
    assert [hop["hop"] for hop in found["hops"]] == [0, 1, 2]
    assert (first["issuer"], first["audience"]) == (ISSUER.did, PLANNER.did)
    assert first["policies"] == [
        {"text": 'state is "open"', "statement": ["==", ".args.state", "open"]}
    ]
    assert (first["resource"], second["resource"]) == (HELD["resource_constraint"], None)
    assert first["meta"]["receipt_id"] == "evt_01jb"
    assert (last["resource"], last["args"]) == (RESOURCE, {"state": "open"})
    assert [hop["cid"] for hop in found["hops"]] == [cid(ROOT), cid(CHILD), cid(TOKEN)]
    assert {hop["signature"] for hop in found["hops"]} == {"good"}
    assert "args" not in first
    assert last["expires_at"].endswith("Z")


@pytest.mark.parametrize(
    ("text", "hops"),
    [
        (ROOT, [1]),
        (json.dumps([ROOT]), [1]),
        (CHAIN, [2]),
        (json.dumps([[ROOT, CHILD]]), [2]),
        (json.dumps([[ROOT], [ROOT, CHILD]]), [1, 2]),
        (TOKEN, [3]),
        (f"\n  {TOKEN}\n\n", [3]),
        (f"Bearer {TOKEN}", [3]),
        (f"authorization: bearer {TOKEN}\n", [3]),
        (json.dumps(TOKEN), [3]),
    ],
)
def test_every_form_of_a_token_is_read(text: str, hops: list[int]) -> None:
    done = nomos("inspect", "--json", stdin=text)
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(each["hops"]) for each in found] == hops


def test_a_token_in_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "token.txt"
    file.write_text(TOKEN)
    shown = [nomos("inspect", file, stdin="").stdout, nomos("inspect", "-").stdout]
    one, other = (re.sub(r"( \d+ (?:h|min|s))+ (ago|from now)", r" \2", each) for each in shown)
    assert one == other


def test_an_approval_is_shown_as_usable_once() -> None:
    approval = {"id": "env_1", "fingerprint": "ab" * 32}
    done = nomos("inspect", stdin=root(meta={**HELD, "approval": approval}))
    assert "once     after approval env_1; not delegable" in done.stdout


def test_long_lists_are_cut_in_text_and_complete_in_json() -> None:
    token = root(pol=[["==", f".args.a{number}", number] for number in range(20)])
    shown = nomos("inspect", stdin=token).stdout
    assert "and 8 more: --json shows them" in shown
    assert "a12 is 12" not in shown
    assert len(json_output("inspect", stdin=token)["hops"][0]["policies"]) == 20


# What is wrong


def _broken() -> dict[str, tuple[str, list[tuple[int, str]]]]:
    """A name, what came in, and every finding."""
    wide = child(ROOT, cmd="/github")
    late = child(ROOT, exp=NOW + 9000)
    stolen = sign(
        DELEGATION, delegation(PLANNER, RESEARCHER, prf=[cid(ROOT)], exp=NOW + 2300), UNRELATED
    )
    return {
        "expired root": (root(nbf=NOW - 99, exp=NOW - 9), [(0, "expired")]),
        "not yet": (root(nbf=NOW + 2900), [(0, "not_yet_valid")]),
        "wider command": (json.dumps([ROOT, wide]), [(1, "chain_attenuation_violation")]),
        "later end": (json.dumps([ROOT, late]), [(1, "chain_attenuation_violation")]),
        "widened and expired": (
            json.dumps([root(exp=NOW - 1), child(root(exp=NOW - 1), cmd="/github", exp=NOW - 2)]),
            [(0, "expired"), (1, "chain_attenuation_violation"), (1, "expired")],
        ),
        "another resource": (
            json.dumps([ROOT, child(ROOT, meta={"resource_constraint": {"provider": "gitlab"}})]),
            [(1, "chain_attenuation_violation")],
        ),
        "no prf": (json.dumps([ROOT, child(ROOT, prf=...)]), [(1, "chain_invalid")]),
        "another's link": (json.dumps([ROOT, root()]), [(1, "chain_invalid")]),
        "a link that a stranger signed": (json.dumps([ROOT, stolen]), [(1, "bad_signature")]),
        "a flipped root": (
            json.dumps([with_signature(ROOT, flip), CHILD]),
            [(0, "bad_signature")],
        ),
        "a flipped call": (with_signature(TOKEN, flip), [(2, "bad_signature")]),
        "a call by another": (use([ROOT]), [(1, "chain_invalid")]),
        "a call outside": (
            use([ROOT, CHILD], cmd="/github/repo"),
            [(2, "chain_attenuation_violation")],
        ),
        "a call elsewhere": (
            use([ROOT, CHILD], args={"resource": {**RESOURCE, "owner": "evil"}, "state": "open"}),
            [(2, "resource_out_of_scope")],
        ),
        "a call against pol": (
            use([ROOT, CHILD], args={"resource": RESOURCE, "state": "closed"}),
            [(0, "resource_out_of_scope")],
        ),
        "a call that outlives its chain": (
            use([ROOT, CHILD], exp=NOW + 3480),
            [(2, "chain_attenuation_violation")],
        ),
        "an expired call": (use([ROOT, CHILD], exp=NOW - 1), [(2, "expired")]),
        "no chain": (use([]), [(0, "chain_invalid")]),
        "a link that is none": (use([ROOT, "x"]), [(1, "malformed_ucan")]),
        "a chain of an invocation": (json.dumps([TOKEN]), [(0, "malformed_ucan")]),
        "a checkpoint": (checkpoint(), [(0, "malformed_ucan")]),
        "a root of depth 40": (
            root(meta={"lineage": {"depth": 40}}),
            [(0, "chain_too_deep")],
        ),
    }


BROKEN: Final = _broken()


@pytest.mark.parametrize("name", BROKEN)
def test_every_fault_is_reported_at_its_link(name: str) -> None:
    text, findings = BROKEN[name]
    done = nomos("inspect", stdin=text)
    assert done.exit_code == 1
    assert "✗ every verifier rejects this token: " in done.stdout
    found = json_output("inspect", stdin=text)
    assert codes(found) == findings
    assert found["holds"] is False


def test_a_wider_link_shows_the_required_and_the_found_value() -> None:
    done = nomos("inspect", stdin=BROKEN["wider command"][0])
    assert "✗        chain_attenuation_violation  cmd is not within" in done.stdout
    assert 'wanted   "/github/issue" or under it' in done.stdout
    assert 'found    "/github"' in done.stdout


def test_a_policy_is_broken_at_the_hop_that_a_verifier_names() -> None:
    first = root(pol=[["==", ".args.state", "open"], ["==", ".args.page", 1]])
    token = use([first, child(first)], args={"resource": RESOURCE, "state": "open", "page": 2})
    shown = nomos("inspect", stdin=token).stdout
    assert 'if       pol[0] state is "open"' in shown
    assert re.search(r"\d?pol\[1\] page is 1\n", shown)
    assert "(found with hop 2)" in shown
    assert "✗ every verifier rejects this token: resource_out_of_scope at hop 0\n" in shown
    terms = ("--issuer", ISSUER.did, "--audience", SERVICE.did)
    verification = json_output("verify", *terms, stdin=token)
    looked = json_output("inspect", stdin=token)
    (finding,) = looked["hops"][verification["hop"]]["findings"]
    assert (finding["field"], verification["field"], verification["hop"]) == ("pol[1]", "pol[1]", 0)
    assert finding["message"].startswith(verification["message"])
    last = looked["hops"][2]
    assert (last["findings"], last["checked"], last["signature"]) == ([], False, "good")


def test_times_that_were_compared_have_their_dates() -> None:
    shown = nomos("inspect", stdin=BROKEN["later end"][0]).stdout
    assert re.search(r"wanted +at most \d{10} \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ\)\n", shown)
    assert re.search(r"found +\d{10} \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ\)\n", shown)
    (finding,) = json_output("inspect", stdin=BROKEN["later end"][0])["hops"][1]["findings"]
    assert finding["found"] == str(NOW + 9000)


@pytest.mark.parametrize("link", [CHILD, child(ROOT, prf=..., sub=ISSUER.did)])
def test_the_signer_of_a_later_link_is_not_called_the_root(link: str) -> None:
    shown = nomos("inspect", stdin=link).stdout
    assert "not the root: earlier links are missing" in shown
    assert "root issuer" not in shown
    # One that takes the place of others names them in prf too, and is a root.
    again = root(prf=[cid(ROOT)], meta={"lineage": {"depth": 1}})
    assert "the root issuer" in nomos("inspect", stdin=again).stdout


NO_TOKENS: Final[dict[str, tuple[str | bytes, str]]] = {
    "a word": ("hello", "not a complete token"),
    "json of a word": ('"hello"', "not a complete token"),
    "half a token": (TOKEN[:200], "not a complete token"),
    "four parts": (f"{TOKEN}.x", "not a complete token"),
    "bytes": (b"\xff\xfe\x00", "not a complete token"),
    "lines": (TOKEN[:50] + "\n" + TOKEN[50:], "the token has line breaks or spaces in it"),
}


@pytest.mark.parametrize("command", ["inspect", "verify", "why"])
@pytest.mark.parametrize("name", NO_TOKENS)
def test_text_that_is_no_token_is_reported(name: str, command: str) -> None:
    text, said = NO_TOKENS[name]
    terms = ("--issuer", ISSUER.did, "--audience", SERVICE.did) if command != "inspect" else ()
    for more in ((), ("--json",)):
        done = nomos(command, *terms, *more, stdin=text)
        assert (done.exit_code, done.stdout) == (2, "")
        assert said in done.stderr
        assert "eyJ" not in done.stderr


def test_checks_after_a_broken_link_are_shown_as_skipped() -> None:
    text = json.dumps([with_signature(ROOT, flip), CHILD])
    assert "not checked, because of the problem above" in nomos("inspect", stdin=text).stdout
    first, second = json_output("inspect", stdin=text)["hops"]
    assert (first["signature"], second["signature"], second["checked"]) == ("bad", "good", False)


def test_links_may_name_their_subject() -> None:
    first = root(sub=ISSUER.did)
    links = json.dumps([first, child(first, sub=ISSUER.did)])
    assert nomos("inspect", stdin=links).exit_code == 0
    other = json.dumps([first, child(first, sub=PLANNER.did)])
    assert codes(json_output("inspect", stdin=other)) == [(1, "chain_invalid")]
    assert codes(json_output("inspect", stdin=root(sub=PLANNER.did))) == [(0, "chain_invalid")]


def test_a_missing_binary_is_reported() -> None:
    done = process("inspect", stdin=TOKEN, NOMOS_UCAN_BIN="/nowhere/nomos-ucan")
    assert (done.returncode, done.stdout) == (2, "")
    assert "NOMOS_UCAN_BIN" in done.stderr


def test_a_chain_as_long_as_any_is_drawn() -> None:
    links = [root(exp=NOW + 3000, meta={})]
    by, to = PLANNER, RESEARCHER
    for _ in range(31):
        payload = delegation(by, to, prf=[cid(links[-1])], nbf=NOW - 60, exp=NOW + 3000)
        links.append(sign(DELEGATION, payload, by))
        by, to = to, by
    done = nomos("inspect", stdin=json.dumps(links))
    assert done.exit_code == 0, done.output
    assert done.stdout.count("delegated to") == 32
    assert nomos("inspect", stdin=json.dumps([*links, links[-1]])).exit_code == 1


# What strangers send

CONTROLS: Final = "\x1b[31m\x1b]0;owned\x07\x9b2J\r\x08\u202e\u2066\u200b\ufeff\u0085\u2028"


def _hostile() -> dict[str, str | bytes]:
    nested: Any = "x"
    for _ in range(40):
        nested = [nested]
    steering = root(
        meta={
            "resource_constraint": {"provider": CONTROLS, "owner": CONTROLS},
            "receipt_id": CONTROLS,
            "facts": {"purpose": CONTROLS},
            "lineage": {"swarmId": CONTROLS},
            "approval": {"id": CONTROLS},
        },
        pol=[["==", ".args.state", CONTROLS], ["like", ".args.x", CONTROLS]],
    )
    return {
        "nothing": "",
        "spaces": " \n\t ",
        "a word": "hello",
        "dots": "..",
        "four parts": f"{TOKEN}.x",
        "half a token": TOKEN[: len(TOKEN) // 2],
        "nulls": b"\0" * 64,
        "no utf-8": b"\xff\xfe\x80eyJ",
        "a token in utf-16": TOKEN.encode("utf-16"),
        "a byte order mark": b"\xef\xbb\xbf" + TOKEN.encode(),
        "a token with a newline inside": TOKEN[:50] + "\n" + TOKEN[50:],
        "two tokens": f"{TOKEN}\n{TOKEN}",
        "an open list": "[",
        "an empty list": "[]",
        "lists in lists": "[[[]]]",
        "ten thousand brackets": "[" * 10_000,
        "numbers": "[1, 2]",
        "a mixture": json.dumps([[ROOT], CHILD]),
        "null": "[null]",
        "an object": "{}",
        "an object with a token": json.dumps({"ucan": TOKEN}),
        "ten thousand braces": '{"a":' * 10_000,
        "a text": '"hello"',
        "an open text": '"hello',
        "a text of half a pair": '"\\ud800.\\ud800.x"',
        "a link of half a pair": '["\\ud800.\\ud800.x"]',
        "33 links": json.dumps([ROOT] * 33),
        "65 chains": json.dumps([[ROOT]] * 65),
        "a token of 70,000": "e" * 70_000,
        "a link of 70,000": json.dumps(["e" * 70_000]),
        "a call of 70,000": use([ROOT, CHILD], args={"resource": RESOURCE, "x": "x" * 70_000}),
        "deep args": use([ROOT, CHILD], args={"resource": RESOURCE, "x": nested}),
        "a payload that is a list": sign_raw(canonical(DELEGATION), b"[]", ISSUER),
        "a payload that is no json": sign_raw(canonical(DELEGATION), b"{", ISSUER),
        "no claims": sign(DELEGATION, {}, ISSUER),
        "claims of another kind": sign(DELEGATION, {"iss": 1, "aud": [], "exp": "x"}, ISSUER),
        "no times": root(exp=...),
        "an end before the start": root(exp=NOW - 99, nbf=NOW),
        "a time beyond any": root(exp=10**15),
        "an issuer that is no did": root(iss="me"),
        "a key that is none": root(iss=f"did:key:z6Mk{'1' * 44}"),
        "terminal control everywhere": steering,
        "markup": root(meta={"facts": {"purpose": "[bold red]x[/] [link=http://x]y[/link]"}}),
        "a prf of numbers": use([1, 2]),  # type: ignore[list-item]
        "a prf of 400": use(["x"] * 400),
        "an unknown member": root(meta={"__proto__": {"x": 1}}, prf=["x"]),
        "a header of nobody": sign({"alg": "none"}, {"iss": ISSUER.did}, ISSUER),
        "a receipt of nobody": sign(
            {"alg": "EdDSA", "typ": "nomos-receipt+jwt"}, {"iss": 7}, ISSUER
        ),
        "a receipt with control characters": sign(
            {"alg": "EdDSA", "typ": "nomos-receipt+jwt"},
            {"iss": CONTROLS, "outcome": CONTROLS},
            ISSUER,
        ),
    }


HOSTILE: Final = _hostile()
READABLE: Final = ("terminal control everywhere", "markup")


@pytest.mark.parametrize("form", ["people", "json"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_is_refused_without_side_effects(name: str, form: str) -> None:
    options = ["--json"] if form == "json" else []
    done = nomos("inspect", *options, stdin=HOSTILE[name])
    assert isinstance(done.exception, SystemExit | None), done.exception
    assert done.exit_code in ((0, 1) if name in READABLE else (1, 2)), done.output
    for text in (done.stdout, done.stderr):
        assert not [each for each in text if ord(each) < 32 and each != "\n"]
        assert not set(text) & set("\x7f\x9b\u202e\u2066\u200b\ufeff\u0085\u2028")
        assert len(text) < 200_000
    if form == "json":
        assert all(isinstance(json.loads(line), dict) for line in done.stdout.splitlines())


def test_the_table_is_long() -> None:
    assert len(HOSTILE) >= 30


def test_control_characters_are_escaped_visibly(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(str(HOSTILE["terminal control everywhere"]))
    done = process("inspect", file)
    assert ESCAPE not in done.stdout
    assert "\N{REPLACEMENT CHARACTER}[31m" in done.stdout
    assert "[bold red]x[/]" in process("inspect", stdin=str(HOSTILE["markup"])).stdout


def test_more_than_a_mebibyte_is_not_read() -> None:
    done = process("inspect", stdin=b"e" * (1024 * 1024 + 1))
    assert (done.returncode, done.stdout) == (2, "")
    assert "longer than 1048576 bytes" in done.stderr
    endless = subprocess.run(
        [INSTALLED, "token", "inspect", "/dev/zero"], capture_output=True, timeout=60, check=False
    )
    assert endless.returncode == 2


# What it never prints


@pytest.mark.parametrize("text", [TOKEN, CHAIN, ROOT, *(BROKEN[name][0] for name in BROKEN)])
def test_no_token_is_printed(text: str) -> None:
    for options in ([], ["--json"]):
        done = nomos("inspect", *options, stdin=text)
        assert not re.search(r"eyJ[A-Za-z0-9_-]{8,}", done.output)
        assert not [each for each in PEOPLE if each.seed in done.output]


@pytest.mark.parametrize(
    "args",
    [
        [TOKEN],
        [ROOT],
        ["-", TOKEN],
        [TOKEN, "-"],
        [f"Bearer {TOKEN}"],
        [CHAIN],
        ["--json", TOKEN],
        [TOKEN[:300]],
    ],
)
def test_a_token_as_an_argument_is_refused_and_not_repeated(args: list[str]) -> None:
    done = process("inspect", *args, stdin=TOKEN)
    assert (done.returncode, done.stdout) == (2, "")
    assert "other users of this machine can see" in done.stderr
    assert "eyJ" not in done.stderr


@pytest.mark.parametrize(
    "args", [["missing.txt"], ["."], ["a", "b"], ["\0"], ["x" * 5000], ["no\x1b[31mfile"]]
)
def test_a_path_that_is_no_file_is_a_usage_error(args: list[str], tmp_path: Path) -> None:
    done = nomos("inspect", *args, stdin="")
    assert done.exit_code == 2
    assert ESCAPE not in done.output


# How it looks


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_lines_fit_the_terminal_and_nothing_is_lost(columns: int, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    lines = seen(terminal(columns, "token", "inspect", str(file)))
    assert max(map(len, lines)) <= columns
    for each in (ROOT, CHILD, TOKEN):
        assert cid(each) in re.sub(r"[\s│]", "", "".join(lines))


def test_colors_are_for_terminals_and_can_be_turned_off(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(BROKEN["wider command"][0])
    red = f"{ESCAPE}[1;31m"
    assert red in terminal(100, "token", "inspect", str(file))
    without = terminal(100, "token", "inspect", str(file), NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", without)
    assert "chain_attenuation_violation" in without
    assert ESCAPE not in process("inspect", file).stdout


def test_a_pipe_gets_one_line_for_each_fact() -> None:
    for columns in ("20", "500"):
        done = process("inspect", stdin=TOKEN, COLUMNS=columns)
        assert f"cid      {cid(TOKEN)}" in done.stdout.replace("  cid", "cid")


def test_a_closed_pipe_ends_without_a_traceback() -> None:
    command = f'"{INSTALLED}" token inspect | head -1'
    done = subprocess.run(
        ["sh", "-c", command], input=TOKEN, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "an invocation with 2 delegations\n"
    assert "Traceback" not in done.stderr


def test_a_terminal_as_input_gets_a_prompt(tmp_path: Path) -> None:
    pid, descriptor = pty.fork()
    if pid == 0:  # pragma: no cover - another process
        os.execv(INSTALLED, [str(INSTALLED), "token", "inspect"])
    sent = b""
    while b"Ctrl-D" not in sent:
        readable, _, _ = select.select([descriptor], [], [], 60)
        assert readable, sent
        sent += os.read(descriptor, 65536)
    os.write(descriptor, b"\x04")
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:
            break
        if not piece:
            break
        sent += piece
    os.close(descriptor)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 2
    assert b"Enter a token" in sent


def test_inspect_needs_neither_server_nor_guard() -> None:
    blocked = ("fastapi", "cedarpy", "sqlalchemy", "uvicorn", "starlette", "yaml", "jinja2")
    code = (
        "import sys\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"
        "from nomos.cli import main\n"
        "sys.argv = ['nomos', 'token', 'inspect']\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=TOKEN,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_first_fault_is_the_one_that_a_verifier_reports(tmp_path: Path) -> None:
    """The first finding is the verdict, or comes with it: inspect invents no refusal."""
    terms = ("--issuer", ISSUER.did, "--audience")
    for name, (text, findings) in BROKEN.items():
        whom = RESEARCHER.did if text[0] == "[" else SERVICE.did
        if text.partition(".")[0] == ROOT.partition(".")[0]:
            whom = PLANNER.did
        verification = json_output("verify", *terms, whom, stdin=text)
        assert verification["verified"] is False, name
        assert verification["code"] in {code for _, code in findings}, name
