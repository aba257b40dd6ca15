"""`nomos demo`: one agent, real servers, real files, and what each step proves.

Every step prints evidence that a stranger can recheck. A step that does not come out as it
must ends the demo with exit status 1: it is a check, not a film.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.text import Text

from nomos import AuthGuard, Grant

STARTER = Path(__file__).with_name("starter.cedar")
READ = "/filesystem/file/read"
NOTE = ("notes/plan.md", "# Plan\n\nRead the issues, then write the summary.\n")
SECRET = ("secrets/token.txt", "nobody-reads-this\n")


@dataclass(frozen=True)
class Step:
    """What happened, for people (`told`) and for machines (`evidence`)."""

    name: str
    ok: bool
    told: str
    decision: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"step": self.name, "ok": self.ok, "decision": self.decision, **self.evidence}


@dataclass
class Stage:
    """The guard, the folder that its PDP serves, and what earlier steps leave for later ones."""

    guard: AuthGuard
    workspace: Path
    grant: Grant | None = None

    def ask_for(self, path: str) -> Grant:
        return self.guard.authorize(
            command=READ, resource={"provider": "filesystem", "path": path}, purpose="nomos demo"
        )

    def read(self, path: str, token: str | None) -> httpx.Response:
        """Read a file through the PDP, as any HTTP client would."""
        return httpx.get(
            f"{self.guard.pdp_url}{READ}",
            params={"path": path},
            headers={"authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=10,
        )


def run(policies: Path | None, console: Console, *, as_json: bool) -> bool:
    """Play every step until one fails; True when all came out as they must."""
    with _stage(policies, console, quiet=as_json) as stage:
        for name, play in STEPS:
            step = _played(name, play, stage, console, quiet=as_json)
            _show(step, console, as_json=as_json)
            if not step.ok:
                return False
    if not as_json:
        console.print(Text("\nEvery step came out as it must.", style="bold green"))
    return True


@contextmanager
def _stage(policies: Path | None, console: Console, *, quiet: bool) -> Iterator[Stage]:
    """Start the servers with a scratch workspace of real files; both go afterwards."""
    with _waiting(console, "starting a control plane and a PDP", quiet=quiet):
        guard = AuthGuard.embedded(policies=policies or STARTER)
    with guard:
        assert guard.workspace is not None
        for path, content in (NOTE, SECRET):
            file = guard.workspace / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        yield Stage(guard, guard.workspace)


def allow(stage: Stage) -> Step:
    path, _ = NOTE
    grant = stage.grant = stage.ask_for(path)
    return Step(
        "allow",
        ok=bool(grant) and grant.ucan is not None,
        told=f"asked to read {path}: {_decided(grant)}",
        decision=grant.decision,
        evidence=_of(grant),
    )


def pdp_read(stage: Stage) -> Step:
    path, content = NOTE
    reply = stage.read(path, stage.grant.ucan if stage.grant else None)
    on_disk = hashlib.sha256((stage.workspace / path).read_bytes()).hexdigest()
    body = _json(reply)
    got = hashlib.sha256(str(body.get("content", "")).encode()).hexdigest()
    return Step(
        "pdp_read",
        ok=reply.status_code == 200 and got == on_disk and body.get("content") == content,
        told=f"the PDP verified the token and gave {len(content)} bytes of {path}",
        decision="allow" if reply.status_code == 200 else "deny",
        evidence={"http_status": reply.status_code, "path": path, "sha256": got}
        | {"sha256_on_disk": on_disk, **_code(body)},
    )


def deny(stage: Stage) -> Step:
    path, _ = SECRET
    grant = stage.ask_for(path)
    return Step(
        "deny",
        ok=grant.decision == "deny" and grant.ucan is None,
        told=f"asked to read {path}: {_decided(grant)}",
        decision=grant.decision,
        evidence=_of(grant),
    )


def pdp_refuses_tampered(stage: Stage) -> Step:
    """Point the token of the first step at the secret file, keeping its signature."""
    path, content = SECRET
    tampered = _pointed_at(stage.grant.ucan or "" if stage.grant else "", path)
    reply = stage.read(path, tampered)
    body = _json(reply)
    refused = reply.status_code == 401 and body.get("error_code") == "bad_signature"
    return Step(
        "pdp_refuses_tampered",
        ok=refused and content.strip() not in reply.text,
        told=f"the token, changed to name {path}, got {reply.status_code} from the PDP",
        decision="deny" if reply.status_code != 200 else "allow",
        evidence={"http_status": reply.status_code, "path": path, **_code(body)},
    )


STEPS: tuple[tuple[str, Callable[[Stage], Step]], ...] = (
    ("allow", allow),
    ("pdp_read", pdp_read),
    ("deny", deny),
    ("pdp_refuses_tampered", pdp_refuses_tampered),
)


def _played(
    name: str, play: Callable[[Stage], Step], stage: Stage, console: Console, *, quiet: bool
) -> Step:
    with _waiting(console, name.replace("_", " "), quiet=quiet):
        return play(stage)


def _waiting(console: Console, what: str, *, quiet: bool) -> AbstractContextManager[object]:
    return nullcontext() if quiet else console.status(what)


def _show(step: Step, console: Console, *, as_json: bool) -> None:
    if as_json:
        console.print(Text(json.dumps(step.as_json())))
        return
    mark = Text("  ok  ", style="bold green") if step.ok else Text(" FAIL ", style="bold red")
    console.print(Text.assemble(mark, (f"{step.name:<22}", "bold"), step.told))
    for line in _lines(step.evidence):
        console.print(Text(f"{'':28}{line}", style="dim"))


def _lines(evidence: dict[str, Any]) -> Iterator[str]:
    for name, value in evidence.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        yield f"{name} {shown}"


def _decided(grant: Grant) -> str:
    if grant:
        return "allowed"
    by = ", ".join(grant.explanation.policies)
    return f"{grant.decision} ({grant.reason})" + (f" by policy {by}" if by else "")


def _of(grant: Grant) -> dict[str, Any]:
    facts = {
        "receipt_id": grant.receipt_id,
        "reason": grant.reason,
        "policies": list(grant.explanation.policies) or None,
        "agent": grant.agent,
        "audience": grant.audience,
        "expires_at": grant.expires_at.isoformat() if grant.expires_at else None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _code(body: dict[str, Any]) -> dict[str, Any]:
    return {"refusal": body["error_code"]} if "error_code" in body else {}


def _json(reply: httpx.Response) -> dict[str, Any]:
    try:
        body = reply.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _pointed_at(jwt: str, path: str) -> str:
    """Return the token with another path in it, canonical as before, under the old signature."""
    header, body, signature = jwt.split(".")
    payload = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    payload["args"]["resource"]["path"] = path
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    changed = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
    return f"{header}.{changed}.{signature}"
