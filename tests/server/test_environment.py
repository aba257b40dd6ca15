"""Settings from the environment and from the folder of policies."""

from __future__ import annotations

from pathlib import Path

import pytest

from nomos import AuthGuard, ConfigurationError
from nomos.server.environment import max_chain_depth, upstreams, webhook
from nomos.server.policies.loading import read_facts, read_policies
from nomos.server.providers.catalog import load_catalog

CATALOG = load_catalog()
SECRET = "ghp_" + "s" * 36


def test_the_url_of_github_has_a_default() -> None:
    assert upstreams(CATALOG, {})["github"].base_url == "https://api.github.com"
    moved = upstreams(CATALOG, {"NOMOS_GITHUB_URL": "http://127.0.0.1:1/"})
    assert moved["github"].base_url == "http://127.0.0.1:1"
    assert "filesystem" not in moved


@pytest.mark.parametrize(
    "url", ["github", "ftp://x", "http://", "http://[::1", "http://user:hunter2@x"]
)
def test_an_invalid_base_url_is_named_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="NOMOS_GITHUB_URL") as refused:
        upstreams(CATALOG, {"NOMOS_GITHUB_URL": url})
    assert refused.value.setting == "NOMOS_GITHUB_URL"
    assert "hunter2" not in str(refused.value)


def test_a_credential_comes_from_a_variable_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    for environ in (
        {"NOMOS_GITHUB_TOKEN": SECRET},
        {"NOMOS_GITHUB_TOKEN_FILE": str(tmp_path / "token")},
    ):
        target = upstreams(CATALOG, environ)["github"]
        assert target.token is not None
        assert target.token.reveal() == SECRET
        assert SECRET not in repr(target)
    assert upstreams(CATALOG, {})["github"].token is None


def test_two_credentials_are_refused(tmp_path: Path) -> None:
    both = {"NOMOS_GITHUB_TOKEN": SECRET, "NOMOS_GITHUB_TOKEN_FILE": str(tmp_path)}
    with pytest.raises(ConfigurationError, match="both set") as refused:
        upstreams(CATALOG, both)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("value", ["two words", "line\nbreak", "é"])
def test_a_credential_that_no_header_can_have_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(ConfigurationError, match="printable ASCII without spaces") as refused:
        upstreams(CATALOG, {"NOMOS_GITHUB_TOKEN": value})
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    "content", [None, b"", b"\n", b"secret \xff", b"x" * 20_000], ids=lambda c: str(c)[:12]
)
def test_a_file_without_a_credential_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="NOMOS_GITHUB_TOKEN_FILE") as refused:
        upstreams(CATALOG, {"NOMOS_GITHUB_TOKEN_FILE": str(file)})
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_depth_of_chains_has_a_default_and_bounds() -> None:
    assert max_chain_depth({}) == max_chain_depth({"NOMOS_MAX_CHAIN_DEPTH": ""}) == 8
    assert max_chain_depth({"NOMOS_MAX_CHAIN_DEPTH": "32"}) == 32
    for wrong in ("0", "33", "-1", "8.0", "eight", "000000008", "٣"):
        with pytest.raises(ConfigurationError, match="from 1 to 32"):
            max_chain_depth({"NOMOS_MAX_CHAIN_DEPTH": wrong})


def test_facts_are_declared_beside_the_policies_and_reach_them(tmp_path: Path) -> None:
    (tmp_path / "facts.yaml").write_text("ticket: String\n")
    (tmp_path / "a.cedar").write_text(
        "permit (principal, action, resource)\n"
        'when { context.agent has ticket && context.agent.ticket == "OPS-1" };\n'
    )
    assert read_facts(tmp_path) == {"ticket": "String"}
    assert read_facts(tmp_path / "a.cedar") == read_facts("text") == {}
    with AuthGuard.embedded(policies=tmp_path) as guard:
        asked = {"command": "/github/repo/list", "resource": {"provider": "github"}}
        assert guard.authorize(**asked, context={"ticket": "OPS-1"})  # type: ignore[arg-type]
        assert not guard.authorize(**asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["- a\n", "ticket: 7\n", "7: String\n", "a: [b]\n", "{"])
