"""What the demo's steps play on: a guard, a folder of files, and how a step is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from nomos import AuthGuard, Child, Grant
from nomos.models import Secret

if TYPE_CHECKING:
    from nomos.cli.demo.steps_swarm import DemoChild

READ = "/filesystem/file/read"
WRITE = "/filesystem/file/write"
NOTE = ("notes/plan.md", "# Plan\n\nRead the issues, then write the summary.\n")
SECRET = ("secrets/token.txt", "nobody-reads-this\n")
SUMMARY = ("notes/summary.md", "Three issues are open; one needs a person.\n")
PURPOSE = "nomos demo"


@dataclass(frozen=True)
class DemoStep:
    """What happened, for people (`told`) and for machines (`evidence`)."""

    name: str
    ok: bool
    told: str
    decision: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"step": self.name, "ok": self.ok, "decision": self.decision, **self.evidence}


@dataclass
class DemoHarness:
    """The guard, the folder that its PDP serves, and what earlier steps leave for later ones.

    `papers` is where the exported audit log goes, `operator_key` whose that person is who decides.
    """

    guard: AuthGuard
    workspace: Path
    papers: Path
    operator_key: Secret
    grant: Grant | None = None
    question: Grant | None = None
    approved: Grant | None = None
    issuer: str | None = None
    child: Child | None = None
    family: DemoChild | None = None

    def ask_to_read(self, path: str) -> Grant:
        """Ask for one file."""
        return self.guard.authorize(
            command=READ, resource={"provider": "filesystem", "path": path}, purpose=PURPOSE
        )

    def ask_to_write(self, envelope: str | None = None) -> Grant:
        """Ask to write the summary, with its content bound."""
        path, content = SUMMARY
        return self.guard.authorize(
            command=WRITE,
            resource={"provider": "filesystem", "path": path},
            args={"content": content},
            purpose=PURPOSE,
            cosigner_envelope_id=envelope,
        )

    def read(self, path: str, token: str | None) -> httpx.Response:
        """Read a file through the PDP, as any HTTP client would."""
        return self._call("GET", READ, token, params={"path": path})

    def write(self, token: str | None) -> httpx.Response:
        """Write the summary through the PDP."""
        path, content = SUMMARY
        return self._call("PUT", WRITE, token, json={"path": path, "content": content})

    def close(self) -> None:
        """End the child's process, and let go of what it was given."""
        if self.family is not None:
            self.family.close()
        if self.child is not None:
            self.child.close()

    def _call(self, method: str, command: str, token: str | None, **sent: Any) -> httpx.Response:
        with httpx.Client(trust_env=False, timeout=10) as client:
            return client.request(
                method,
                f"{self.guard.pdp_url}{command}",
                headers={"authorization": f"Bearer {token}"},
                **sent,
            )


Play = Callable[[DemoHarness], DemoStep]


def decision_facts(grant: Grant) -> str:
    """How a grant is told."""
    if grant:
        return "allowed"
    by = ", ".join(grant.explanation.policies)
    return f"{grant.decision} ({grant.reason})" + (f" by policy {by}" if by else "")


def facts(grant: Grant) -> dict[str, Any]:
    """What of a grant can be rechecked."""
    found = {
        "receipt_id": grant.receipt_id,
        "reason": grant.reason,
        "policies": list(grant.explanation.policies) or None,
        "agent": grant.agent,
        "audience": grant.audience,
        "expires_at": grant.expires_at.isoformat() if grant.expires_at else None,
        "envelope": grant.approval_envelope_id,
    }
    return {name: value for name, value in found.items() if value is not None}


def refusal(body: dict[str, Any]) -> dict[str, Any]:
    """The code with which the PDP refused, if it did."""
    return {"refusal": body["error_code"]} if "error_code" in body else {}


def json_of(reply: httpx.Response) -> dict[str, Any]:
    """The reply's JSON object; empty if it is none."""
    try:
        body = reply.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
