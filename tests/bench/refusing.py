"""The time until a verifier refuses each of the most expensive invalid tokens, in milliseconds."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from figures import in_turn

from nomos._io.signer import Signer, shared
from nomos._protocol import Refused, Verified, Verify

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vectors.cases import verify, verify_use
from vectors.forge import (
    DELEGATION,
    INVOCATION,
    ISSUER,
    PLANNER,
    RESEARCHER,
    Payload,
    canonical,
    child,
    invocation,
    respelled,
    root,
    sign,
    sign_raw,
    use,
)

ROUNDS: Final = 100
LIMIT: Final = 64 * 1024
STARS: Final = "*a" * 30 + "*b"
RESOURCE: Final = {"provider": "github", "owner": "acme", "repo": "app"}


def good() -> Payload:
    first = root()
    return verify_use(use([first, child(first)]))


def stars() -> Payload:
    """A pattern of thirty stars, over a text that fits it but for its last letter."""
    first = root(pol=[["like", ".args.x", STARS]])
    token = use([first, child(first)], args={"resource": RESOURCE, "x": "a" * 20_000})
    return verify_use(token)


def quantifiers() -> Payload:
    """Five hundred statements, each about every one of nine thousand elements."""
    first = root(pol=[["not", ["any", ".args.x", ["==", ".", 1]]]] * 500)
    token = use([first], iss=PLANNER.did, args={"resource": RESOURCE, "x": [0] * 9_000})
    return verify_use(respelled(token, lambda payload: payload, PLANNER))


def nested(header: Payload) -> str:
    return sign_raw(canonical(header), b"[" * 10_000 + b"]" * 10_000, ISSUER)


def full_invocation() -> str:
    """An invocation that carries as many links as fit into it."""
    return sign(INVOCATION, invocation(RESEARCHER, ["x"] * 11_000), RESEARCHER)


MONSTERS: Final[dict[str, Callable[[], Payload]]] = {
    "nothing wrong: a use of two links": good,
    "a link of 64 KiB and one character": lambda: verify(chain=["a" * (LIMIT + 1)]),
    "an invocation of that size": lambda: verify_use("a" * (LIMIT + 1)),
    "a chain of 10,000 links": lambda: verify(chain=["x"] * 10_000),
    "an invocation that carries 11,000": lambda: verify_use(full_invocation()),
    "JSON nested 10,000 deep, in a link": lambda: verify(chain=[nested(DELEGATION)]),
    "JSON nested 10,000 deep, in an invocation": lambda: verify_use(nested(INVOCATION)),
    "a like with 30 stars over 20,000 letters": stars,
    "500 quantifiers, each over 9,000 elements": quantifiers,
}


def main() -> None:
    signer = Signer(shared())
    requests = {name: Verify.model_validate({**make(), "id": 0}) for name, make in MONSTERS.items()}
    answers = {name: signer.ask(request) for name, request in requests.items()}

    def asking(request: Verify) -> Callable[[], object]:
        return lambda: signer.ask(request)

    taken = in_turn(ROUNDS, *map(asking, requests.values()))
    print(f"{'':44}{'p50 ms':>9}{'p99 ms':>9}  answer")
    for (name, answer), times in zip(answers.items(), taken, strict=True):
        p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
        answer_code = answer.code if isinstance(answer, Refused) else "ok"
        print(f"{name:44}{p50 * 1e3:9.2f}{p99 * 1e3:9.2f}  {answer_code}")
    [first, *others] = answers.values()
    assert isinstance(first, Verified)
    assert all(isinstance(answer, Refused) for answer in others)


if __name__ == "__main__":
    main()
