"""A real log, exported by a real server with the real binary, and keys to forge rows with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from nomos._io.checkpoints import checking
from nomos._io.signer import AsyncSigner, Signer, SignerConnection
from nomos._protocol import (
    Checkpoint,
    CheckpointVerified,
    LoadKey,
    LoadKeyAnswer,
    Refused,
    SignCheckpoint,
    Signed,
    VerifyCheckpoint,
)
from nomos.audit.canonical import canonical
from nomos.audit.findings import Report
from nomos.audit.record import Kind, Record
from nomos.audit.verify import verify
from nomos.policy.bundle import Source
from nomos.server.app import System
from nomos.server.settings import Settings
from nomos.server.signing.issuers import RotationRequest
from nomos.server.storage.tenants import DEFAULT

NOW: Final = 1_800_000_000
POLICY: Final = """
@id("reads") permit(principal, action in Action::"/github", resource is Github)
when { resource has owner && resource.owner == "acme" };
"""

Json = dict[str, Any]


@dataclass(frozen=True)
class Export:
    """The lines of an export, and what its reader may know besides."""

    lines: tuple[bytes, ...]
    issuer: str
    first_issuer: str
    pin: str
    unrelated: str
    signer: Signer = field(repr=False)
    answers: dict[tuple[str, tuple[str, ...]], Checkpoint | Refused] = field(
        default_factory=dict, repr=False
    )

    # Reading

    def json(self, index: int) -> Json:
        said: Json = json.loads(self.lines[index])
        return said

    def of(self, kind: str) -> list[int]:
        """The indexes of the lines of one type."""
        return [i for i in range(len(self.lines)) if self.json(i)["type"] == kind]

    def row_before(self, index: int) -> int:
        """The number of the last row above a line."""
        return sum(at < index for at in self.of("row"))

    # Checking

    def verify(
        self, lines: Sequence[bytes], *, issuer: str | None = None, pin: str | None = None
    ) -> Report:
        """Verify some lines as the reader who knows the first issuer."""
        return verify(iter(lines), issuer or self.first_issuer, self.check, pinned=pin)

    def check(self, token: str, issuers: Sequence[str]) -> Checkpoint | Refused:
        """What the binary says, which is asked once about the same thing."""
        asked = token, tuple(issuers)
        if asked not in self.answers:
            self.answers[asked] = checking(self.signer)(token, issuers)
        return self.answers[asked]

    # Forging

    def sign(self, key: str, seq: int, head: str, **changes: Any) -> str:
        said = {"iss": key, "log": "audit", "tenant": DEFAULT, "seq": seq, "head": head}
        payload = Checkpoint.model_validate({**said, "iat": NOW, **changes})
        answer = self.signer.ask(SignCheckpoint(key=key, payload=payload))
        assert isinstance(answer, Signed), answer
        return answer.jwt

    def said(self, token: str) -> Checkpoint:
        issuers = [self.first_issuer, self.issuer, self.unrelated]
        answer = self.signer.ask(VerifyCheckpoint(token=token, issuers=issuers))
        assert isinstance(answer, CheckpointVerified), answer
        return answer.checkpoint

    def resigned(self, lines: Sequence[bytes], key: str) -> list[bytes]:
        """What someone with the key can make: every checkpoint signed anew over what is there."""
        made: list[bytes] = []
        head = ""
        for line in lines:
            said = json.loads(line)
            if said["type"] == "row":
                head, seq = said["hash"], said["row"]["seq"]
            if said["type"] == "checkpoint":
                last = json.loads(lines[-1])["type"] == "end" and line is lines[-2]
                nonce = {"nonce": hashlib.sha256(b"".join(made)).hexdigest()} if last else {}
                token = self.sign(key, seq, head, **nonce)
                made.append(encoded({"type": "checkpoint", "token": token}))
            else:
                made.append(line)
        return made


def encoded(value: Any) -> bytes:
    return canonical(value) + b"\n"


def fitted(row: Mapping[str, Any]) -> bytes:
    """A row with the hash that it should have."""
    row_hash = hashlib.sha256(canonical(dict(row))).hexdigest()
    return encoded({"type": "row", "row": dict(row), "hash": row_hash})


def rechained(lines: Sequence[bytes], start: int) -> list[bytes]:
    """Make the rows from `start` on name each other, as anyone can."""
    made = list(lines)
    before: str | None = None
    for index in range(start, len(made)):
        said = json.loads(made[index])
        if said["type"] == "row":
            row = said["row"] if before is None else {**said["row"], "prev_hash": before}
            made[index] = fitted(row)
            before = json.loads(made[index])["hash"]
    return made


async def exported(folder: Path, link: SignerConnection) -> Export:
    """Run a server, let things of every kind happen, rotate its key, and export."""
    settings = Settings(data=folder, policies=(Source("policy.cedar", POLICY),))
    now = [float(NOW)]
    system = await System.open(settings, AsyncSigner(link), clock=lambda: now[0])
    try:
        operator = (await system.create_app("operator", "operator", ["*"])).reveal()
        agent = (await system.create_app("agent")).reveal()
        first = system.issuer_did
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=system.control), base_url="http://control"
        ) as client:

            async def get(path: str) -> httpx.Response:
                reply = await client.get(path, headers={"authorization": f"Bearer {operator}"})
                assert reply.status_code == 200, reply.text
                return reply

            async def ask(owner: str) -> None:
                now[0] += 1
                resource = {"provider": "github", "owner": owner, "repo": "app"}
                question = {"command": "/github/issue/list", "resource": resource}
                more = {"args": {"state": "open"}, "purpose": "to see — «всё»"}
                headers = {"authorization": f"Bearer {agent}"}
                reply = await client.post("/v1/authorize", json=question | more, headers=headers)
                assert reply.status_code == 200, reply.text

            for owner in ("acme", "evil", "acme"):
                await ask(owner)
            await get("/v1/audit/checkpoint")
            for record in every_kind(int(now[0] * 1000), agent.split("_")[2]):
                await system.store.record(record)
            await get("/v1/audit/checkpoint")
            await system.issuers.rotate(DEFAULT, RotationRequest("app_1"))
            await ask("acme")
            pin = (await get("/v1/audit/checkpoint")).json()["checkpoint"]
            for owner in ("evil", "acme", "acme"):
                await ask(owner)
            body = (await get("/v1/audit/export")).content
        issuer = system.issuer_did
    finally:
        await system.close()
    signer = Signer(link)
    for file in (folder / "keys").glob("issuer-*.key"):
        load(signer, file.read_text().strip())
    lines = tuple(body.splitlines(keepends=True))
    return Export(lines, issuer, first, pin, load(signer, "5a" * 32), signer)


def load(signer: Signer, seed: str) -> str:
    answer = signer.ask(LoadKey(seed=seed))
    assert isinstance(answer, LoadKeyAnswer)
    return answer.key


def every_kind(at: int, app: str) -> Iterator[Record]:
    """A record of each kind with every member that there is."""
    kinds: tuple[Kind, ...] = ("call", "approval", "revocation", "policy", "key", "app", "session")
    for number, kind in enumerate(kinds):
        yield Record(
            id=f"evt_{number:026}",
            tenant=DEFAULT,
            kind=kind,
            at=at + number,
            app=f"app_{app}",
            agent="did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf",
            command="/github/issue/list",
            resource={"provider": "github", "owner": "acme", "repo": "app"},
            args={"n": number, "half": 0.5, "flag": True, "none": None, "list": [1, "two", {}]},
            decision="deny",
            reason="approval_denied",
            policies=("careful", "reads"),
            bundle="b" * 64,
            purpose="because",
            expires_at=at // 1000 + 60,
            cid=f"{number:064x}",
            request_id=f"req_{number}",
            status=403,
            envelope=f"env_{number:026}",
            parent=f"evt_{number - 1:026}" if number else None,
            actor="app_operator",
            act="deny",
            detail={"why": "no", "roles": ["lead"]},
        )


def refusing(token: str, issuers: Sequence[str]) -> Checkpoint | Refused:
    """A check that nothing passes."""
    return Refused(code="bad_signature", message="the signature does not fit")
