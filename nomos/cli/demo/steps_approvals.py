"""The demo's steps with an operator: an approval, and the verified audit log."""

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


def step_up(demo: DemoHarness) -> DemoStep:
    """The agent asks to write; policy requires an approval."""
    path, _ = SUMMARY
    grant = demo.question = demo.ask_to_write()
    return DemoStep(
        ok=grant.decision == "requires_step_up"
        and grant.approval_envelope_id is not None
        and grant.ucan is None,
        summary=f"asked to write {path}: {decision_facts(grant)}",
        decision=grant.decision,
        evidence=facts(grant) | {"approval_url": grant.approval_url},
    )


def approved(demo: DemoHarness) -> DemoStep:
    """The operator approves over the API; the agent repeats the request and writes."""
    path, content = SUMMARY
    envelope = _envelope(demo)
    approval = demo.guard.approvals.decide(envelope, approve=True, reason="fine for a demo")
    grant = demo.approved = demo.ask_to_write(envelope)
    reply = demo.write(grant.ucan)
    on_disk = demo.hash_on_disk(path)
    wanted = hashlib.sha256(content.encode()).hexdigest()
    return DemoStep(
        ok=bool(approval) and bool(grant) and reply.status_code == 200 and on_disk == wanted,
        summary=f"the operator approved; {path} was written through the PDP",
        decision=grant.decision,
        evidence=facts(grant)
        | {"envelope": envelope, "approved_by": [vote.name for vote in approval.votes]}
        | {"http_status": reply.status_code, "sha256_on_disk": on_disk, **refusal(json_of(reply))},
    )


def approval_single_use(demo: DemoHarness) -> DemoStep:
    """An approval is good for one call: neither the envelope nor its token works again."""
    grant = demo.ask_to_write(_envelope(demo))
    reply = demo.write(demo.approved.ucan if demo.approved else None)
    body = json_of(reply)
    return DemoStep(
        ok=grant.decision == "deny"
        and grant.reason == "approval_already_used"
        and reply.status_code in (401, 403),
        summary=f"same approval again: {decision_facts(grant)}; its token: {reply.status_code}",
        decision=grant.decision,
        evidence=facts(grant) | {"http_status": reply.status_code, **refusal(body)},
    )


def audit_verified(demo: DemoHarness) -> DemoStep:
    """The audit log is exported and verified by another process."""
    export = _export(demo)
    found = _verified(export, _issuer(demo))
    return DemoStep(
        ok=found["exit_status"] == 0 and found.get("rows", 0) > 0,
        summary=f"another process verified {found.get('rows', 0)} rows of the exported audit log",
        evidence=found | {"sha256": hashlib.sha256(export.read_bytes()).hexdigest()},
    )


def audit_tamper_found(demo: DemoHarness) -> DemoStep:
    """One byte of one row is changed, and the verifier reports the row."""
    export = demo.exports / "audit.ndjson"
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
    found = _verified(changed, _issuer(demo))
    named = (found.get("finding") or {}).get("first")
    return DemoStep(
        ok=found["exit_status"] == 1 and named == expected,
        summary=f"one byte of row {expected} was changed, and the verifier reported row {named}",
        evidence=found | {"changed_row": expected},
    )


APPROVALS: Final[tuple[Play, ...]] = (step_up, approved, approval_single_use)

AUDIT: Final[tuple[Play, ...]] = (audit_verified, audit_tamper_found)


def _envelope(demo: DemoHarness) -> str:
    assert demo.question is not None, "an earlier step asked"
    return demo.question.approval_envelope_id or ""


def _issuer(demo: DemoHarness) -> str:
    """Return the issuer's DID, from the first grant: the only input of the verifier."""
    assert demo.grant is not None, "the first step asked"
    return demo.grant.issuer or ""


def _export(demo: DemoHarness) -> Path:
    """Export the log as an operator does."""
    file = demo.exports / "audit.ndjson"
    with (
        Operator(
            demo.guard.control_plane_url, OperatorKey(demo.operator_key, "the demo")
        ) as operator,
        file.open("wb") as opened,
    ):
        for line in operator.lines("/v1/audit/export"):
            opened.write(line + b"\n")
    return file


def _verified(file: Path, issuer: str) -> dict[str, Any]:
    """Run `nomos audit verify` on an export in another process, and return its report."""
    done = subprocess.run(
        [sys.executable, "-m", "nomos", "audit", "verify", file, "--issuer", issuer, "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    report = json.loads(lines[-1]) if lines else {"error": done.stderr.strip()[-300:]}
    return {"issuer": issuer, "exit_status": done.returncode, **report}
