"""From a revocation to the first refusal by a `Verifier` that follows a control plane.

The control plane is a process of its own. Each round grants, sees the token verified, and revokes;
the time runs from before the revocation is sent until the token is refused for it. Then the
verifier is cut off for 10 s, several times: what was revoked meanwhile must be refused as soon as
the wire is whole, and nothing be let through before.

    PYTHONPATH=tests:tests/verify uv run python tests/bench/verifying_revoked.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from revoking import show
from services import api_key, cid, register, result_of
from standalone import Plane, Wire, until

from nomos import Verifier

ROUNDS = 50
CUTS = 3
CUT_SECONDS = 10.0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        plane = Plane(Path(folder))
        wire = Wire(int(plane.url.rpartition(":")[2]))
        did, url = register(plane, "notes"), f"http://127.0.0.1:{wire.port}"
        with Verifier.from_control_plane(url, audience=did, api_key=api_key(plane)) as verifier:
            show("a service that verifies", rounds(plane, verifier))
            taken = [cut(plane, wire, verifier) for _ in range(CUTS)]
            print(f"\ncut off for {CUT_SECONDS:g} s, {CUTS} times")
            blind, mended = max(each[0] for each in taken), max(each[1] for each in taken)
            print(f"  from the cut to nothing being accepted    worst {blind:6.2f} s")
            print(f"  from the mending to the right refusal     worst {mended:6.2f} s")
            show("the same, after it was cut off", rounds(plane, verifier))
        wire.close()
        plane.close()


def rounds(plane: Plane, verifier: Verifier) -> list[float]:
    """Revoke `ROUNDS` grants one after the other; return the seconds until each was refused."""
    return [once(plane, verifier, plane.grant(verifier.audience)) for _ in range(ROUNDS)]


def once(plane: Plane, verifier: Verifier, grant: dict[str, Any]) -> float:
    assert result_of(verifier, grant) == "allowed"
    began = time.perf_counter()
    plane.revoke(cid(grant))
    until(lambda: result_of(verifier, grant) == "revoked", 10)
    return time.perf_counter() - began


def cut(plane: Plane, wire: Wire, verifier: Verifier) -> tuple[float, float]:
    """Cut the wire and revoke; the seconds to no token, and from the mending to the truth."""
    grant = plane.grant(verifier.audience)
    assert result_of(verifier, grant) == "allowed"
    began = time.perf_counter()
    wire.cut()
    plane.revoke(cid(grant))
    stopped = until(lambda: result_of(verifier, grant) == "revocations_stale", 10)
    while time.perf_counter() - began < CUT_SECONDS:
        assert result_of(verifier, grant) == "revocations_stale", "a token was accepted"
        time.sleep(0.05)
    wire.mend()
    return stopped, until(lambda: result_of(verifier, grant) == "revoked", 10)


if __name__ == "__main__":
    main()
