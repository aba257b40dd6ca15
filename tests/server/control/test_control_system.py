"""Opening and closing a system, and its errors."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import store_access

from nomos._io.signer import AsyncSigner, SignerConnection
from nomos._protocol import ForgetKey, LoadKey, Refused
from nomos.errors import ConfigurationError, InvalidPolicy, SignerError
from nomos.models import Secret
from nomos.policy.bundle import Source
from nomos.server.app import System
from nomos.server.data_folder.layout import lock_data_dir
from nomos.server.data_folder.lock import FolderLock
from nomos.server.settings import Settings
from nomos.server.signing.keys import KeyFiles, load_or_create
from nomos.server.storage.store import Store

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane

pytestmark = pytest.mark.anyio

PERMIT = Source("permit.cedar", "permit(principal, action, resource);")


def settings(data: Path) -> Settings:
    return Settings(data=data, policies=(PERMIT,))


async def test_a_system_keeps_its_identity(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    data = tmp_path / "new" / "data"
    async with open_plane(data, signer) as plane:
        dids = (plane.system.issuer_did, plane.system.pdp_did)
        assert dids[0] != dids[1]
    async with open_plane(data, signer, key=plane.key) as plane:
        assert (plane.system.issuer_did, plane.system.pdp_did) == dids
        assert (await plane.ask()).json()["decision"] == "allow"


async def test_the_data_folder_is_readable_by_its_owner_only(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    data = tmp_path / "data"
    umask = os.umask(0)
    try:
        async with open_plane(data, signer) as plane:
            await plane.ask()
            found = [data, *data.rglob("*")]
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in found}
    finally:
        os.umask(umask)
    assert {name for name, mode in modes.items() if mode & 0o077} == set()
    assert {"nomos.db", "nomos.db-wal", "issuer-default.key", "pdp.key"} <= set(modes)


async def test_invalid_policies_are_refused_before_the_folder_is_made(
    tmp_path: Path, signer: AsyncSigner
) -> None:
    wrong = Settings(data=tmp_path / "data", policies=(Source("bad.cedar", "permit(oops"),))
    with pytest.raises(InvalidPolicy, match=r"bad\.cedar:1"):
        await System.open(wrong, signer)
    assert not (tmp_path / "data").exists()


async def test_a_second_system_on_one_folder_is_refused(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    async with open_plane(tmp_path / "data", signer) as plane:
        with pytest.raises(ConfigurationError, match=rf"in use by process {os.getpid()}") as raised:
            await System.open(settings(tmp_path / "data"), signer)
        assert raised.value.setting == "data"
        assert str(tmp_path / "data") in str(raised.value)
        assert (await plane.ask()).json()["decision"] == "allow"
    await (await System.open(settings(tmp_path / "data"), signer)).close()


def test_the_lock_of_a_process_that_died_is_gone(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from nomos.server.data_folder.lock import FolderLock\n"
        "FolderLock(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert (tmp_path / "nomos.lock").read_text().strip().isdigit()
    FolderLock(tmp_path).release()


def test_a_forked_child_does_not_keep_its_parent_s_lock(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from nomos.server.data_folder.lock import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1]))\n"
        "forked, tell = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.write(tell, b'.'); sys.stdin.read(); os._exit(0)\n"
        "os.read(forked, 1); os._exit(0)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as parent:
        assert parent.wait() == 0
        FolderLock(tmp_path).release()


def test_releasing_twice_is_harmless(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.release()
    lock.release()
    other = FolderLock(tmp_path)
    lock.release()
    with pytest.raises(ConfigurationError, match="in use"):
        FolderLock(tmp_path)
    other.release()


async def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path, signer: AsyncSigner) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigurationError, match="is not a folder") as raised:
        await System.open(settings(tmp_path / "data"), signer)
    assert raised.value.setting == "data"


async def test_a_data_folder_that_cannot_be_made_is_reported(signer: AsyncSigner) -> None:
    with pytest.raises(ConfigurationError, match="Choose a folder that this user may write to"):
        await System.open(settings(Path("/proc/nomos/data")), signer)


async def test_a_keys_folder_that_is_a_file_is_refused(tmp_path: Path, signer: AsyncSigner) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "keys").write_text("")
    with pytest.raises(ConfigurationError, match=f"{data / 'keys'}: is not a folder"):
        await System.open(settings(data), signer)
    FolderLock(data).release()


@pytest.mark.parametrize("workspace", ["data", ".", "data/keys", "data/keys/x", "link"])
def test_agents_are_never_served_the_server_s_own_keys(tmp_path: Path, workspace: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    data = tmp_path / "data"
    unsafe = Settings(data=data, policies=(PERMIT,), workspace=tmp_path / workspace)
    with pytest.raises(ConfigurationError, match="agents could read its keys") as raised:
        lock_data_dir(unsafe)
    assert raised.value.setting == "workspace"
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


async def test_a_workspace_elsewhere_is_served(tmp_path: Path, signer: AsyncSigner) -> None:
    elsewhere = Settings(tmp_path / "data", (PERMIT,), workspace=tmp_path / "files")
    await (await System.open(elsewhere, signer)).close()
    assert (tmp_path / "files").is_dir()
    assert not (tmp_path / "data" / "workspace").exists()


@pytest.mark.parametrize("depth", [0, 33])
async def test_an_invalid_chain_depth_is_refused(
    tmp_path: Path, signer: AsyncSigner, depth: int
) -> None:
    with pytest.raises(ConfigurationError, match="from 1 to 32"):
        await System.open(Settings(tmp_path, (PERMIT,), max_chain_depth=depth), signer)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, signer: AsyncSigner) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "nomos.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConfigurationError, match="database") as raised:
        await System.open(settings(data), signer)
    assert str(data) in str(raised.value)


async def test_a_failed_opening_keeps_nothing_open(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    data = tmp_path / "data"
    async with open_plane(data, signer):
        pass
    issuer = data / "keys" / "issuer-default.key"
    issuer.chmod(0o644)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {issuer}"):
        await System.open(settings(data), signer)
    issuer.chmod(0o600)
    await (await System.open(settings(data), signer)).close()


async def test_keys_in_a_folder_that_others_can_read_are_refused(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    async with open_plane(tmp_path / "data", signer):
        pass
    (tmp_path / "data" / "keys").chmod(0o755)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        await System.open(settings(tmp_path / "data"), signer)


async def test_a_lost_issuer_key_is_not_replaced(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    async with open_plane(tmp_path / "data", signer):
        pass
    issuer = tmp_path / "data" / "keys" / "issuer-default.key"
    kept = issuer.read_text()
    issuer.unlink()
    with pytest.raises(ConfigurationError, match="Restore it from a backup"):
        await System.open(settings(tmp_path / "data"), signer)
    assert not issuer.exists()
    issuer.write_text("11" * 32)
    issuer.chmod(0o600)
    with pytest.raises(ConfigurationError, match="not the key that this database"):
        await System.open(settings(tmp_path / "data"), signer)
    issuer.write_text(kept)
    await (await System.open(settings(tmp_path / "data"), signer)).close()


@pytest.mark.parametrize("content", ["", "x" * 64, "AB" * 32, "11" * 31, "11" * 33, "11" * 500])
def test_a_damaged_key_file_is_not_used(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pdp.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="64 hex digits") as raised:
        load_or_create(path)
    assert not content or content not in str(raised.value)


def test_a_key_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("11" * 32)
    (tmp_path / "pdp.key").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigurationError, match="cannot read the key file"):
        load_or_create(tmp_path / "pdp.key")


def test_a_key_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot make the key file"):
        load_or_create(tmp_path / "file" / "pdp.key")


def test_a_key_file_is_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies before the file has its name: the next one starts afresh."""

    def dies(self: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "hardlink_to", dies)
        with pytest.raises(ConfigurationError):
            load_or_create(tmp_path / "pdp.key")
    assert not (tmp_path / "pdp.key").exists()
    first = load_or_create(tmp_path / "pdp.key")
    assert first.reveal() == load_or_create(tmp_path / "pdp.key").reveal()
    assert [path.name for path in tmp_path.iterdir()] == ["pdp.key"]


