"""Log lines of refused requests, with and without configured logging."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from fake_verifier import SERVICE, TOKEN, Recording, client
from fastapi import Depends, FastAPI

from nomos.errors import ConfigurationError, Denied
from nomos.integrations.fastapi import install, requires

pytestmark = pytest.mark.anyio

LIST = "/tickets/ticket/list"


async def logged(
    denied: Denied, caplog: pytest.LogCaptureFixture, request_id: str = "r-1"
) -> logging.LogRecord:
    """The one record of a request that a verifier refuses so."""
    caplog.set_level(logging.INFO, "nomos.integrations")
    app = FastAPI()
    install(app, Recording(denied))
    app.get("/", dependencies=[Depends(requires(LIST, resource={"provider": "tickets"}))])(print)
    async with client(app) as http:
        answer = await http.get("/", headers={**TOKEN, "x-request-id": request_id})
    assert answer.status_code >= 400
    (record,) = [each for each in caplog.records if each.name.startswith("nomos.integrations")]
    return record


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ('the call\'s argument state is "open"', 'the call\'s argument state is "open"'),
        ("args=… für Zoë 東京", "args=… für Zoë 東京"),
        ("no\nERROR all\r\n\tis well", r"no\u000aERROR all\u000d\u000a\u0009is well"),
        ("no\x1b[2K\x85 \u2028 \u202e \u200b", r"no\u001b[2K\u0085 \u2028 \u202e \u200b"),
        ("no\ud800", r"no\ud800"),
        ("no\x00", r"no\u0000"),
    ],
)
async def test_a_refusal_is_logged_in_one_line(
    said: str, written: str, caplog: pytest.LogCaptureFixture
) -> None:
    record = await logged(Denied(said, code="expired", fix="ask again"), caplog)
    line = f"{LIST} was rejected (request r-1): expired: {written}: ask again"
    assert record.getMessage() == line
    assert (record.levelno, record.exc_info) == (logging.INFO, None)


@pytest.mark.parametrize("code", ["unavailable", "revocations_stale"])
async def test_an_internal_failure_is_logged_with_its_cause(
    code: str, caplog: pytest.LogCaptureFixture
) -> None:
    denied = Denied("it cannot be known now", code=code)
    denied.__cause__ = OverflowError("share a SqlReplayStore")
    record = await logged(denied, caplog)
    assert record.levelno == logging.ERROR
    assert "share a SqlReplayStore" in caplog.text


async def test_an_unavailable_receipt_is_logged_without_a_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    record = await logged(Denied("no record is kept", code="unavailable"), caplog)
    assert (record.levelno, record.exc_info) == (logging.ERROR, None)


async def test_a_stale_view_is_not_logged_as_an_error_per_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    record = await logged(Denied("it is old", code="revocations_stale"), caplog)
    assert record.levelno == logging.INFO


def test_a_command_of_more_than_256_characters_is_refused() -> None:
    assert requires("/a/" + "a" * 253, resource={"provider": "a"})
    with pytest.raises(ConfigurationError, match="256") as wrong:
        requires("/a/" + "a" * 254, resource={"provider": "a"})
    assert wrong.value.setting == "command"
    with pytest.raises(ConfigurationError) as wrong:
        requires(7, resource={})  # type: ignore[arg-type]
    assert wrong.value.setting == "command"


# Without configured logging


FAILS = f"""
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient
import nomos
from nomos import Verifier
from nomos.integrations.fastapi import install, requires

app = FastAPI()
install(app)
app.get("/", dependencies=[Depends(requires("/a/b", resource={{"provider": "a"}}))])(print)
with TestClient(app) as http:
    headers = {{"authorization": "Bearer a.b.c", "x-request-id": "r-1"}}
    assert http.get("/", headers=headers).status_code == 500
    app.state.nomos = Verifier(
        trusted_issuers=["{SERVICE}"], audience="{SERVICE}", revocations=()
    )
    headers["x-request-id"] = "r-2"
    assert http.get("/", headers=headers).status_code == 401
"""

WORKS = """
from nomos import AuthGuard, Denied, MemoryReplayStore, Verifier

APP = {"provider": "github", "owner": "acme", "repo": "app"}
CALL = {"command": "/github/issue/list", "resource": APP}
policy = 'permit (principal, action == Action::"/github/issue/list", resource);'
SERVICE = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
with AuthGuard.embedded(policies=policy, services={"issues": SERVICE}) as guard:
    grant = guard.authorize(**CALL, audience=SERVICE)
    assert not guard.authorize(**{**CALL, "command": "/github/issue/create"})
    with Verifier.from_control_plane(
        guard.control_plane_url, api_key=guard.api_key, audience=SERVICE
    ) as verifier:
        assert verifier.verify(grant.ucan, **CALL)
        try:
            verifier.verify("x", **CALL)
        except Denied:
            pass
"""


def stderr_of(script: str) -> str:
    """What a process writes where errors are seen."""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stderr


def test_by_default_errors_are_printed_and_refusals_are_not() -> None:
    (line,) = stderr_of(FAILS).splitlines()
    assert line.startswith("no verifier is set, so /a/b was rejected (request r-1): set ")


def test_nothing_is_printed_without_failures() -> None:
    assert stderr_of(WORKS) == ""
