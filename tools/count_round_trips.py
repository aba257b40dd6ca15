"""Count the requests to `nomos-ucan` that each operation makes, and print them.

    uv run python tools/count_round_trips.py

A round trip is one line on the binary's pipe and its answer. Everything runs in this process: an
embedded system, a guard with an API key, a child that has a chain instead, and a `Verifier`. Each
operation is done once before it is counted, so that keys are loaded and processes run. Checkpoints
of the audit log are not counted: the server signs them on a timer, for no operation.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

import httpx

from nomos import AuthGuard, Child, Grant, Verifier
from nomos._io.signer import Signer, SignerConnection, shared
from nomos._protocol import (
    Delegate,
    Delegation,
    GenerateKey,
    GenerateKeyAnswer,
    Invocation,
    Invoke,
    Request,
    SignCheckpoint,
    Signed,
)
from nomos.constraints import eq

POLICY: Final = '@id("files") permit (principal, action in Action::"/filesystem", resource);'
READ: Final = "/filesystem/file/read"
WRITE: Final = "/filesystem/file/write"
FILE: Final = {"provider": "filesystem", "path": "notes/a.txt"}
BODY: Final = {"path": "notes/a.txt", "content": "hello"}
NOTES: Final = {"with": "filesystem:///notes", "can": "file:read"}
LIST: Final = "/notes/note/list"
NOTE: Final = {"provider": "notes", "book": "a"}


def main() -> None:
    """Print one line for each operation."""
    for name, made in count().items():
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(made.items()))
        print(f"{name:34} {made.total():2}  {kinds}")


def count() -> dict[str, Counter[str]]:
    """Return how many requests of each kind each operation makes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "notes").mkdir()
        (folder / "notes" / "a.txt").write_text("hello")
        system = stack.enter_context(AuthGuard.embedded(policies=POLICY, workspace=folder))
        made = {"Verifier.verify": twice(verification(stack))}
        return made | with_api_key(system) | with_chain(system, stack)


def with_api_key(system: AuthGuard) -> dict[str, Counter[str]]:
    """Count what an agent with an API key does, and its calls at the PDP."""
    read = system.authorize(command=READ, resource=FILE)
    write = system.authorize(command=WRITE, resource=FILE, args={"content": BODY["content"]})
    folder = system.authorize(command=READ, resource={**FILE, "path": "notes"})

    def fork() -> None:
        system.fork_child(capabilities=[NOTES], parent_chain=folder).close()

    return {
        "authorize": twice(lambda: system.authorize(command=READ, resource=FILE)),
        "authorize with constraints": twice(
            lambda: system.authorize(command=READ, resource=FILE, constraints=eq("n", 1))
        ),
        "grant.headers": twice(read.headers),
        "fork_child": twice(fork),
        "PDP GET, chain of 1": twice(get(system, read.headers)),
        "PDP PUT, chain of 1": twice(put(system, write)),
    }


def with_chain(system: AuthGuard, stack: ExitStack) -> dict[str, Counter[str]]:
    """Count what a child does that has a chain and no API key."""
    held = system.authorize(command=READ, resource={**FILE, "path": "notes"})
    child: Child = system.fork_child(capabilities=[NOTES], parent_chain=held)
    stack.callback(child.close)
    guard = stack.enter_context(AuthGuard.from_env(child.env()))
    call: dict[str, Any] = {"command": READ, "resource": FILE}
    grant = guard.authorize(**call)
    return {
        "authorize by a chain": twice(lambda: guard.authorize(**call)),
        "guard.headers by a chain": twice(lambda: guard.headers(**call)),
        "grant.headers by a chain": twice(grant.headers),
        "PDP GET, chain of 2": twice(get(system, lambda: guard.headers(**call))),
    }


def get(system: AuthGuard, headers: Callable[[], dict[str, str]]) -> Callable[[], object]:
    """Return a read at the PDP, of which the headers are made before it is counted."""
    signed = iter([headers(), headers()])

    def call() -> None:
        sent = httpx.get(
            f"{system.pdp_url}{READ}", params={"path": FILE["path"]}, headers=next(signed)
        )
        sent.raise_for_status()

    return call


def put(system: AuthGuard, grant: Grant) -> Callable[[], object]:
    """Return a write at the PDP, of which the headers are made before it is counted."""
    signed = iter([grant.headers(), grant.headers()])

    def call() -> None:
        sent = httpx.put(f"{system.pdp_url}{WRITE}", json=BODY, headers=next(signed))
        sent.raise_for_status()

    return call


def verification(stack: ExitStack) -> Callable[[], object]:
    """Return one call of a `Verifier`, for a read on a chain of one delegation."""
    issuer, service, agent = (generated() for _ in range(3))
    now = int(time.time())
    root = signed(
        Delegate(
            key=issuer,
            payload=Delegation(
                iss=issuer,
                aud=agent,
                cmd=LIST,
                pol=[],
                nonce="one-nonce",
                nbf=now - 60,
                exp=now + 300,
                meta={"audience": service, "closed": True, "reads": [LIST]},
            ),
        )
    )
    token = signed(
        Invoke(
            key=agent,
            payload=Invocation(
                iss=agent,
                aud=service,
                sub=issuer,
                cmd=LIST,
                args={"resource": NOTE},
                nonce="another-nonce",
                iat=now - 60,
                exp=now + 300,
                prf=[root],
            ),
        )
    )
    verifier = stack.enter_context(
        Verifier(trusted_issuers=[issuer], audience=service, revocations=())
    )
    return lambda: verifier.verify(token, command=LIST, resource=NOTE)


def generated() -> str:
    """Return the DID of a key that the binary makes and keeps."""
    answer = Signer(shared()).ask(GenerateKey())
    assert isinstance(answer, GenerateKeyAnswer), answer
    return answer.key


def signed(request: Request) -> str:
    """Return the token that a request asks for."""
    answer = Signer(shared()).ask(request)
    assert isinstance(answer, Signed), answer
    return answer.jwt


def twice(operation: Callable[[], object]) -> Counter[str]:
    """Do something, and count what it asks of the binary when it is done again."""
    operation()
    with counted() as made:
        operation()
    return made


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the requests that are sent to any binary from this process."""
    made: Counter[str] = Counter()
    line = SignerConnection.line

    def counting(link: SignerConnection, request: Request) -> Any:
        if not isinstance(request, SignCheckpoint):
            made[type(request).__name__] += 1
        return line(link, request)

    with mock.patch.object(SignerConnection, "line", counting):
        yield made


if __name__ == "__main__":
    main()
