"""Rows of a tenant's key log: making a signed one, and verifying those that exist."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nomos._io.checkpoints import checking_async
from nomos._protocol import Checkpoint, Refused, SignCheckpoint, Signed
from nomos.audit.chain import Head, chained
from nomos.audit.keys import BrokenKeys, trusted_async
from nomos.errors import SignerError
from nomos.server.signing.keys import SignerPort
from nomos.server.storage.issuer_keys import IssuerKey, content


@dataclass(frozen=True)
class NewKey:
    """A key to be added: its tenant, DID, file, and start in milliseconds."""

    tenant: str
    did: str
    file: str
    at: int


def file_of(tenant: str, number: int) -> str:
    """Return the name of the file of a tenant's n-th key."""
    return f"issuer-{tenant}" if number == 1 else f"issuer-{tenant}-{number}"


def entry(key: IssuerKey) -> dict[str, Any]:
    """Return one row of the key log, with its checkpoint."""
    row = json.loads(key.link.text)
    return {"row": row, "hash": key.link.hash, "checkpoint": key.checkpoint}


async def sign_entry(signer: SignerPort, planned: NewKey, by: str, after: Head) -> IssuerKey:
    """Return the key as a row of the log, with a checkpoint signed by the key `by`."""
    placed = chained(content(planned.did, planned.at), planned.tenant, after)
    seconds = planned.at // 1000
    payload = Checkpoint(
        iss=by,
        log="keys",
        tenant=planned.tenant,
        seq=placed.seq,
        head=placed.hash,
        iat=seconds,
    )
    answer = await signer.ask(SignCheckpoint(key=by, payload=payload))
    if not isinstance(answer, Signed):
        code = answer.code if isinstance(answer, Refused) else None
        raise SignerError(f"the signing binary did not sign a new key's row: {code}", code=code)
    return IssuerKey(planned.tenant, planned.did, planned.file, placed, answer.jwt, seconds)


async def prove(signer: SignerPort, keys: Sequence[IssuerKey]) -> None:
    """Raise BrokenKeys unless each key's row, with its columns, is signed by the key before it."""
    entries = [entry(key) for key in keys]
    await trusted_async(entries, keys[-1].tenant, keys[-1].did, checking_async(signer))
    named = [each["row"]["did"] for each in entries]
    active = [key.did for key in keys if key.state == "active"]
    if named != [key.did for key in keys] or active != named[-1:]:
        raise BrokenKeys("the rows of the key log differ from their columns in the database")
