"""The data folder's owner, permissions and links."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nomos import AuthGuard, ConfigurationError
from nomos.server.data_folder.layout import check_outside_workspace, lock_data_dir
from nomos.server.settings import Settings
from nomos.server.signing.keys import make_private_folder
from nomos.server.storage.engine import open_writer


def settings(data: Path, workspace: Path | None = None) -> Settings:
    return Settings(data=data, policies=(), workspace=workspace)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod go-w"):
        lock_data_dir(settings(data))


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "nomos.lock").symlink_to(victim)
    with pytest.raises(ConfigurationError):
        lock_data_dir(settings(data))
    assert victim.read_text() == "precious"


def test_a_database_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "nomos.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        open_writer(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "nomos.db").touch(0o666)
    open_writer(tmp_path).dispose()
    assert (tmp_path / "nomos.db").stat().st_mode & 0o077 == 0


def test_a_folder_of_keys_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir(mode=0o700)
    (tmp_path / "keys").symlink_to(tmp_path / "other")
    with pytest.raises(ConfigurationError, match="is a link"):
        make_private_folder(tmp_path / "keys")


def test_the_default_workspace_may_not_be_a_link_a_named_one_may(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "workspace").symlink_to(tmp_path / "files")
    with pytest.raises(ConfigurationError, match="could point anywhere"):
        lock_data_dir(settings(data))
    (tmp_path / "link").symlink_to(tmp_path / "files")
    lock_data_dir(settings(data, tmp_path / "link")).release()


def test_policies_and_providers_in_the_workspace_are_refused(tmp_path: Path) -> None:
    served, link = tmp_path / "served", tmp_path / "link"
    (served / "policies").mkdir(parents=True)
    (served / "p.cedar").touch()
    link.symlink_to(served / "policies")
    for inside in (served, served / "policies", served / "p.cedar", link):
        with pytest.raises(
            ConfigurationError, match="could change their own permissions"
        ) as refused:
            check_outside_workspace(settings(tmp_path / "data", served), inside)
        assert refused.value.setting == "policies"
    for around in (tmp_path, tmp_path / "data"):
        with pytest.raises(ConfigurationError, match="could add policies"):
            check_outside_workspace(settings(tmp_path / "data"), around)
    for folder in (served, link):
        own = Settings(tmp_path / "data", policies=(), workspace=served, providers=folder)
        with pytest.raises(
            ConfigurationError, match="could change their own permissions"
        ) as refused:
            check_outside_workspace(own, "text")
        assert refused.value.setting == "providers"


def test_agents_can_not_read_the_files_with_secrets(tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    (tmp_path / "link").symlink_to(served)
    own = settings(tmp_path / "data", served)
    for name in ("NOMOS_KEY_ENCRYPTION_KEY_FILE", "NOMOS_GITHUB_TOKEN_FILE", "NOMOS_X_CA_FILE"):
        for inside in (served / "secret", tmp_path / "link" / "deep" / "secret"):
            with pytest.raises(ConfigurationError, match="agents could read it") as refused:
                check_outside_workspace(own, "text", {name: str(inside)})
            assert refused.value.setting == name
        check_outside_workspace(
            own, "text", {name: str(tmp_path / "secret"), "OTHER_FILE": str(served)}
        )


def test_policies_and_providers_beside_the_workspace_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "providers").mkdir()
    apart = Settings(
        tmp_path / "data",
        policies=(),
        workspace=tmp_path / "providers" / "served",  # tables are read from the top folder alone
        providers=tmp_path / "providers",
    )
    check_outside_workspace(apart, tmp_path / "policies")
    check_outside_workspace(apart, str(tmp_path))
    within = replace(apart, providers=tmp_path / "providers" / "served")
    with pytest.raises(ConfigurationError, match="could change their own permissions"):
        check_outside_workspace(within, tmp_path / "policies")


def test_an_embedded_guard_refuses_policies_in_its_workspace(tmp_path: Path) -> None:
    (tmp_path / "p.cedar").write_text("permit (principal, action, resource);")
    with pytest.raises(ConfigurationError, match="could change their own permissions"):
        AuthGuard.embedded(policies=tmp_path / "p.cedar", workspace=tmp_path)


def test_an_embedded_guard_refuses_such_a_folder_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigurationError, match="others may write"):
        AuthGuard.embedded(policies="permit (principal, action, resource);", data=tmp_path)
