"""The demo's first steps: what a token permits, and what it does not."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Final

from nomos.cli.demo.harness import (
    NOTE,
    SECRET,
    DemoHarness,
    DemoStep,
    Play,
    decision_facts,
    facts,
    json_of,
    refusal,
)


def allow(demo: DemoHarness) -> DemoStep:
    """An agent asks for a file that it may read."""
    path, _ = NOTE
    grant = demo.grant = demo.ask_to_read(path)
    return DemoStep(
        ok=bool(grant) and grant.ucan is not None,
        summary=f"asked to read {path}: {decision_facts(grant)}",
        decision=grant.decision,
        evidence=facts(grant),
    )


def pdp_read(demo: DemoHarness) -> DemoStep:
    """The PDP verifies the token and returns the file."""
    path, content = NOTE
    reply = demo.read(path, demo.grant.ucan if demo.grant else None)
    on_disk = demo.hash_on_disk(path)
    body = json_of(reply)
    got = hashlib.sha256(str(body.get("content", "")).encode()).hexdigest()
    return DemoStep(
        ok=reply.status_code == 200 and got == on_disk and body.get("content") == content,
        summary=f"the PDP verified the token and returned {len(content)} bytes of {path}",
        decision="allow" if reply.status_code == 200 else "deny",
        evidence={"http_status": reply.status_code, "path": path, "sha256": got}
        | {"sha256_on_disk": on_disk, **refusal(body)},
    )


def deny(demo: DemoHarness) -> DemoStep:
    """The agent asks for a file that policy forbids."""
    path, _ = SECRET
    grant = demo.ask_to_read(path)
    return DemoStep(
        ok=grant.decision == "deny" and grant.ucan is None,
        summary=f"asked to read {path}: {decision_facts(grant)}",
        decision=grant.decision,
        evidence=facts(grant),
    )


def pdp_refuses_tampered(demo: DemoHarness) -> DemoStep:
    """Change the path in the first step's token to the secret file, and keep the signature."""
    path, content = SECRET
    tampered = _with_path(demo.grant.ucan or "" if demo.grant else "", path)
    reply = demo.read(path, tampered)
    body = json_of(reply)
    refused = reply.status_code == 401 and body.get("error_code") == "bad_signature"
    return DemoStep(
        ok=refused and content.strip() not in reply.text,
        summary=f"the token, changed to name {path}, was refused with {reply.status_code}",
        decision="deny" if reply.status_code != 200 else "allow",
        evidence={"http_status": reply.status_code, "path": path, **refusal(body)},
    )


TOKENS: Final[tuple[Play, ...]] = (allow, pdp_read, deny, pdp_refuses_tampered)


def _with_path(jwt: str, path: str) -> str:
    """Return the token with another path, in canonical form, with the old signature."""
    header, body, signature = jwt.split(".")
    payload = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    payload["args"]["resource"]["path"] = path
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    changed = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
    return f"{header}.{changed}.{signature}"
