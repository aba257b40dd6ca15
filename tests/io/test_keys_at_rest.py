"""Keys at rest: sealed, read again, and refused with the wrong key or none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nomos import AuthGuard
from nomos._io.key_encryption import VARIABLE, is_sealed, seal, unseal
from nomos._io.keyfile import read_key_file, read_private_line
from nomos.errors import ConfigurationError, NomosError
from nomos.server.signing.keys import load_or_create

SEED = "00" * 31 + "01"
KEY, OTHER = bytes(range(32)), bytes(32)
POLICY = 'permit (principal, action in Action::"/filesystem", resource);'

Use = Callable[[bytes | None], None]


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Name a file with this encryption key, or none."""

    def name(key: bytes | None) -> None:
        if key is None:
            monkeypatch.delenv(VARIABLE, raising=False)
            return
        file = tmp_path / f"kek-{key.hex()[:6]}"
        file.write_text(key.hex() + "\n")
        file.chmod(0o600)
        monkeypatch.setenv(VARIABLE, str(file))

    return name


def write(path: Path, text: str) -> Path:
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def test_sealed_text_reveals_nothing_and_differs_each_time() -> None:
    one, two = seal(SEED, KEY), seal(SEED, KEY)
    assert one != two
    assert is_sealed(one)
    assert not is_sealed(SEED)
    assert SEED not in one
    assert unseal(one, KEY, path="f") == unseal(two, KEY, path="f") == SEED


def test_another_encryption_key_is_named_by_its_fingerprint(tmp_path: Path, use: Use) -> None:
    file = write(tmp_path / "agent.key", seal(SEED, KEY))
    use(OTHER)
    with pytest.raises(ConfigurationError, match=r"sealed with the encryption key 630dcd29, but"):
        read_key_file(file, setting="agent_key_file")
    use(None)
    with pytest.raises(ConfigurationError, match=f"{VARIABLE} to the file") as raised:
        read_key_file(file, setting="agent_key_file")
    assert raised.value.setting == VARIABLE
    use(KEY)
    assert read_key_file(file, setting="agent_key_file").reveal() == SEED


@pytest.mark.parametrize("at", [-2, -20, 30, 40])
def test_every_change_is_noticed(at: int) -> None:
    text = seal(SEED, KEY)
    changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
    with pytest.raises(ConfigurationError, match="is damaged"):
        unseal(changed, KEY, path="f")


@pytest.mark.parametrize(
    "text", ["nomos-sealed-v1.", "nomos-sealed-v1.630dcd29.AAAA", "nomos-sealed-v1.x"]
)
def test_truncated_sealed_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="it is not a sealed key"):
        unseal(f"nomos-sealed-v1.{text}", KEY, path="f")


@pytest.mark.parametrize("text", ["", "zz", KEY.hex().upper(), KEY.hex() + "00"])
def test_an_encryption_key_has_64_digits(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(write(tmp_path / "kek", text)))
    with pytest.raises(ConfigurationError, match="64 lower-case hex") as raised:
        load_or_create(tmp_path / "pdp.key")
    assert not text or text not in str(raised.value)
    assert not (tmp_path / "pdp.key").exists()


def test_an_encryption_key_is_private(tmp_path: Path, use: Use) -> None:
    use(KEY)
    Path(os.environ[VARIABLE]).chmod(0o644)
    with pytest.raises(ConfigurationError, match="can be read by others"):
        load_or_create(tmp_path / "pdp.key")


def test_server_keys_are_sealed_when_made_and_when_read(tmp_path: Path, use: Use) -> None:
    use(None)
    clear = load_or_create(tmp_path / "old.key")
    assert (tmp_path / "old.key").read_text() == clear.reveal() + "\n"
    use(KEY)
    made = load_or_create(tmp_path / "new.key")
    assert load_or_create(tmp_path / "old.key").reveal() == clear.reveal()
    for name, seed in (("old", clear), ("new", made)):
        file = tmp_path / f"{name}.key"
        assert is_sealed(file.read_text())
        assert file.stat().st_mode & 0o777 == 0o600
        assert load_or_create(file).reveal() == seed.reveal()
    assert {each.name for each in tmp_path.glob("*.new")} == set()


def test_a_whole_system_runs_on_sealed_keys(tmp_path: Path, use: Use) -> None:
    use(KEY)
    ask = {"command": "/filesystem/file/read", "resource": {"provider": "filesystem", "path": "a"}}
    data = tmp_path / "data"
    with AuthGuard.embedded(policies=POLICY, data=data) as guard:
        issuer = guard.authorize(**ask).issuer  # type: ignore[arg-type]
    files = list((data / "keys").glob("*.key"))
    assert len(files) >= 2
    assert all(is_sealed(each.read_text()) for each in files)
    with AuthGuard.embedded(policies=POLICY, data=data) as guard:
        assert guard.authorize(**ask).issuer == issuer  # type: ignore[arg-type]
    use(OTHER)
    with (
        pytest.raises(NomosError, match="set it to the file with the right key"),
        AuthGuard.embedded(policies=POLICY, data=data) as guard,
    ):
        guard.authorize(**ask)  # type: ignore[arg-type]


def test_keygen_makes_a_sealed_file(tmp_path: Path, use: Use) -> None:
    use(KEY)
    made = subprocess.run(
        [sys.executable, "-m", "nomos", "keygen", str(tmp_path / "agent.key")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    )
    assert is_sealed((tmp_path / "agent.key").read_text())
    read_private_line(tmp_path / "agent.key", setting="FILE")
    assert made.stdout.startswith("did:key:")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith("cryptography"):
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError, match="needs the package cryptography"):
        seal(SEED, KEY)


def test_commands_write_no_core_files_and_programs_keep_their_limit() -> None:
    program = (
        "import resource; before = resource.getrlimit(resource.RLIMIT_CORE)\n"
        "import nomos, nomos.cli, sys\n"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == before\n"
        "sys.argv = ['nomos', '--help']\n"
        "try:\n    nomos.cli.main()\nexcept SystemExit:\n    pass\n"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
