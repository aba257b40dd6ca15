"""What the demo's steps share: the guard, the folder of files, and the result of a step."""

from __future__ import annotations

import hashlib
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
SECRET = ("secrets/token.txt", "secret-text\n")
SUMMARY = ("notes/summary.md", "Three issues are open; one needs a person.\n")
PURPOSE = "nomos demo"


@dataclass(frozen=True)
class DemoStep:
    """The result of one step: a `summary` to read, and `evidence` to check."""

    ok: bool
    summary: str
    decision: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass
class DemoHarness:
    """The guard, the folder that its PDP serves, and results of earlier steps for later ones.

    `exports` is the folder for the exported audit log. `operator_key` is the API key of the
    operator who approves.
    """

    guard: AuthGuard
    workspace: Path
    exports: Path
    operator_key: Secret
    grant: Grant | None = None
    question: Grant | None = None
    approved: Grant | None = None
    child: Child | None = None
    running_child: DemoChild | None = None

    def ask_to_read(self, path: str) -> Grant:
        """Request a grant to read a path."""
        return self.guard.authorize(
            command=READ, resource={"provider": "filesystem", "path": path}, purpose=PURPOSE
        )

    def ask_to_write(self, envelope: str | None = None) -> Grant:
        """Request a grant to write the summary, with its content bound."""
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

    def hash_on_disk(self, path: str) -> str | None:
        """Return the sha256 of a file in the workspace, None if it is not there."""
        file = self.workspace / path
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None

    def close(self) -> None:
        """End the child process, and delete its credentials."""
        if self.running_child is not None:
            self.running_child.close()
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


Play = Callable[[DemoHarness], DemoStep]  # one step; its name is the name of the function


def decision_facts(grant: Grant) -> str:
    """Describe a grant in a few words."""
    if grant:
        return "allowed"
    by = ", ".join(grant.explanation.policies)
    return f"{grant.decision} ({grant.reason})" + (f" by policy {by}" if by else "")


def facts(grant: Grant) -> dict[str, Any]:
    """Return the checkable facts of a grant."""
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
    """Return the PDP's error code, if it refused the call."""
    return {"refusal": body["error_code"]} if "error_code" in body else {}


def json_of(reply: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of a reply; empty if there is none."""
    try:
        body = reply.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
