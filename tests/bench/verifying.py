"""A call verified by `Verifier`, beside PyJWT checking the signatures of the same tokens.

PyJWT, with `cryptography`, decodes each token of the chain and the call itself: it checks text,
signatures and expiry, and nothing of how the tokens hang together. The first time that a chain is
seen, all its signatures are checked; again, that of the call alone, which is new each time.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import anyio
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from vectors.forge import (
    DELEGATION,
    INVOCATION,
    ISSUER,
    SERVICE,
    Party,
    cid,
    delegation,
    invocation,
    sign,
)

from nomos import AsyncVerifier, Verifier

ROUNDS: Final = 300
DEPTHS: Final = (1, 4, 8)
CALL: Final[dict[str, Any]] = {
    "command": "/github/issue/list",
    "resource": {"provider": "github", "owner": "acme", "repo": "app"},
}
AGENTS: Final = [Party(100 + number) for number in range(8)]

Token = tuple[str, Ed25519PublicKey, str]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    options: dict[str, Any] = {
        "trusted_issuers": [ISSUER.did],
        "audience": SERVICE.did,
        "revocations": (),
    }
    print(f"{rounds} calls of each kind, in turn: median µs (and times PyJWT's in the same run)")
    print(f"  {'links':>5} {'PyJWT':>8} {'first time':>16} {'again':>16} {'again, 20 tasks':>18}")
    with Verifier(**options) as verifier:
        for depth in DEPTHS:
            print(row(verifier, depth, rounds, options))


def row(verifier: Verifier, depth: int, rounds: int, options: dict[str, Any]) -> str:
    known = chain(depth, "known")
    verifier.verify(use(known, "warm"), **CALL)
    taken: dict[str, list[float]] = {"pyjwt": [], "first": [], "again": []}
    for number in range(rounds):
        fresh = chain(depth, f"{depth}-{number}")
        first, again = use(fresh, "n"), use(known, f"n{number}")
        tokens = decodable(fresh, first)
        taken["pyjwt"].append(seconds(partial(decode, tokens)))
        taken["first"].append(seconds(partial(verifier.verify, first, **CALL)))
        taken["again"].append(seconds(partial(verifier.verify, again, **CALL)))
    many = [use(known, f"m{number}") for number in range(rounds)]
    together = anyio.run(at_once, AsyncVerifier(**options), many)
    base = statistics.median(taken["pyjwt"])
    cells = [*(statistics.median(taken[name]) for name in ("first", "again")), together]
    shown = " ".join(f"{cell * 1e6:9.0f} ({cell / base:.2f}x)" for cell in cells)
    return f"  {depth:5} {base * 1e6:8.0f} {shown}"


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def decode(tokens: list[Token]) -> None:
    for text, key, audience in tokens:
        jwt.decode(text, key, algorithms=["EdDSA"], audience=audience)


async def at_once(verifier: AsyncVerifier, tokens: list[str]) -> float:
    """Verify in 20 tasks, and return the seconds for each token."""

    async def work(mine: list[str]) -> None:
        for token in mine:
            await verifier.verify(token, **CALL)

    began = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for start in range(20):
            tasks.start_soon(work, tokens[start::20])
    return (time.perf_counter() - began) / len(tokens)


def chain(depth: int, nonce: str) -> list[tuple[str, Party, Party]]:
    """Links as text, with who signed each and whom it is for."""
    now, links = int(time.time()), list[tuple[str, Party, Party]]()
    by = ISSUER
    for hop in range(depth):
        to = AGENTS[hop]
        prf = {"prf": [cid(links[-1][0])]} if links else {}
        meta = {"resource_constraint": CALL["resource"], "receipt_id": "evt_" + "0" * 26}
        if not links:
            meta |= {"audience": SERVICE.did, "closed": True, "reads": [CALL["command"]]}
        payload = delegation(by, to, nonce=nonce, nbf=now - 60, exp=now + 600, meta=meta, **prf)
        links.append((sign(DELEGATION, payload, by), by, to))
        by = to
    return links


def use(links: list[tuple[str, Party, Party]], nonce: str) -> str:
    now, by = int(time.time()), links[-1][2]
    texts = [text for text, _, _ in links]
    payload = invocation(by, texts, nonce=f"{nonce:->12}", iat=now - 60, exp=now + 300)
    return sign(INVOCATION, payload, by)


def decodable(links: list[tuple[str, Party, Party]], call: str) -> list[Token]:
    found = [(text, by.private.public_key(), to.did) for text, by, to in links]
    return [*found, (call, links[-1][2].private.public_key(), SERVICE.did)]


if __name__ == "__main__":
    main()
