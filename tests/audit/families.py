"""Audit records of swarms, made in the order in which a server makes them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from nomos.audit.chain import Head, chained
from nomos.audit.export import ExportWriter, Header
from nomos.audit.record import Kind, Record, content
from nomos.audit.swarm import AgentSummary, Swarm
from nomos.audit.swarm_builder import SwarmsBuilder

AT: Final = 1_795_262_400_000
APP: Final = {"provider": "github", "owner": "acme", "repo": "app"}
LISTING: Final = "/github/issue/list"

_LETTERS: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def did(name: object) -> str:
    """A DID for a name, without a known key."""
    digest = hashlib.sha512(str(name).encode()).digest()
    return "did:key:z6Mk" + "".join(_LETTERS[byte % 58] for byte in digest)[:44]


class Log:
    """A log that is being written: every record has the next number and is a second later."""

    def __init__(self, root: str = "root") -> None:
        self.root = did(root)
        self.records: list[Record] = []

    def add(self, kind: Kind, agent: str | None, **members: Any) -> Record:
        number = len(self.records)
        record = Record(
            **{
                "id": f"evt_{number:026}",
                "tenant": "default",
                "kind": kind,
                "at": AT + 1000 * number,
                "agent": agent,
                "root": self.root,
                **members,
            }
        )
        self.records.append(record)
        return record

    def grant(self, agent: str | None = None, **members: Any) -> Record:
        """The issuer signs a delegation for an agent, by default the root."""
        ident = f"grant {len(self.records)}"
        members = {"command": "/github", "resource": {"provider": "github"}} | members
        return self.add(
            "decision",
            agent or self.root,
            decision="allow",
            app="app_1",
            cid=cid(ident),
            expires_at=AT // 1000 + 300,
            **members,
        )

    def link(
        self, delegator: str, agent: str, above: Record | None = None, **members: Any
    ) -> Record:
        """An agent hands something on to another, and that is used."""
        said = {
            "command": LISTING,
            "resource": APP,
            "parent": None if above is None else above.id,
            "cid": cid(f"link {len(self.records)}"),
            "expires_at": AT // 1000 + 200,
        }
        detail = {"by": delegator, **members.pop("detail", {})}
        return self.add("delegation", agent, **said | members, detail=detail)

    def call(self, agent: str, reason: str | None = None, **members: Any) -> Record:
        """An agent calls something at the PDP, and may not for a reason."""
        said: dict[str, Any] = {"decision": "allow", "status": 200}
        if reason is not None:
            said = {"decision": "deny", "status": 403, "reason": reason}
        return self.add("call", agent, **{"command": LISTING, "resource": APP} | said | members)

    def revoke(self, ident: str, why: str | None = None) -> Record:
        """Record the revocation of a cid or an agent."""
        reason = {} if why is None else {"reason": why}
        return self.add(
            "revocation",
            ident if ident.startswith("did:") else None,
            root=None,
            actor="app_operator",
            act="revoke",
            detail={"id": ident, "kind": "cid", "seq": 1, **reason},
        )

    def export(self, file: Path) -> Path:
        """Write it as an export; its one signature is none."""
        writer, head = ExportWriter(), Head()
        lines = [writer.header(Header("default", did("issuer"), [], "2026-11-21T12:00:00.000Z"))]
        for record in self.records:
            placed = chained(content(record), "default", head)
            head = placed.head
            lines.append(writer.row(placed))
        lines += [writer.checkpoint("a.b.c"), writer.end()]
        file.write_bytes(b"".join(lines))
        return file

    def families(self) -> SwarmsBuilder:
        families = SwarmsBuilder()
        for record in self.records:
            families.add(record)
        return families

    def swarm(self) -> Swarm:
        return self.families().swarm(self.root)

    def member(self, agent: str) -> AgentSummary:
        [found] = [each for each in self.swarm().members if each.agent == agent]
        return found


def cid(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
