"""Children forked in one request, beside as many delegations signed in this process.

The binary verifies the parent's chain, checks every link against it, and signs; the loop beside
it only signs the same bytes with `cryptography`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import statistics
import time
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nomos._core.tokens import decode_unverified
from nomos._io.signer import Signer, shared
from nomos._protocol import (
    Delegate,
    Delegation,
    Fork,
    ForkAnswer,
    ForkChild,
    ForkLink,
    LoadKey,
    LoadKeyAnswer,
    Signed,
)

HEADER = base64.urlsafe_b64encode(b'{"alg":"EdDSA","typ":"JWT","ucv":"1.0.0-cb"}').rstrip(b"=")
ISSUER, PARENT, CHILD = ("00" * 31 + f"0{number}" for number in (1, 2, 3))
FOLDER = {"provider": "filesystem", "path": "notes"}
AT_ONCE = 1000


def main() -> None:
    signer = Signer(shared())
    issuer, parent, child = (_load(signer, seed) for seed in (ISSUER, PARENT, CHILD))
    chain = [_root(signer, issuer, parent)]
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(PARENT))

    def forked(count: int) -> list[str]:
        links = []
        for start in range(0, count, AT_ONCE):
            children = [
                ForkChild(aud=child, links=[_link(number)])
                for number in range(start, min(start + AT_ONCE, count))
            ]
            answer = signer.ask(
                Fork(key=parent, chains=[chain], children=children, now=int(time.time()))
            )
            assert isinstance(answer, ForkAnswer), answer
            links += [each.links[0].jwt for each in answer.children]
        return links

    payload = decode_unverified(forked(1)[0])

    def signed_here(count: int) -> list[str]:
        links = []
        for number in range(count):
            said = payload | {"nonce": secrets.token_urlsafe(16)}
            said["meta"] = {"resource_constraint": FOLDER | {"path": f"notes/{number}"}}
            text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            body = HEADER + b"." + base64.urlsafe_b64encode(text.encode()).rstrip(b"=")
            jwt = body + b"." + base64.urlsafe_b64encode(key.sign(body)).rstrip(b"=")
            hashlib.sha256(jwt).hexdigest()
            links.append(jwt.decode())
        return links

    _check(forked(3), parent)
    print(f"{'children':>10}{'in process ms':>16}{'one fork ms':>14}{'each µs':>10}{'ratio':>8}")
    for count, rounds in ((10, 200), (100, 100), (1000, 20), (10_000, 5)):
        here, there = _medians(rounds, lambda n=count: signed_here(n), lambda n=count: forked(n))  # type: ignore[misc]
        print(
            f"{count:10}{here * 1e3:16.1f}{there * 1e3:14.1f}{there / count * 1e6:10.0f}"
            f"{there / here:8.2f}"
        )


def _medians(rounds: int, *alternatives: Callable[[], Sequence[str]]) -> list[float]:
    """The median of each, run in turn so that noise falls on all of them."""
    taken: list[list[float]] = [[] for _ in alternatives]
    for _ in range(rounds + 1):
        for times, alternative in zip(taken, alternatives, strict=True):
            began = time.perf_counter()
            alternative()
            times.append(time.perf_counter() - began)
    return [statistics.median(times[1:]) for times in taken]


def _load(signer: Signer, seed: str) -> str:
    loaded = signer.ask(LoadKey(seed=seed))
    assert isinstance(loaded, LoadKeyAnswer)
    return loaded.key


def _root(signer: Signer, issuer: str, parent: str) -> str:
    now = int(time.time())
    payload = Delegation(
        iss=issuer,
        aud=parent,
        sub=issuer,
        cmd="/filesystem",
        pol=[],
        nonce="root",
        nbf=now - 60,
        exp=now + 3600,
        meta={"resource_constraint": FOLDER},
    )
    signed = signer.ask(Delegate(key=issuer, payload=payload))
    assert isinstance(signed, Signed)
    return signed.jwt


def _link(number: int) -> ForkLink:
    return ForkLink(
        cmd="/filesystem/file/read",
        constraint=FOLDER | {"path": f"notes/{number}"},
        pol=[],
        nonce=secrets.token_urlsafe(16),
    )


def _check(links: Sequence[str], parent: str) -> None:
    """All of them are the parent's, and no two are one."""
    assert {decode_unverified(link)["iss"] for link in links} == {parent}
    assert len({*links}) == len(links)


if __name__ == "__main__":
    main()
