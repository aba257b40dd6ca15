"""A root agent whose key this process has, and programs that its children run."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vectors.forge import DELEGATION, Party, delegation, sign

from nomos._io.signer import Signer, shared
from nomos._protocol import LoadKey
from nomos.models import Chain, chain_of

ACME = {"provider": "github", "owner": "acme"}
READ = {"with": "github://acme/app", "can": "repo:read"}
RECEIPT = "evt_01jb0000000000000000000000"
API_KEY = f"nomos_app_{'a' * 26}_{'b' * 52}"


@dataclass(frozen=True)
class Agent:
    """A key, and the seed that names it to a process: `environ` holds it as a file."""

    party: Party
    chain: Chain = field(default_factory=Chain)

    @property
    def did(self) -> str:
        return str(self.party.did)


def new_party() -> Party:
    return Party(secrets.randbits(250) + 1000)


def granted(holder: Party, issuer: Party | None = None, **changes: Any) -> Chain:
    """What a control plane would sign for `holder` now."""
    signer = new_party() if issuer is None else issuer
    now = int(time.time())
    values: dict[str, Any] = {
        "cmd": "/github",
        "nonce": secrets.token_urlsafe(16),
        "nbf": now - 60,
        "exp": now + 300,
        "meta": {"resource_constraint": ACME, "receipt_id": RECEIPT},
    }
    return chain_of([sign(DELEGATION, delegation(signer, holder, **values | changes), signer)])


def agent() -> Agent:
    """A root agent that can sign in this process, and what it was granted."""
    party = new_party()
    Signer(shared()).ask(LoadKey(seed=party.seed))
    return Agent(party, granted(party))


def key_file(folder: Path, party: Party) -> str:
    path = folder / f"{party.did[-8:]}.key"
    path.write_text(party.seed)
    path.chmod(0o600)
    return str(path)


def program(source: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(source)]


def run(source: str, env: Mapping[str, str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run a program with an environment, and wait for it."""
    return subprocess.run(
        program(source), env=env, capture_output=True, text=True, check=False, timeout=60, **kwargs
    )


def environment(temporary: Path | None = None) -> dict[str, str]:
    """What a program needs to run here at all."""
    names = ("PATH", "HOME", "LANG", "NOMOS_UCAN_BIN", "PYTHONPATH")
    found = {name: os.environ[name] for name in names if name in os.environ}
    return found | ({} if temporary is None else {"TMPDIR": str(temporary)})


READS = """
    import json, os
    from nomos import read_parent_chain_from_env
    parent = read_parent_chain_from_env()
    print(json.dumps({
        "chains": [list(chain) for chain in parent.chains],
        "receipt": parent.parent_receipt_id,
        "swarm": parent.swarm_id,
    }))
"""
"""Says what it was given, once that is proven."""
