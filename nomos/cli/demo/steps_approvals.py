"""The demo's steps with people: somebody decides, and the record of it all is proven."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from nomos.cli.client import Operator
from nomos.cli.demo.harness import (
    SUMMARY,
    DemoHarness,
    DemoStep,
    Play,
    decision_facts,
    facts,
    json_of,
    refusal,
)
from nomos.cli.operator_key import OperatorKey


def step_up(stage: DemoHarness) -> DemoStep:
    """The agent asks to write; policy wants a person to see it first."""
    path, _ = SUMMARY
    grant = stage.question = stage.ask_to_write()
    return DemoStep(
        "step_up",
        ok=grant.decision == "requires_step_up"
        and grant.approval_envelope_id is not None
        and grant.ucan is None,
        told=f"asked to write {path}: {decision_facts(grant)}",
        decision=grant.decision,
        evidence=facts(grant) | {"approval_url": grant.approval_url},
    )


def approved(stage: DemoHarness) -> DemoStep:
    """The operator approves through the API; the agent asks again and writes."""
    path, content = SUMMARY
    envelope = _envelope(stage)
    approval = stage.guard.approvals.decide(envelope, approve=True, reason="fine for a demo")
    grant = stage.approved = stage.ask_to_write(envelope)
    reply = stage.write(grant.ucan)
    file = stage.workspace / path
    on_disk = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None
    wanted = hashlib.sha256(content.encode()).hexdigest()
    return DemoStep(
        "approved",
        ok=bool(approval) and bool(grant) and reply.status_code == 200 and on_disk == wanted,
        told=f"a person approved; {path} was written through the PDP",
        decision=grant.decision,
        evidence=facts(grant)
        | {"envelope": envelope, "approved_by": [vote.name for vote in approval.votes]}
        | {"http_status": reply.status_code, "sha256_on_disk": on_disk, **refusal(json_of(reply))},
    )


def approval_single_use(stage: DemoHarness) -> DemoStep:
    """One approval is one act: neither the envelope nor its token works again."""
    grant = stage.ask_to_write(_envelope(stage))
    reply = stage.write(stage.approved.ucan if stage.approved else None)
    body = json_of(reply)
    return DemoStep(
        "approval_single_use",
        ok=grant.decision == "deny"
        and grant.reason == "approval_already_used"
        and reply.status_code in (401, 403),
        told=f"the same approval again: {decision_facts(grant)}; its token: {reply.status_code}",
        decision=grant.decision,
        evidence=facts(grant) | {"http_status": reply.status_code, **refusal(body)},
    )


def audit_verified(stage: DemoHarness) -> DemoStep:
    """The audit log leaves the server and is verified by another process."""
    export = _export(stage)
    found = _verified(export, _issuer(stage))
    return DemoStep(
        "audit_verified",
        ok=found["exit_status"] == 0 and found.get("rows", 0) > 0,
        told=f"another process verified {found.get('rows', 0)} rows of the exported audit log",
        evidence=found | {"sha256": hashlib.sha256(export.read_bytes()).hexdigest()},
    )


def audit_tamper_found(stage: DemoHarness) -> DemoStep:
    """One byte of one row is changed, and the verifier names the row."""
    export = stage.papers / "audit.ndjson"
    lines = export.read_bytes().splitlines(keepends=True)
    at, row = next(
        (place, line)
        for place, line in enumerate(lines)
        if b'"decision":"deny"' in line and b"approval_already_used" in line
    )
    lines[at] = row.replace(b'"decision":"deny"', b'"decision":"dent"', 1)
    changed = export.with_name("audit-tampered.ndjson")
    changed.write_bytes(b"".join(lines))
    expected = json.loads(row)["row"]["seq"]
    found = _verified(changed, _issuer(stage))
    named = (found.get("finding") or {}).get("first")
    return DemoStep(
        "audit_tamper_found",
        ok=found["exit_status"] == 1 and named == expected,
        told=f"one byte of row {expected} was changed, and the verifier named row {named}",
        evidence=found | {"changed_row": expected},
    )


PEOPLE: Final[tuple[tuple[str, Play], ...]] = (
    ("step_up", step_up),
    ("approved", approved),
    ("approval_single_use", approval_single_use),
)

RECORD: Final[tuple[tuple[str, Play], ...]] = (
    ("audit_verified", audit_verified),
    ("audit_tamper_found", audit_tamper_found),
)


def _envelope(stage: DemoHarness) -> str:
    assert stage.question is not None, "the step before asked"
    return stage.question.approval_envelope_id or ""


def _issuer(stage: DemoHarness) -> str:
    """The issuer's DID, learnt from the first grant: all that the verifier is told."""
    assert stage.grant is not None, "the first step asked"
    return stage.grant.issuer or ""


def _export(stage: DemoHarness) -> Path:
    """Export the log as an operator does."""
    file = stage.papers / "audit.ndjson"
    with (
        Operator(
            stage.guard.control_plane_url, OperatorKey(stage.operator_key, "the demo")
        ) as operator,
        file.open("wb") as opened,
    ):
        for line in operator.lines("/v1/audit/export"):
            opened.write(line + b"\n")
    return file


def _verified(file: Path, issuer: str) -> dict[str, Any]:
    """What `nomos audit verify`, in a process of its own, says of an export."""
    done = subprocess.run(
        [sys.executable, "-m", "nomos", "audit", "verify", file, "--issuer", issuer, "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout.strip().splitlines()
    told = json.loads(said[-1]) if said else {"error": done.stderr.strip()[-300:]}
    return {"issuer": issuer, "exit_status": done.returncode, **told}