def test_invalid_facts_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "facts.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"facts\.yaml") as refused:
        read_facts(tmp_path)
    assert refused.value.setting == "facts"


def test_an_empty_file_declares_no_facts(tmp_path: Path) -> None:
    (tmp_path / "facts.yaml").write_text("# none yet\n")
    assert read_facts(tmp_path) == {}


def test_policies_are_read_in_order_from_folders_below_too(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.cedar").write_text("// two")
    (tmp_path / "1.cedar").write_text("// one")
    (tmp_path / "notes.txt").write_text("not a policy")
    assert [source.name for source in read_policies(tmp_path)] == ["1.cedar", "b/2.cedar"]


def test_policies_that_are_not_text_or_too_large_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        read_policies(tmp_path)
    (tmp_path / "a.cedar").write_bytes(b" " * (4 * 1024 * 1024 + 1))
    with pytest.raises(ConfigurationError, match="larger than"):
        read_policies(tmp_path)


WEBHOOK = {
    "NOMOS_WEBHOOK_URL": "https://hooks.example.com/nomos?team=blue",
    "NOMOS_WEBHOOK_SECRET": "s" * 32,
}


def test_a_webhook_is_a_url_and_a_secret_from_a_variable_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s" * 32 + "\n")
    from_file = {
        "NOMOS_WEBHOOK_URL": WEBHOOK["NOMOS_WEBHOOK_URL"],
        "NOMOS_WEBHOOK_SECRET_FILE": str(tmp_path / "secret"),
    }
    for environ in (WEBHOOK, from_file):
        found = webhook(environ)
        assert found is not None
        assert found.url == WEBHOOK["NOMOS_WEBHOOK_URL"]
        assert found.secret.reveal() == "s" * 32
        assert "sss" not in repr(found)
        assert "hooks.example.com" not in repr(found)
    assert webhook({}) is None
    assert webhook({"NOMOS_WEBHOOK_URL": ""}) is None


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/x", "http://localhost/x", "http://[::1]:80/", "https://h.example"]
)
def test_a_webhook_may_be_https_anywhere_or_http_on_this_machine(url: str) -> None:
    assert webhook({**WEBHOOK, "NOMOS_WEBHOOK_URL": url}) is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/x",
        "http://127.0.0.1.example.com/",
        "http://localhost.example.com/",
        "http://2130706433/",
        "https://user:hunter2@hooks.example.com/",
        "https://hooks.example.com/#hunter2",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "https:///hunter2",
        "ftp://hooks.example.com/",
        "hunter2",
        "https://hooks.example.com/ hunter2",
        "https://hooks.example.com/" + "x" * 2048,
    ],
)
def test_a_webhook_over_plain_http_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="NOMOS_WEBHOOK_URL") as refused:
        webhook({**WEBHOOK, "NOMOS_WEBHOOK_URL": url})
    assert refused.value.setting == "NOMOS_WEBHOOK_URL"
    assert "hunter2" not in str(refused.value)


def test_a_webhook_needs_a_strong_secret_and_a_secret_a_webhook() -> None:
    url = {"NOMOS_WEBHOOK_URL": WEBHOOK["NOMOS_WEBHOOK_URL"]}
    for environ, named in (
        (url, "NOMOS_WEBHOOK_SECRET"),
        ({**url, "NOMOS_WEBHOOK_SECRET": "hunter2"}, "NOMOS_WEBHOOK_SECRET"),
        ({**WEBHOOK, "NOMOS_WEBHOOK_SECRET_FILE": "/x"}, "NOMOS_WEBHOOK_SECRET_FILE"),
        ({"NOMOS_WEBHOOK_SECRET": "s" * 32}, "NOMOS_WEBHOOK_URL"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            webhook(environ)
        assert refused.value.setting == named
        assert "hunter2" not in str(refused.value)
