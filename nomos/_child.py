"""`Child`: the authority of a forked child process, and ways to start that process with it."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final, Self

import anyio
import anyio.abc

from nomos._core import parent_env
from nomos._core.fork_request import ForkedChild
from nomos._io.child_files import ChildDirectory, descriptors
from nomos._io.parent_chain_file import INHERITED
from nomos._sealed import Sealed
from nomos._times import in_words
from nomos._tracebacks import without_frames
from nomos._unawaited import must_be_awaited
from nomos.errors import ConfigurationError
from nomos.models import Capability, Chain, Secret, only_chain

Arguments = Any
"""A program and its arguments, as `subprocess.Popen` takes them."""

_CREDENTIAL: Final = re.compile(r"(?:NOMOS|CB)_.*(?:KEY|SECRET|TOKEN|PASSWORD)", re.IGNORECASE)
"""Names of variables that authenticate the parent: API keys, signing keys, provider tokens."""

_OPERATORS: Final = frozenset({"NOMOS_WEBHOOK_URL", "NOMOS_DATABASE_URL"})
"""Variables that hold a URL, which may contain a password."""

_API_KEY: Final = re.compile(r"nomos(?:_|%5F)app(?:_|%5F)\w", re.IGNORECASE)
"""An API key inside a value, under any variable name."""


class Child(Sealed):
    """Authority that was delegated to a child process, and ways to start the process with it.

    `agent` is the child's DID. `chains` hold its authority, one chain for each of `capabilities`;
    `chain` is the only one. `parent_receipt_id` names the audit record of the root's grant,
    `swarm_id` the swarm; `expires_at` (UTC) is the earliest expiry of the chains.

        with fork_child(parent_chain=grant.chain, capabilities=[…]) as child:
            process = child.popen([sys.executable, "researcher.py"])

    A key that was made for the child is passed to it alone. The key appears in no `repr` and no
    pickle, and on disk only in the file that `env()` names. A `Child` is a context manager, `async
    with` too. At the end of the block, or when the object is garbage-collected, files that the
    child has not read are removed.
    """

    _source: ClassVar = "fork_child"
    _stored: ClassVar = (
        "it may hold a key. Start the process with child.popen(…), or with the variables that "
        "child.env() returns"
    )

    _forked: ForkedChild
    _seed: Secret | None
    _extra: dict[str, str]
    _text: str
    _folder: ChildDirectory | None
    _lock: threading.Lock
    _closed: bool

    @classmethod
    def _of(cls, forked: ForkedChild, extra: Mapping[str, str] | None = None) -> Self:
        """Return the `Child` of a fork; `extra` are further variables for its process."""
        child = object.__new__(cls)
        child._forked = forked
        child._seed = forked.seed
        child._extra = dict(extra or {})
        child._text = parent_env.chain_text(forked.parent)
        child._folder = None
        child._lock = threading.Lock()
        child._closed = False
        return child

    @property
    def agent(self) -> str:
        """The DID of the key that the child signs with."""
        return self._forked.agent

    @property
    def chains(self) -> tuple[Chain, ...]:
        """The child's delegations, root first: one chain for each capability."""
        return self._forked.parent.chains

    @property
    def chain(self) -> Chain:
        """The only chain. Raises `MalformedChain` if there are several: use `chains`."""
        return only_chain(self.chains)

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """The capabilities that were requested and delegated, in the order of `chains`."""
        return self._forked.capabilities

    @property
    def parent_receipt_id(self) -> str | None:
        """The id of the audit record of the grant that the root was signed for."""
        return self._forked.parent.parent_receipt_id

    @property
    def swarm_id(self) -> str | None:
        """The id of the swarm that the child belongs to."""
        return self._forked.parent.swarm_id

    @property
    def expires_at(self) -> datetime:
        """The earliest expiry of the chains, in UTC."""
        return self._forked.expires_at

    @without_frames
    def env(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment variables that pass this child's authority to a process.

        Without `base`, only these variables are returned. With `base`, such as `os.environ`, they
        are added to it, and the credentials of this process are left out: API keys, operators' keys
        and tokens, its signing key, and the chain that it inherited.

        A key that was made for the child, and chains of more than 96 KiB, are written to files that
        only this user can read. The child removes them as it reads them: keep this `Child` until
        then, and fork one for each process. `popen` and `open` need no files.

        Raises `ConfigurationError` after `close`.
        """
        with self._lock:
            seed, chains = self._inherited()
            key = {} if seed is None else {parent_env.KEY_HANDOVER: self._left("key", seed)}
            file = None if chains is None else self._left("chains.json", chains)
            return self._merged(base, key=key, file=file)

    @without_frames
    def popen(
        self,
        args: Arguments,
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Collection[int] = (),
        **kwargs: Any,
    ) -> subprocess.Popen[Any]:
        """Start the child as `subprocess.Popen` does, and pass its authority to it.

        Args:
            args: the command, as for `subprocess.Popen`.
            env: further environment variables, by default those of this process; the credentials
                of this process are left out, as in `env(base=…)`. For a child that has its own
                key, set `NOMOS_AGENT_KEY_FILE` to the file of that key.
            pass_fds: further file descriptors that the child inherits.
            kwargs: other arguments of `subprocess.Popen`.

        Nothing is written to disk: keys and large chains are inherited as open descriptors.

        Raises `ConfigurationError` after `close`.
        """
        with descriptors(*self._inherited()) as handed:
            return subprocess.Popen(
                args, env=self._handed(env, *handed), pass_fds=(*pass_fds, *_open(handed)), **kwargs
            )

    @must_be_awaited
    @without_frames
    async def open(
        self,
        args: Arguments,
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Collection[int] = (),
        **kwargs: Any,
    ) -> anyio.abc.Process:
        """Start the child on asyncio or trio, with the arguments of `anyio.open_process`.

        `args`, `env`, `pass_fds` and `kwargs` are as for `popen`. Returns the process.
        Raises `ConfigurationError` after `close`.
        """
        with descriptors(*self._inherited()) as handed:
            return await anyio.open_process(
                args, env=self._handed(env, *handed), pass_fds=(*pass_fds, *_open(handed)), **kwargs
            )

    def close(self) -> None:
        """Remove files that the child has not read, and forget its key. Idempotent.

        A process that was started keeps running. Its authority ends when its chains expire or are
        revoked.
        """
        with self._lock:
            self._closed = True
            if self._seed is not None:
                self._seed.wipe()
            self._seed = None
            if self._folder is not None:
                self._folder.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if "_forked" not in vars(self):
            return f"{type(self).__name__}()"
        given = ", ".join(one.command for one in self.capabilities)
        return f"Child({self.agent!r}, {given}, until {in_words(self.expires_at)})"

    def _must_be_open(self) -> None:
        if self._closed:
            raise ConfigurationError(
                "this child is closed and its credentials were deleted: fork a new one",
                setting="child",
            )

    def _left(self, name: str, text: str) -> str:
        if self._folder is None or not self._folder.there():
            self._folder = ChildDirectory()
        return str(self._folder.write(name, text))

    def _inherited(self) -> tuple[str | None, str | None]:
        """Return what the child inherits as open descriptors: its key, and a large chain text."""
        self._must_be_open()
        seed = None if self._seed is None else self._seed.reveal()
        return seed, self._text if parent_env.needs_file(self._text) else None

    def _handed(
        self, env: Mapping[str, str] | None, key: int | None, chains: int | None
    ) -> dict[str, str]:
        base = os.environ if env is None else env
        handed = {} if key is None else {parent_env.KEY_FD: str(key)}
        own = base.get(parent_env.KEY_FILE)
        if key is None and own is not None and own != os.environ.get(parent_env.KEY_FILE):
            handed[parent_env.KEY_FILE] = own
        file = None if chains is None else f"{INHERITED}{chains}"
        return self._merged(base, key=handed, file=file)

    def _merged(
        self, base: Mapping[str, str] | None, *, key: Mapping[str, str], file: str | None
    ) -> dict[str, str]:
        own = {**self._extra, **parent_env.to_env(self._forked.parent, file=file), **key}
        kept = {
            name: value
            for name, value in (base or {}).items()
            if name != parent_env.CLOCK and not _authenticates(name, value)
        }
        return {**kept, **own}


def _authenticates(name: str, value: str) -> bool:
    return (
        name in parent_env.SWARM_VARIABLES
        or name in _OPERATORS
        or _CREDENTIAL.match(name) is not None
        or _API_KEY.search(value) is not None
    )


def _open(descriptors: Iterable[int | None]) -> Iterator[int]:
    return (one for one in descriptors if one is not None)