async def test_closing_forgets_the_keys(tmp_path: Path, binary: Path) -> None:
    link = SignerConnection(binary)
    try:
        signer = AsyncSigner(link)
        system = await System.open(settings(tmp_path / "data"), signer)
        assert link.holds(system.issuer_did)
        await system.close()
        await system.close()
        assert not link.holds(system.issuer_did)
        assert not link.holds(system.pdp_did)
    finally:
        link.close()


async def test_a_key_is_loaded_once(tmp_path: Path, signer: AsyncSigner) -> None:
    asked: list[str] = []

    class Counting:
        async def ask(self, request: LoadKey | ForgetKey) -> object:
            asked.append(request.op)
            return await signer.ask(request)

    keys = KeyFiles(tmp_path / "keys", Counting())  # type: ignore[arg-type]
    first = await keys.did("pdp")
    assert await keys.did("pdp") == first
    assert asked == ["load_key"]
    await keys.forget()
    assert asked == ["load_key", "forget_key"]


async def test_a_signer_that_refuses_a_key_stops_the_opening(tmp_path: Path) -> None:
    class Refusing:
        async def ask(self, request: object) -> Refused:
            return Refused(code="internal", message="nomos-ucan failed on this request")

    with pytest.raises(SignerError, match="did not accept a server key"):
        await System.open(settings(tmp_path / "data"), Refusing())
    FolderLock(tmp_path / "data").release()


async def test_a_signer_that_has_ended_does_not_stop_the_closing(tmp_path: Path) -> None:
    class Gone:
        async def ask(self, request: object) -> object:
            raise SignerError("gone")

    keys = KeyFiles(tmp_path / "keys", Gone())  # type: ignore[arg-type]
    with pytest.raises(SignerError):
        await keys.did("pdp")
    keys._dids["pdp"] = "did:key:z6Mk" + "a" * 44
    await keys.forget()


async def test_the_key_of_a_new_app_is_a_secret(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    async with open_plane(tmp_path / "data", signer) as plane:
        key = await plane.system.create_app("reports")
        assert isinstance(key, Secret)
        assert key.reveal().startswith("nomos_app_")
        database = (tmp_path / "data" / "nomos.db-wal").read_bytes()
    assert key.reveal().rsplit("_", 1)[1].encode() not in database


async def test_records_survive_a_restart(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    async with open_plane(tmp_path / "data", signer) as plane:
        ident = (await plane.ask()).json()["receiptId"]
    store = Store(tmp_path / "data")
    assert await store_access.receipt(store, "default", ident) is not None
    assert await store_access.receipt(store, "another", ident) is None
    await store.close()
