"""A standalone PDP in a process of its own, on a connection that can be cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standalone import Pdp, Plane, Process, Wire, client, read, together, until
from typer.testing import CliRunner, Result

from nomos.cli.app import app

Scene = tuple[Plane, Pdp, Wire]

STALE_AFTER = 5
WITHIN = 5.0


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with together(tmp_path_factory.mktemp("alone")) as made:
        yield made


def cid(grant: dict[str, Any]) -> str:
    return hashlib.sha256(grant["chain"][-1].encode()).hexdigest()


def result_of(pdp: Pdp, grant: dict[str, Any]) -> str:
    """How a call ends: `allowed`, or the code of its refusal."""
    reply = pdp.read(grant["ucan"])
    return "allowed" if reply.status_code == 200 else str(reply.json()["error_code"])


def test_only_grants_for_this_pdp_are_accepted(scene: Scene) -> None:
    plane, pdp, _ = scene
    reply = pdp.read(plane.grant(pdp.did)["ucan"])
    assert reply.json()["content"] == "hello from alone"
    assert result_of(pdp, plane.grant()) == "audience_mismatch"
    with client(plane.pdp_url) as http:
        there = read(http, plane.grant(pdp.did)["ucan"])
    assert there.json()["error_code"] == "audience_mismatch"
    assert pdp.http.get("/readyz").json() == {"ok": True}


def test_a_write_works_once(scene: Scene) -> None:
    plane, pdp, _ = scene
    args = {"content": {"sha256": hashlib.sha256(b"new").hexdigest()}}
    resource = {"provider": "filesystem", "path": "written"}
    asked = {"command": "/filesystem/file/write", "resource": resource, "args": args}
    token = plane.grant(pdp.did, **asked)["ucan"]
    said = [
        pdp.http.put(
            "/filesystem/file/write",
            json={"path": "written", "content": "new"},
            headers={"authorization": f"Bearer {token}"},
        )
        for _ in range(2)
    ]
    assert [reply.status_code for reply in said] == [200, 401]
    assert said[1].json()["error_code"] == "replayed"


def test_a_revoked_grant_is_refused_within_five_seconds(scene: Scene) -> None:
    plane, pdp, _ = scene
    grant, other = plane.grant(pdp.did), plane.grant(pdp.did)
    assert result_of(pdp, grant) == "allowed"
    plane.revoke(cid(grant))
    until(lambda: result_of(pdp, grant) == "revoked", WITHIN)
    assert result_of(pdp, other) == "allowed"


def test_an_approved_call_works_once_and_at_its_service_only(scene: Scene) -> None:
    plane, pdp, _ = scene
    (plane.folder / "alone" / "workspace" / "careful").write_text("with care")
    (plane.folder / "data" / "workspace" / "careful").write_text("with care, too")
    resource = {"provider": "filesystem", "path": "careful"}
    with client(plane.pdp_url) as own:
        for audience, here, there in ((pdp.did, pdp.http, own), (None, own, pdp.http)):
            token = plane.approved(audience, resource=resource, args={})["ucan"]
            assert read(there, token, "careful").json()["error_code"] == "audience_mismatch"
            assert read(here, token, "careful").json()["content"].startswith("with care")
            again = read(here, token, "careful")
            assert (again.status_code, again.json()["error_code"]) == (403, "approval_already_used")


def test_an_approved_grant_is_revoked_by_its_approval(scene: Scene) -> None:
    plane, pdp, _ = scene
    (plane.folder / "alone" / "workspace" / "careful").write_text("with care")
    resource = {"provider": "filesystem", "path": "careful"}
    grant = plane.approved(pdp.did, resource=resource, args={})
    plane.revoke(grant["approvalEnvelopeId"])
    wait_for_the_feed(plane, pdp)
    refused = read(pdp.http, grant["ucan"], "careful")
    assert (refused.status_code, refused.json()["error_code"]) == (401, "revoked")


def wait_for_the_feed(plane: Plane, pdp: Pdp) -> None:
    """Until what already revoked this is known to the PDP: it learns it in order."""
    marker = plane.grant(pdp.did)
    plane.revoke(cid(marker))
    until(lambda: result_of(pdp, marker) == "revoked", WITHIN)


def test_without_the_feed_every_call_is_soon_refused(scene: Scene) -> None:
    """And mended, it lets through again what was not revoked meanwhile."""
    plane, pdp, wire = scene
    good, revoked = plane.grant(pdp.did), plane.grant(pdp.did)
    assert (result_of(pdp, good), result_of(pdp, revoked)) == ("allowed", "allowed")
    wire.cut()
    took = until(lambda: result_of(pdp, good) == "revocations_stale", STALE_AFTER + 1)
    assert took > 1, "it was refused although the view was young"
    plane.revoke(cid(revoked))
    for grant in (good, revoked):
        reply = pdp.read(grant["ucan"])
        assert reply.status_code == 503
        assert "known as of" in reply.json()["error"]
        assert " since 2" in reply.json()["error"]
    ready = pdp.http.get("/readyz")
    assert ready.status_code == 503
    assert "known as of" in ready.json()["error"]
    assert pdp.http.get("/healthz").status_code == 200

    wire.mend()
    until(lambda: result_of(pdp, good) == "allowed", WITHIN)
    assert result_of(pdp, revoked) == "revoked"
    assert pdp.http.get("/readyz").status_code == 200


def test_a_rotated_key_is_followed_and_a_revoked_one_is_not(scene: Scene) -> None:
    plane, pdp, _ = scene
    old = plane.grant(pdp.did)
    first = plane.issuer
    assert plane.operator.post("/v1/keys/rotate", json={}).status_code == 200
    new = plane.grant(pdp.did)
    until(lambda: result_of(pdp, new) == "allowed", WITHIN)
    assert result_of(pdp, old) == "allowed"
    plane.revoke(first)
    until(lambda: result_of(pdp, old) == "revoked", WITHIN)
    assert result_of(pdp, new) == "allowed"


def test_a_restart_keeps_its_did_and_the_revocations(scene: Scene, tmp_path: Path) -> None:
    """Its first answer is right: it has read the feed before it listens."""
    plane, _, wire = scene
    first = start(plane, wire, tmp_path)
    did = said(first, "did")
    body = {"name": "again", "did": did, "url": "http://127.0.0.1:1"}
    assert plane.operator.post("/v1/services", json=body).status_code == 200
    good, revoked = plane.grant(did), plane.grant(did)
    first.stop()
    plane.revoke(cid(revoked))
    again = start(plane, wire, tmp_path)
    try:
        assert said(again, "did") == did
        with client(said(again, "url")) as http:
            assert read(http, revoked["ucan"]).json()["error_code"] == "revoked"
            assert read(http, good["ucan"]).json()["error_code"] == "not_found"
    finally:
        again.stop()


def start(plane: Plane, wire: Wire, folder: Path, issuer: str | None = None) -> Process:
    return Process(
        *("pdp", "--control-url", f"http://127.0.0.1:{wire.port}"),
        *("--issuer", issuer or plane.issuer, "--key-file", str(plane.operator_key_file)),
        *("--policies", str(plane.folder / "policy.cedar")),
        *("--data", str(folder / "data"), "--port", "0"),
        until="nomos services add",
    )


def said(process: Process, name: str) -> str:
    (line,) = [line for line in process.said.splitlines() if line.strip().startswith(f"{name} ")]
    return line.split()[1]


def test_another_issuer_is_refused(scene: Scene, tmp_path: Path) -> None:
    plane, pdp, wire = scene
    process = start(plane, wire, tmp_path, issuer=pdp.did)
    try:
        assert "every call is rejected" in process.said
        with client(said(process, "url")) as http:
            ready = http.get("/readyz")
            assert ready.status_code == 503
            assert "are not known yet" in ready.json()["error"]
            assert "is refused" in ready.json()["error"]
            token = plane.grant(pdp.did)["ucan"]
            assert read(http, token).json()["error_code"] == "untrusted_issuer"
    finally:
        printed = process.stop()
    assert printed.count("its checkpoint is not the issuer's") <= 1


# What is wrong with how it was started


def started(plane: Plane, data: Path, **change: str | Path) -> str:
    """Start it with one option changed; it must end with a sentence and status 1."""
    options = {
        "control-url": plane.url,
        "issuer": plane.issuer,
        "key-file": plane.operator_key_file,
        "policies": plane.folder / "policy.cedar",
        "data": data,
        "port": "0",
    } | {name.replace("_", "-"): value for name, value in change.items()}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    ended = CliRunner().invoke(app, ["pdp", *words])
    assert ended.exit_code == 1, ended.output
    assert isinstance(ended.exception, SystemExit)
    return " ".join(ended.stderr.split())


def test_an_invalid_start_is_reported_in_one_sentence(scene: Scene, tmp_path: Path) -> None:
    plane, _, _ = scene
    data = tmp_path / "data"
    assert "did:key:z6Mk" in started(plane, data, issuer="did:web:example.com")
    assert "http(s) URL" in started(plane, data, control_url="ftp://x")
    assert "belongs to a control plane" in started(plane, _left_behind(tmp_path))
    missing = started(plane, data, key_file=tmp_path / "missing")
    assert "No such file" in missing
    readable = tmp_path / "key"
    readable.write_text("nomos_x")
    readable.chmod(0o644)
    assert "chmod 600" in started(plane, data, key_file=readable)
    broken = tmp_path / "broken.cedar"
    broken.write_text("permit(")
    assert "broken.cedar" in started(plane, data, policies=broken)
    assert "short lower-case name" in started(plane, data, tenant="A B")


def _left_behind(folder: Path) -> Path:
    """A data folder as a control plane leaves it behind."""
    left = folder / "left"
    (left / "keys").mkdir(parents=True, mode=0o700)
    left.chmod(0o700)
    (left / "keys").chmod(0o700)
    (left / "keys" / "issuer-default.key").write_text("00" * 32)
    return left


# The commands


def test_services_are_listed_and_added(scene: Scene, tmp_path: Path) -> None:
    plane, pdp, _ = scene
    options = ["--control-url", plane.url, "--key-file", str(plane.operator_key_file)]
    listed = CliRunner().invoke(app, ["services", "list", *options])
    assert listed.stdout.splitlines()[-1].split("\t")[:3] == ["alone", pdp.did, pdp.url]
    words = ["services", "add", "alone", pdp.did, pdp.url, *options]
    assert CliRunner().invoke(app, words).stdout.startswith("registered")
    words[3] = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    taken = CliRunner().invoke(app, words)
    assert (taken.exit_code, "belongs to another service" in taken.stderr) == (1, True)


def test_revoke_prints_the_revoked_object(scene: Scene) -> None:
    plane, pdp, _ = scene
    grant = plane.grant(pdp.did)
    options = ["--control-url", plane.url, "--key-file", str(plane.operator_key_file)]

    def command(*words: str) -> Result:
        return CliRunner().invoke(app, ["revoke", *words, *options])

    done = command(cid(grant), "--reason", "a test")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("revoked")
    assert "the delegation" in done.stdout
    until(lambda: result_of(pdp, grant) == "revoked", WITHIN)
    again = command(cid(grant))
    assert (again.exit_code, again.stdout.startswith("already revoked")) == (0, True)
    as_json = command(cid(grant), "--json")
    assert '"alreadyRevoked": true' in as_json.stdout
    wrong = command("nothing")
    assert wrong.exit_code == 1
    assert "is not a cid" in wrong.stderr
