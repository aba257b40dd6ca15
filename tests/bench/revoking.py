"""From a revocation to the first refusal at a PDP: beside the control plane, and alone.

Each round grants, sees a call allowed, and revokes. The time runs from before the revocation is
sent until a call is refused for it. Alone, the PDP is then cut off for 20 s, several times:
what was revoked meanwhile must be refused as soon as the wire is whole, and nothing be let
through before.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
from standalone import Pdp, Plane, Wire, client, read, together, until

ROUNDS = 50
CUTS = 3
CUT_SECONDS = 20.0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, together(Path(folder)) as (plane, pdp, wire):
        with client(plane.pdp_url) as http:
            show("the control plane's own PDP", rounds(plane, None, http))
        show("a PDP alone", rounds(plane, pdp.did, pdp.http))
        mended: list[float] = []
        blind: list[float] = []
        for _ in range(CUTS):
            stopped, again = cut(plane, pdp, wire)
            blind.append(stopped)
            mended.append(again)
        print(f"\ncut off for {CUT_SECONDS:g} s, {CUTS} times")
        print(f"  from the cut to nothing going through     worst {max(blind):6.2f} s")
        print(f"  from the mending to the right refusal     worst {max(mended):6.2f} s")
        show("a PDP alone, after it was cut off", rounds(plane, pdp.did, pdp.http))


def rounds(plane: Plane, audience: str | None, http: httpx.Client) -> list[float]:
    """Revoke `ROUNDS` grants one after the other; return the seconds until each was refused."""
    return [once(plane, plane.grant(audience), http) for _ in range(ROUNDS)]


def once(plane: Plane, grant: dict[str, Any], http: httpx.Client) -> float:
    assert read(http, grant["ucan"]).status_code == 200
    began = time.perf_counter()
    plane.revoke(cid(grant))
    until(refused(http, grant), 10)
    return time.perf_counter() - began


def cut(plane: Plane, pdp: Pdp, wire: Wire) -> tuple[float, float]:
    """Cut the wire and revoke; return the seconds to no call, and from the mending to the truth."""
    grant = plane.grant(pdp.did)
    assert pdp.read(grant["ucan"]).status_code == 200
    began = time.perf_counter()
    wire.cut()
    plane.revoke(cid(grant))
    stopped = until(lambda: pdp.read(grant["ucan"]).status_code == 503, 10)
    while time.perf_counter() - began < CUT_SECONDS:
        assert pdp.read(grant["ucan"]).status_code == 503, "a call went through"
        time.sleep(0.05)
    wire.mend()
    return stopped, until(refused(pdp.http, grant), 10)


def refused(http: httpx.Client, grant: dict[str, Any]) -> Callable[[], bool]:
    def look() -> bool:
        reply = read(http, grant["ucan"])
        return reply.status_code == 401 and reply.json()["error_code"] == "revoked"

    return look


def cid(grant: dict[str, Any]) -> str:
    return hashlib.sha256(grant["chain"][-1].encode()).hexdigest()


def show(name: str, taken: Sequence[float]) -> None:
    p50, worst = statistics.median(taken) * 1000, max(taken) * 1000
    print(f"{name:44} p50 {p50:7.1f} ms   worst of {len(taken)} {worst:7.1f} ms")


if __name__ == "__main__":
    main()
