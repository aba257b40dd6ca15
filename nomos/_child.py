"""`Child`: what a process was given on behalf of another, and how it gets there."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, ClassVar, Final, Self

import anyio
import anyio.abc

from nomos._core import parent_env
from nomos._core.fork_request import ForkedChild
from nomos._io.child_files import ChildDirectory, descriptors
from nomos._io.parent_chain_file import INHERITED
from nomos._sealed import Sealed
from nomos._tracebacks import without_frames
from nomos._unawaited import must_be_awaited
from nomos.errors import ConfigurationError
from nomos.models import Capability, Chain, Secret, only_chain

Arguments = Any
"""A program and its arguments, as `subprocess.Popen` takes them."""

_CREDENTIAL: Final = re.compile(r"(?:NOMOS|CB)_.*(?:KEY|SECRET|TOKEN|PASSWORD)", re.IGNORECASE)
"""Names of what authenticates a parent: API keys, signing keys, tokens of providers."""

_OPERATORS: Final = frozenset({"NOMOS_WEBHOOK_URL", "NOMOS_DATABASE_URL"})
"""Addresses that may hold a password."""

_API_KEY: Final = re.compile(r"nomos(?:_|%5F)app(?:_|%5F)\w", re.IGNORECASE)
"""An API key inside a value, whatever the variable is called."""


class Child(Sealed):
    """Authority that was handed to a child, and the way to start it with that.

    `agent` is the child's DID; `chains` hold its authority, one for each of `capabilities`,
    and `chain` is the only one. `parent_receipt_id` names the record that it all began with,
    `swarm_id` the family, `expires_at` (UTC) when the first of the chains ends.

        with fork_child(parent_chain=grant.chain, capabilities=[…]) as child:
            process = child.popen([sys.executable, "researcher.py"])

    A key that was made for the child goes to it and stays out of `repr`, pickles and disks, but
    for `env()`, whose values name a file. It is a context manager, `async with` too; at its end,
    and when nothing refers to it any more, what the child has not read is removed.
    """

    _source: ClassVar = "fork_child"
    _stored: ClassVar = (
        "it may hold a key. Start the process with child.popen(…), or give it what child.env() "
        "returns"
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
        """Return the child that was forked; `extra` are variables for its process."""
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
        """The DID that the child signs with."""
        return self._forked.agent

    @property
    def chains(self) -> tuple[Chain, ...]:
        """What the child may do: delegations, root first, one chain for each capability."""
        return self._forked.parent.chains

    @property
    def chain(self) -> Chain:
        """The one chain. Raises `MalformedChain` if there are several: use `chains`."""
        return only_chain(self.chains)

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """What was asked for, and given, in the order of `chains`."""
        return self._forked.capabilities

    @property
    def parent_receipt_id(self) -> str | None:
        """The record of the grant that all this began with."""
        return self._forked.parent.parent_receipt_id

    @property
    def swarm_id(self) -> str | None:
        """The name of the family of processes."""
        return self._forked.parent.swarm_id

    @property
    def expires_at(self) -> datetime:
        """When the first of the chains ends."""
        return self._forked.expires_at

    @without_frames
    def env(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables that tell a process what it was given.

        Without `base`, these and nothing else. With it, such as `os.environ`, they are added to
        it, and what authenticates its owner is taken out: API keys, operators' keys and tokens,
        the signing key of this process and the chain that it was itself given.

        A key that was made for the child, and chains of more than 96 KiB, are in files that only
        this user can read. The child removes them as it reads; so keep this `Child` until then,
        and make one for each process. `popen` and `open` need no files.
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
        """Start the child, as `subprocess.Popen` would, and hand it all that it was given.

        `env` is what it inherits beside that, by default this process's environment; what
        authenticates this process is taken out of either, as `env(base=…)` does. A child that
        has a key of its own is told in `env`, by a `NOMOS_AGENT_KEY_FILE` other than this
        process's. Nothing is written to disk: keys and large chains are inherited open.
        """
        with descriptors(*self._inherited()) as handed:
            return subprocess.Popen(
                args,
                env=self._handed(env, *handed),
                pass_fds=(*pass_fds, *_open(handed)),
                **kwargs,
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
        """`popen` for asyncio and trio: takes what `anyio.open_process` does."""
        with descriptors(*self._inherited()) as handed:
            return await anyio.open_process(
                args,
                env=self._handed(env, *handed),
                pass_fds=(*pass_fds, *_open(handed)),
                **kwargs,
            )

    def close(self) -> None:
        """Remove what the child has not read, and forget its key. Twice is harmless.

        A process that was started goes on; its authority ends with its chains, or is revoked.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if "_forked" not in vars(self):
            return f"{type(self).__name__}()"
        given = ", ".join(one.command for one in self.capabilities)
        return f"Child({self.agent!r}, {given}, until {self.expires_at:%Y-%m-%d %H:%M:%S} UTC)"

    def _must_be_open(self) -> None:
        if self._closed:
            raise ConfigurationError(
                "this child is closed, and what it was given is gone: fork another one",
                setting="child",
            )

    def _left(self, name: str, text: str) -> str:
        if self._folder is None or not self._folder.there():
            self._folder = ChildDirectory()
        return str(self._folder.write(name, text))

    def _inherited(self) -> tuple[str | None, str | None]:
        """What has to be open in the child: its key, and chains too large for a variable."""
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
