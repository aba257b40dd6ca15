"""The starter bundles: each passes its own tests, and the tests detect missing policies."""

from __future__ import annotations

from pathlib import Path

import pytest

from nomos import AuthGuard
from nomos.errors import ConfigurationError
from nomos.policy import policy_tests
from nomos.policy.bundle import load
from nomos.server.policies.loading import (
    copy_starter,
    read_facts,
    read_policies,
    read_tests,
    starters,
)
from nomos.server.providers.catalog import load_catalog

NAMES = ("github-triage", "read-only", "safe-workspace", "step-up-writes", "swarm-safe")


def test_the_starters_are_listed() -> None:
    found = starters()
    assert tuple(found) == NAMES
    assert all(line and line[0].isupper() and "//" not in line for _, line in found.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_starter_passes_its_own_tests(name: str) -> None:
    folder, _ = starters()[name]
    bundle = load(read_policies(folder), load_catalog(), read_facts(folder))
    outcomes = policy_tests.run(bundle, read_tests(folder))
    assert len(outcomes) >= 8
    assert [(each.case.name, each.differences) for each in outcomes if not each.ok] == []
    # Every policy has a name of its own, every forbid says why.
    assert all(":" not in policy.name for policy in bundle.policies)
    assert all(policy.reason for policy in bundle.policies if policy.effect == "forbid")


@pytest.mark.parametrize("name", NAMES)
def test_a_starters_tests_fail_without_any_of_its_policies(name: str) -> None:
    folder, _ = starters()[name]
    whole = load(read_policies(folder), load_catalog(), read_facts(folder))
    [source] = read_policies(folder)
    for policy in whole.policies:
        less = type(source)(source.name, source.text.replace(policy.text, ""))
        bundle = load([less], load_catalog(), read_facts(folder))
        assert len(bundle.policies) == len(whole.policies) - 1
        assert not all(each.ok for each in policy_tests.run(bundle, read_tests(folder))), (
            policy.name
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_starter_is_copied_completely_and_never_overwrites(name: str, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    copy_starter(name, out)
    original, _ = starters()[name]
    assert {each.name for each in out.iterdir()} == {each.name for each in original.iterdir()}
    (out / "tests.yaml").write_text("mine")
    with pytest.raises(ConfigurationError, match="exists, and is not overwritten"):
        copy_starter(name, out)
    assert (out / "tests.yaml").read_text() == "mine"


def test_an_unknown_starter_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there are github-triage, read-only"):
        copy_starter("nope", tmp_path / "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="Not a directory"):
        copy_starter("read-only", tmp_path / "file" / "x")


def test_a_starter_can_be_served_as_it_is(tmp_path: Path) -> None:
    folder = copy_starter("safe-workspace", tmp_path / "policies")
    with AuthGuard.embedded(policies=folder) as guard:
        note = {"provider": "filesystem", "path": "notes/a.md"}
        assert guard.authorize(command="/filesystem/file/read", resource=note)
        secret = {"provider": "filesystem", "path": "secrets/a"}
        denied = guard.authorize(command="/filesystem/file/read", resource=secret)
        assert denied.explanation.policies == ("secrets-stay-closed",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cases: [a: b: c]", "is not YAML"),
        ("cases: []\ncases: []", "the key 'cases' is duplicated"),
        ("cases:\n  - {name: a, name: b}", "the key 'name' is duplicated"),
        ("? [a]\n: 1", "is not YAML"),
        ("[" * 5000, "is not YAML"),
        ("", "must have a list of `cases:`"),
    ],
)
def test_a_malformed_test_file_is_reported(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "tests.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        read_tests(tmp_path)
    with pytest.raises(ConfigurationError, match=r"gone\.yaml: No such file"):
        read_tests(tmp_path / "gone.yaml")
