"""Files of the server's private keys, which only their owner may read.

In `data/keys/`, `issuer-<tenant>.key` signs delegations until `issuer-<tenant>-2.key` replaces it,
and so on. `pdp.key` is the PDP's identity. `app-<app id>.key` signs for agents that have no key of
their own. Each file has one Ed25519 seed in hex, encrypted if `NOMOS_KEY_ENCRYPTION_KEY_FILE` names
a key for that. It is flushed to the disk before it is used: a grant whose key was lost in a power
cut could never be verified again.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
from pathlib import Path
from typing import Final, Protocol

from nomos._io.key_encryption import is_sealed
from nomos._io.keyfile import SEED, encryption_key, sealed, unsealed
from nomos._protocol import Answer, ForgetKey, LoadKey, LoadKeyAnswer, Refused, Request
from nomos.errors import ConfigurationError, SignerError
from nomos.models import Secret
from nomos.server.storage.files import write_private

MAX_FILE: Final = 512


class SignerPort(Protocol):
    """The signer's interface: `nomos._io.signer.AsyncSigner`."""

    async def ask(self, request: Request) -> Answer | Refused: ...


class KeyFiles:
    """The keys of one data folder, loaded into the signer at first use."""

    def __init__(self, folder: Path, signer: SignerPort) -> None:
        make_private_folder(folder)
        self._folder = folder
        self._signer = signer
        self._dids: dict[str, str] = {}
        self._loading = asyncio.Lock()

    def exists(self, name: str) -> bool:
        """Return whether the key was made before."""
        return (self._folder / f"{name}.key").exists()

    async def did(self, name: str) -> str:
        """Return the DID of the key called `name`, which is made if it does not exist."""
        known = self._dids.get(name)
        if known is not None:
            return known
        async with self._loading:
            if name not in self._dids:
                path = self._folder / f"{name}.key"
                seed = await asyncio.to_thread(load_or_create, path)
                self._dids[name] = await self._load(seed)
            return self._dids[name]

    async def forget(self) -> None:
        """Remove the keys from the signer, whose process may outlive this system."""
        dids, self._dids = list(self._dids.values()), {}
        for did in dids:
            try:
                await self._signer.ask(ForgetKey(key=did))
            except SignerError:
                return  # a signer that has ended has no keys

    async def _load(self, seed: Secret) -> str:
        answer = await self._signer.ask(LoadKey(seed=seed.reveal()))
        if not isinstance(answer, LoadKeyAnswer):
            code = answer.code if isinstance(answer, Refused) else None
            raise SignerError("the signing binary did not accept a server key", code=code)
        return answer.key


def make_private_folder(folder: Path) -> None:
    """Make `folder` for its owner alone, and reject one that other users can read."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink():
        raise ConfigurationError(
            f"{folder} is a link; keys must be in the data folder itself", setting="data"
        )
    _refuse_shared(folder, folder.stat(), "chmod 700")


def load_or_create(path: Path) -> Secret:
    """Read the seed in `path`, after making it if the file does not exist."""
    if not path.exists():
        try:
            # A key that another process makes meanwhile stays: that process may be using it.
            write_private(path, _line(secrets.token_hex(32)), replace=False)
        except OSError as failure:
            raise ConfigurationError(
                f"cannot make the key file {path}: {failure.strerror}", setting="data"
            ) from failure
    return _read(path)


def _read(path: Path) -> Secret:
    """Return the seed in `path`; one in clear is encrypted in place if keys are to be."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as failure:
        raise ConfigurationError(
            f"cannot read the key file {path}: {failure.strerror}. Restore the file itself, not a "
            "link to it, from a backup",
            setting="data",
        ) from failure
    with os.fdopen(descriptor, "rb") as file:
        _refuse_shared(path, os.fstat(descriptor), "chmod 600")
        line = file.read(MAX_FILE).decode("ascii", "replace").removesuffix("\n")
    seed = unsealed(line, path)
    if not SEED.fullmatch(seed):
        raise ConfigurationError(
            f"{path} is not a key file: it must contain 64 hex digits. Restore it from a backup; "
            "a new key would make every token signed so far unverifiable",
            setting="data",
        )
    if not is_sealed(line) and encryption_key() is not None:
        write_private(path, _line(seed), replace=True)
    return Secret(seed)


def _line(seed: str) -> bytes:
    return f"{sealed(seed)}\n".encode()


def _refuse_shared(path: Path, found: os.stat_result, fix: str) -> None:
    if found.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{path} contains private keys and belongs to another user. Run the server as that "
            f"user, or change its owner: chown -R {os.geteuid()} {path}",
            setting="data",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigurationError(
            f"{path} contains private keys, and other users may read it. Run: {fix} {path}",
            setting="data",
        )
