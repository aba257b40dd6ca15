"""Tokens for one service, and a verifier of each kind.

The tokens are made by `vectors.forge`, which shares no code with what is tested.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
from vectors.forge import (
    DELEGATION,
    HERE,
    ISSUER,
    NOW,
    PLANNER,
    RESEARCHER,
    SERVICE,
    child,
    cid,
    delegation,
    root,
    sign,
    use,
)

from nomos import AsyncVerifier, Verified, Verifier
from nomos.errors import Denied
from nomos.verify import MemoryReplayStore

RESOURCE: Final = {"provider": "github", "owner": "acme", "repo": "app"}
READ: Final[Mapping[str, Any]] = {"command": "/github/issue/list", "resource": RESOURCE}
WRITE: Final[Mapping[str, Any]] = {"command": "/github/issue/create", "resource": RESOURCE}
APPROVAL: Final = {"id": "env_" + "0" * 26, "fingerprint": "ab" * 32, "roles": ["lead"]}

LINKS: Final = (root(), child(root()))
TOKEN: Final = use(list(LINKS))
TO_WRITE: Final = use(list(LINKS), cmd="/github/issue/create")


def clock() -> float:
    return NOW


def replay() -> MemoryReplayStore:
    return MemoryReplayStore(clock=clock)


def settings(**changes: Any) -> dict[str, Any]:
    """The settings of a verifier; a change to `...` leaves the setting out."""
    usual = {
        "trusted_issuers": [ISSUER.did],
        "audience": SERVICE.did,
        "revocations": (),
        "clock": clock,
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not ...}


def approved(**changes: Any) -> str:
    """The delegation that an approval leads to, from the issuer to the researcher."""
    meta = {"approval": APPROVAL, **HERE, **changes.pop("meta", {})}
    pinned = [["==", ".cmd", "/github/issue/list"], ["==", ".resource", RESOURCE]]
    payload = delegation(ISSUER, RESEARCHER, **{"meta": meta, "pol": pinned, **changes})
    return sign(DELEGATION, payload, ISSUER)


def family(depth: int) -> list[str]:
    """A chain of so many links, handed back and forth, that ends in the researcher."""
    ends = (PLANNER, RESEARCHER) if depth % 2 == 0 else (RESEARCHER, PLANNER)
    links = [sign(DELEGATION, delegation(ISSUER, ends[0], meta=HERE), ISSUER)]
    for hop in range(1, depth):
        by, to = ends[(hop - 1) % 2], ends[hop % 2]
        payload = delegation(by, to, prf=[cid(links[-1])])
        links.append(sign(DELEGATION, payload, by))
    return links


class Store:
    """A store with a scripted answer, which records its claims."""

    def __init__(self, *answer: Any) -> None:
        self.answer = answer[0] if answer else True
        self.claimed: list[tuple[str, str, str, int]] = []
        self.thread: int | None = None

    def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> Any:
        self.claimed.append((issuer, audience, nonce, expires_at))
        self.thread = threading.get_ident()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def key_file(folder: Path) -> Path:
    """The service's key, in a file of its own."""
    file = folder / "service.key"
    file.write_text(f"{SERVICE.seed}\n")
    file.chmod(0o600)
    return file


def in_child(work: Any) -> str:
    """Fork, and return what `work` returns there."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = work()
        except BaseException as error:  # noqa: BLE001 - sent to the parent
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as output:
        said = output.read()
    os.waitpid(child, 0)
    return said


@dataclass(frozen=True)
class VerifierKind:
    """A verifier of one kind: `sync`, or the loop that each call runs in."""

    name: str

    @property
    def backend(self) -> str | None:
        return None if self.name == "sync" else self.name

    def make(self, **changes: Any) -> Any:
        kind = Verifier if self.backend is None else AsyncVerifier
        return kind(**settings(**changes))

    def ask(self, verifier: Any, method: str, token: Any, call: Mapping[str, Any]) -> Any:
        if self.backend is None:
            return getattr(verifier, method)(token, **call)

        async def awaited() -> Any:
            return await getattr(verifier, method)(token, **call)

        return anyio.run(awaited, backend=self.backend)

    def verify(self, token: Any, call: Mapping[str, Any] = READ, **changes: Any) -> Verified:
        verified = self.ask(self.make(**changes), "verify", token, call)
        assert isinstance(verified, Verified)
        return verified

    def denied(self, token: Any, call: Mapping[str, Any] = READ, **changes: Any) -> Denied:
        """Verify, and return how it was refused; fails if it was not."""
        try:
            verified = self.verify(token, call, **changes)
        except Denied as error:
            return error
        raise AssertionError(f"accepted: {verified}")

    def explain(self, token: Any, call: Mapping[str, Any] = READ, **changes: Any) -> str:
        return str(self.ask(self.make(**changes), "explain", token, call))


SYNC: Final = VerifierKind("sync")
VERIFIER_KINDS: Final = [SYNC, VerifierKind("asyncio"), VerifierKind("trio")]
