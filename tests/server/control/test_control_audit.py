"""Receipts, exports and checkpoints, and no secret in any of them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

from nomos._io.checkpoints import checking
from nomos._io.signer import AsyncSigner, Signer, SignerConnection
from nomos._protocol import Answer, Refused, Request, SignCheckpoint
from nomos.audit.chain import Head
from nomos.audit.export import ExportWriter, Header
from nomos.audit.findings import Report
from nomos.audit.receipt import check_receipt
from nomos.audit.record import Record
from nomos.audit.verify import verify
from nomos.errors import InvalidReceipt, InvalidRequest, SignerError
from nomos.policy.bundle import Source
from nomos.server.app import System
from nomos.server.control import audit
from nomos.server.control.audit import LIMIT, ReceiptQuery, receipt_query
from nomos.server.control.checkpoints import sign_head
from nomos.server.domain.redaction import PATTERNS, redact
from nomos.server.settings import Settings
from nomos.server.signing.issuers import RotationRequest
from nomos.server.signing.keys import SignerPort
from nomos.server.storage import records
from nomos.server.storage.checkpoints import StoredCheckpoint
from nomos.server.storage.records import Row, new_receipt_id
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio

PLANTED: Final = {
    "github_pat": ("ghp_" + "a1B2" * 9, "github_pat_" + "a1B2_" * 10),
    "slack_token": ("xoxb-123456789012-abcdef",),
    "jwt": ("eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJtZSJ9.c2lnbmF0dXJl",),
    "aws_access_key": ("AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"),
    "google_oauth_token": ("ya29." + "a0Af_-" * 8,),
    "google_api_key": ("AIza" + "Sy0-_" * 7,),
    "gitlab_token": ("glpat-" + "x1Y2z" * 4,),
    "npm_token": ("npm_" + "a1B2c3" * 6,),
    "stripe_key": ("sk_live_" + "a1B2" * 6, "rk_test_" + "a1B2" * 6),
    "model_api_key": ("sk-proj-" + "a1B2_c" * 8, "sk-ant-" + "a1-B2c" * 8, "sk-" + "a1B2" * 10),
    "nomos_api_key": (f"nomos_app_{'0a' * 13}_{'b7' * 26}",),
    "private_key": (
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIN\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7",
    ),
    "url_password": ("postgres://nomos:hunter2horse@db.example/nomos",),
}
"""Credentials of each kind that the table knows; made up."""


async def get(plane: Plane, path: str, headers: dict[str, str]) -> Any:
    reply = await plane.client.get(path, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def exported(plane: Plane) -> list[bytes]:
    reply = await plane.client.get("/v1/audit/export", headers=await plane.another("auditor"))
    assert reply.status_code == 200
    return reply.content.splitlines(keepends=True)


def verified(
    plane: Plane, link: SignerConnection, lines: list[bytes], pin: str | None = None
) -> Report:
    return verify(iter(lines), plane.system.issuer_did, checking(Signer(link)), pinned=pin)


# Single receipts


async def test_a_receipt_is_verified_by_the_issuers_did(
    plane: Plane, link: SignerConnection
) -> None:
    receipt = (await plane.ask(args={"state": "open"}, purpose="look")).json()["receiptId"]
    await plane.ask()
    for headers in ({}, await plane.another("operator"), await plane.another("auditor")):
        reply = await get(plane, f"/v1/receipts/{receipt}", headers)
        record = check_receipt(reply, plane.system.issuer_did, checking(Signer(link)))
        assert (record.id, record.decision, record.purpose) == (receipt, "allow", "look")
        assert reply["issuer"] == plane.system.issuer_did
        reply["row"]["purpose"] = "else"
        with pytest.raises(InvalidReceipt):
            check_receipt(reply, plane.system.issuer_did, checking(Signer(link)))


async def test_an_agent_sees_the_receipts_of_its_own_app_only(plane: Plane) -> None:
    mine = (await plane.ask()).json()["receiptId"]
    another_app = await plane.another()
    theirs = (await plane.ask(another_app)).json()["receiptId"]
    for receipt, headers in ((theirs, {}), (mine, another_app)):
        reply = await plane.client.get(f"/v1/receipts/{receipt}", headers=headers)
        assert (reply.status_code, reply.json()["error_code"]) == (404, "not_found")
        listed = await get(plane, f"/v1/receipts?tree={receipt}", headers)
        assert listed["receipts"] == []
    seen = [entry["row"]["id"] for entry in (await get(plane, "/v1/receipts", {}))["receipts"]]
    assert mine in seen
    assert theirs not in seen
    after = await get(plane, "/v1/receipts?after=0&limit=500", {})
    assert {entry["row"]["app"] for entry in after["receipts"]} == {plane.app}
    everything = await get(plane, "/v1/receipts", await plane.another("auditor"))
    assert {mine, theirs} <= {entry["row"]["id"] for entry in everything["receipts"]}


async def test_a_tree_always_has_the_requested_receipt(plane: Plane) -> None:
    root = (await plane.ask()).json()["receiptId"]
    store = plane.system.store
    row = await store.row(DEFAULT, root)
    assert row is not None
    child = replace(row.record, id=new_receipt_id(row.record.at), parent=root, kind="call")
    later = replace(child, id=new_receipt_id(row.record.at))
    for record in (child, later):
        await store.record(record)
    for ident in (root, child.id, later.id):
        listed = await get(plane, f"/v1/receipts?tree={ident}&limit=1", {})
        assert [entry["row"]["id"] for entry in listed["receipts"]] == [ident]
        assert listed["more"]


async def test_a_truncated_tree_has_the_requested_receipt(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_FAMILY", 3)
    root = (await plane.ask()).json()["receiptId"]
    store = plane.system.store
    row = await store.row(DEFAULT, root)
    assert row is not None
    children = [
        replace(row.record, id=new_receipt_id(row.record.at), parent=root, kind="call")
        for _ in range(6)
    ]
    for child in children:
        await store.record(child)
    oldest = [root, children[0].id, children[1].id]
    for ident, found in (
        (root, oldest),
        (children[1].id, oldest),
        (children[5].id, [root, children[0].id, children[5].id]),
    ):
        family = await store.log.family(DEFAULT, ident)
        assert [each.record.id for each in family if isinstance(each, Row)] == found


@pytest.mark.parametrize("ident", ["evt_0", "evt_" + "0" * 26, "app_1", "evt_%00", "'", "_end"])
async def test_a_missing_receipt_is_not_found(standing: Plane, ident: str) -> None:
    reply = await standing.client.get(f"/v1/receipts/{ident}")
    assert (reply.status_code, reply.json()["error_code"]) == (404, "not_found")


# Lists


async def test_receipts_are_listed_by_pages_in_both_directions(plane: Plane) -> None:
    auditor = await plane.another("auditor")
    for _ in range(7):
        await plane.ask()
    everything = [row["row"]["seq"] for row in (await pages(plane, "before", auditor))]
    last = (await plane.system.store.log.head(DEFAULT)).seq
    assert everything == list(range(last, 0, -1))
    assert [row["row"]["seq"] for row in await pages(plane, "after", auditor)] == everything[::-1]
    assert len((await get(plane, "/v1/receipts", auditor))["receipts"]) == min(LIMIT, last)


async def pages(plane: Plane, direction: str, headers: dict[str, str]) -> list[Any]:
    found: list[Any] = []
    at = 0 if direction == "after" else 10**6
    while True:
        page = await get(plane, f"/v1/receipts?limit=3&{direction}={at}", headers)
        found += page["receipts"]
        if not page["more"]:
            return found
        assert len(page["receipts"]) == 3
        at = found[-1]["row"]["seq"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.0", "limit"),
        ("limit=", "limit"),
        ("limit=%C2%B2", "limit"),
        ("before=9007199254740992", "before"),
        ("before=99999999999999999999", "before"),
        ("after=x", "after"),
        ("before=1&after=2", "after"),
        ("before=1&tree=evt_00000000000000000000000000", "before"),
        ("limit=1&limit=2", "limit"),
        ("tree=evt_1", "tree"),
        ("since=1", "since"),
    ],
)
async def test_an_invalid_list_query_is_refused(standing: Plane, query: str, field: str) -> None:
    reply = await standing.client.get(f"/v1/receipts?{query}")
    assert (reply.status_code, reply.json()["error_code"]) == (400, "invalid_request")
    assert field in reply.json()["fields"]


def test_parameters_are_read() -> None:
    assert receipt_query(b"") == ReceiptQuery()
    assert receipt_query(b"limit=7&before=9") == ReceiptQuery(limit=7, before=9)
    with pytest.raises(InvalidRequest, match="more than once"):
        receipt_query(b"after=1&after=1")


async def test_a_tree_has_ancestors_and_descendants_of_a_record(plane: Plane) -> None:
    base = Record(id="", tenant=DEFAULT, kind="call", at=1, app=plane.app)
    family = {
        "root": None,
        "child": "root",
        "sibling": "root",
        "grandchild": "child",
        "alone": None,
    }
    ids = {name: f"evt_{number:026}" for number, name in enumerate(family)}
    for name, parent in family.items():
        above = ids[parent] if parent else None
        await plane.system.store.record(replace(base, id=ids[name], parent=above))
    lost = replace(base, id="evt_" + "7" * 26, parent="evt_" + "8" * 26)
    await plane.system.store.record(lost)
    circle = replace(base, id="evt_" + "9" * 26, parent="evt_" + "9" * 26)
    await plane.system.store.record(circle)
    for name in ("root", "child", "grandchild", "sibling"):
        assert await tree(plane, ids[name]) == [
            ids[each] for each in ("root", "child", "sibling", "grandchild")
        ]
    assert await tree(plane, ids["alone"]) == [ids["alone"]]
    assert await tree(plane, lost.id) == [lost.id]
    assert await tree(plane, circle.id) == [circle.id]
    assert await tree(plane, "evt_" + "6" * 26) == []


async def tree(plane: Plane, ident: str) -> list[str]:
    listed = await get(plane, f"/v1/receipts?tree={ident}", {})
    return [entry["row"]["id"] for entry in listed["receipts"]]


# The log as a file, and its checkpoints


async def test_an_export_is_verified_with_an_earlier_checkpoint(
    plane: Plane, link: SignerConnection
) -> None:
    auditor = await plane.another("auditor")
    for _ in range(3):
        await plane.ask()
    pin = await get(plane, "/v1/audit/checkpoint", auditor)
    head = await plane.system.store.log.head(DEFAULT)
    assert (pin["seq"], pin["hash"], pin["tenant"]) == (head.seq, head.hash, DEFAULT)
    await plane.ask(resource={"provider": "github", "owner": "evil", "repo": "x"})
    report = verified(plane, link, await exported(plane), pin["checkpoint"])
    assert (report.state, report.pinned) == ("ok", pin["seq"])
    assert report.head == await plane.system.store.log.head(DEFAULT)


async def test_an_export_ends_where_the_log_ended_when_it_began(
    plane: Plane, link: SignerConnection, signer: AsyncSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "ROWS_AT_ONCE", 2)
    for _ in range(6):
        await plane.ask()
    before = await plane.system.store.log.head(DEFAULT)
    ports = ports_of(plane, signer)
    header = Header(DEFAULT, plane.system.issuer_did, [], "now")
    lines = []
    async for part in audit.export(ports, header, before):
        lines.append(part)
        await plane.ask()
    assert (await plane.system.store.log.head(DEFAULT)).seq > before.seq
    report = verified(plane, link, b"".join(lines).splitlines(keepends=True))
    assert (report.state, report.head) == ("ok", before)
    assert len(lines) == 2 + (before.seq + 1) // 2


async def test_a_key_rotated_by_another_process_keeps_proofs_valid(
    plane: Plane, link: SignerConnection
) -> None:
    """What is given out names the key at the end of the key log that comes with it."""
    first, auditor = plane.system.issuer_did, await plane.another("auditor")
    receipt = (await plane.ask()).json()["receiptId"]
    check = checking(Signer(link))
    await replace_key(plane)
    lines = await exported(plane)
    assert verify(iter(lines), first, check).ok
    await replace_key(plane)
    reply = await get(plane, f"/v1/receipts/{receipt}", auditor)
    for known in (first, reply["issuer"]):
        assert check_receipt(reply, known, check).id == receipt
    assert reply["issuer"] == reply["keys"][-1]["row"]["did"] != first
    assert len(reply["keys"]) == 3


async def test_a_checkpoint_names_its_signer_during_a_rotation(
    plane: Plane, link: SignerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, auditor = plane.system.issuer_did, await plane.another("auditor")
    head = plane.system.store.log.head

    async def replacing(tenant: str) -> Head:
        monkeypatch.setattr(plane.system.store.log, "head", head)
        found = await head(tenant)
        await replace_key(plane)
        await plane.system.issuers.refresh()
        return found

    monkeypatch.setattr(plane.system.store.log, "head", replacing)
    reply = await get(plane, "/v1/audit/checkpoint", auditor)
    assert plane.system.issuer_did != first
    assert reply["issuer"] == first
    assert not isinstance(checking(Signer(link))(reply["checkpoint"], [first]), Refused)


async def replace_key(plane: Plane) -> None:
    """What a rotation by another process leaves: this one has not read its keys again yet."""
    issuers = plane.system.issuers
    await issuers.refresh()
    await issuers._rotate(issuers._current(DEFAULT), RotationRequest("app_1"))


async def test_an_empty_log_can_be_exported(
    plane: Plane, link: SignerConnection, signer: AsyncSigner
) -> None:
    header = Header("nobody", plane.system.issuer_did, [], "now")
    head = await plane.system.store.log.head("nobody")
    lines = [part async for part in audit.export(ports_of(plane, signer), header, head)]
    report = verified(plane, link, b"".join(lines).splitlines(keepends=True))
    assert (report.state, report.rows) == ("ok", 0)


async def test_an_export_that_cannot_be_signed_has_no_end(plane: Plane) -> None:
    await plane.ask()
    header = Header(DEFAULT, plane.system.issuer_did, [], "now")
    head = await plane.system.store.log.head(DEFAULT)
    parts = audit.export(ports_of(plane, Unsigning()), header, head)
    lines = [await anext(parts), await anext(parts)]
    assert lines[1].count(b'"type":"row"') == head.seq
    with pytest.raises(SignerError):
        await anext(parts)


def ports_of(plane: Plane, signer: SignerPort) -> Any:
    """What exporting reaches out to."""
    return SimpleNamespace(signer=signer, store=plane.system.store, clock=plane.clock)


class Unsigning:
    """A binary that signs no checkpoints."""

    async def ask(self, request: Request) -> Answer | Refused:
        assert isinstance(request, SignCheckpoint)
        return Refused(code="unknown_key", message="no such key")


@pytest.mark.parametrize("path", ["/v1/audit/checkpoint", "/v1/receipts/{}"])
async def test_a_checkpoint_that_cannot_be_signed_is_unavailable(
    plane: Plane, path: str, signer: AsyncSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = (await plane.ask()).json()["receiptId"]
    ask = signer.ask

    async def unsigning(request: Request) -> Answer | Refused:
        return await (Unsigning().ask if isinstance(request, SignCheckpoint) else ask)(request)

    monkeypatch.setattr(signer, "ask", unsigning)
    headers = await plane.another("operator")
    reply = await plane.client.get(path.format(receipt), headers=headers)
    assert (reply.status_code, reply.json()["error_code"]) == (503, "unavailable")


async def test_a_checkpoint_is_signed_only_after_new_rows(
    tmp_path: Path, signer: AsyncSigner, link: SignerConnection
) -> None:
    settings = Settings(
        data=tmp_path / "data",
        policies=(Source("p.cedar", "permit(principal, action, resource);"),),
        checkpoint_seconds=0.02,
    )
    system = await System.open(settings, signer)
    try:
        log = system.store.log
        base = Record(id="evt_a", tenant=DEFAULT, kind="call", at=1)
        for ident in ("evt_a", "evt_b"):
            await system.store.record(replace(base, id=ident))
            head = await log.head(DEFAULT)
            for _ in range(500):
                if await log.signed(DEFAULT) == head.seq:
                    break
                await asyncio.sleep(0.02)
            token = (await log.part(DEFAULT, 0, head.seq, 100)).tokens[head.seq]
            await asyncio.sleep(0.1)
            part = await log.part(DEFAULT, 0, head.seq, 100)
            assert part.tokens[head.seq] == token
            said = checking(Signer(link))(token, [system.issuer_did])
            assert not isinstance(said, Refused)
            assert (said.seq, said.head) == (head.seq, head.hash)
        # The first checkpoint over a row is the one that is kept.
        await log.keep(DEFAULT, StoredCheckpoint(head.seq, "another", 1))
        assert (await log.part(DEFAULT, 0, head.seq, 100)).tokens[head.seq] == token
    finally:
        await system.close()


async def test_a_row_changed_in_the_database_is_found(
    tmp_path: Path, signer: AsyncSigner, link: SignerConnection, open_plane: OpenPlane
) -> None:
    """What someone can do who writes to the file of the database, but has not the key."""
    async with open_plane(tmp_path / "data", signer) as plane:
        for _ in range(5):
            await plane.ask()
        target = (await plane.system.store.log.head(DEFAULT)).seq - 2
    (file,) = (tmp_path / "data").glob("*.db")
    with sqlite3.connect(file) as database:
        changed = database.execute(
            """update records set text = replace(text, '"acme"', '"evil"') where seq = ?""",
            (target,),
        )
        assert changed.rowcount == 1
    database.close()
    async with open_plane(tmp_path / "data", signer) as plane:
        report = verified(plane, link, await exported(plane))
    assert report.finding is not None
    assert (report.finding.kind, report.finding.first) == ("damaged", target)


# No secret on record


def test_every_pattern_has_a_planted_credential() -> None:
    assert PLANTED.keys() == {kind for kind, _ in PATTERNS}
    for kind, pattern in PATTERNS:
        assert all(pattern.search(secret) for secret in PLANTED[kind])


async def test_a_planted_credential_never_reaches_the_disk(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    secrets = [secret for kind in PLANTED.values() for secret in kind]
    async with open_plane(tmp_path / "data", signer) as plane:
        for secret in secrets:
            await plant(plane, secret)
        lines = b"".join(await exported(plane))
    found = [file for file in (tmp_path / "data").rglob("*") if file.is_file()]
    everything = lines + b"".join(file.read_bytes() for file in found)
    assert len(found) >= 2
    assert [kind for kind in PLANTED if f"[REDACTED:{kind}]".encode() not in lines] == []
    shown = {part for secret in secrets for part in shown_parts(secret)}
    assert [part for part in shown if part.encode() in everything] == []


def shown_parts(secret: str) -> list[str]:
    """What would give a credential away: the middle of a key, the password of an address."""
    return [secret.split("\n")[1]] if "\n" in secret else [secret.split("@", maxsplit=1)[0]]


async def plant(plane: Plane, secret: str) -> None:
    """Say a credential in every place where a client, an upstream or a person can."""
    path = {"provider": "filesystem", "path": f"a {secret[:200]}".replace("//", "/ /")}
    asked = await plane.ask(
        {"x-request-id": secret},
        command="/filesystem/file/write",
        resource={"provider": "filesystem", "path": "a"},
        args={"content": f"use {secret}"},
        purpose=f"because {secret}"[:280],
    )
    assert asked.json()["decision"] in ("allow", "deny"), asked.text
    await plane.ask(command="/filesystem/file/read", resource=path)
    await plane.system.store.record(
        Record(
            id=new_receipt_id(1),
            tenant=DEFAULT,
            kind="approval",
            at=1,
            command=f"/{secret}",
            resource={secret: [secret, {"deep": secret}]},
            args={"token": secret},
            purpose=secret,
            request_id=secret,
            detail={"reason": f"he said {secret}", secret: 1},
        )
    )


@pytest.mark.parametrize(
    "unit",
    [
        *("-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----BEGIN A B PRIVATE KEY-----\n"),
        *("://", "://a:", "://a:b", "sk-", "sk-ant-", "sk_live_", "nomos_app_", "AIza", "glpat-"),
        *("npm_", "rk_test_a", "-----"),
    ],
)
def test_redaction_takes_linear_time(unit: str) -> None:
    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        began = time.process_time()
        redact(text)
        return time.process_time() - began

    assert seconds(1_000_000) < 100 * max(seconds(50_000), 0.001)


async def test_an_oversized_record_is_refused(plane: Plane, link: SignerConnection) -> None:
    huge = Record(id=new_receipt_id(1), tenant=DEFAULT, kind="call", at=1, purpose="x" * 600_000)
    with pytest.raises(ValueError, match="the maximum is 524288"):
        await plane.system.store.record(huge)
    assert verified(plane, link, await exported(plane)).ok


async def test_the_stored_record_is_the_one_that_was_hashed(
    plane: Plane, link: SignerConnection
) -> None:
    await plane.system.store.record(
        Record(
            id="evt_" + "5" * 26,
            tenant=DEFAULT,
            kind="approval",
            at=1,
            app=plane.app,
            detail={"reason": "ghp_" + "a1B2" * 9},
        )
    )
    reply = await get(plane, f"/v1/receipts/evt_{'5' * 26}", {})
    record = check_receipt(reply, plane.system.issuer_did, checking(Signer(link)))
    assert record.detail == {"reason": "[REDACTED:github_pat]"}


async def test_a_checkpoint_of_an_empty_log_is_signed_and_not_stored(
    plane: Plane, signer: AsyncSigner, link: SignerConnection
) -> None:
    ports = ports_of(plane, signer)
    head, token = await sign_head(ports, "nobody", plane.system.issuer_did)
    said = checking(Signer(link))(token, [plane.system.issuer_did])
    assert not isinstance(said, Refused)
    assert (said.seq, said.head, head.seq) == (0, head.hash, 0)
    assert await plane.system.store.log.signed("nobody") == 0
    assert (await plane.system.store.log.part("nobody", 0, 5, 5)).links == ()


def test_a_writer_counts_what_it_wrote() -> None:
    writer = ExportWriter()
    assert json.loads(writer.end()) == {"type": "end", "rows": 0, "last": 0}
