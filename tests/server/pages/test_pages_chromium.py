"""The pages in Chromium, if it is installed."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from nomos.embedded import EmbeddedServer, start
from tools.chromium import Chromium, browser
from tools.screenshots import POLICY

ROOT = Path(__file__).parents[3]
TOOL = ROOT / "tools" / "screenshots.py"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_every_screenshot_is_made_and_nothing_overflows(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(TOOL), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    pictures = sorted(tmp_path.glob("*.png"))
    assert [Path(line) for line in sorted(done.stdout.split())] == pictures
    for page in ("queue", "question-short", "question-long", "result-approved", "login"):
        for kind in ("desktop-light", "desktop-dark", "phone-light", "phone-dark"):
            width, height = _size(tmp_path / f"{page}-{kind}.png")
            assert width == (1280 if kind.startswith("desktop") else 390)
            assert height >= 700
    assert (tmp_path / "queue-desktop-light.png").read_bytes() != (
        tmp_path / "queue-desktop-dark.png"
    ).read_bytes()


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    server = start(policies=POLICY)
    yield server
    server.close()


@pytest.fixture
def question(server: EmbeddedServer) -> str:
    """The address of a question."""
    reply = httpx.post(
        f"{server.control_plane_url}/v1/authorize",
        headers={"authorization": f"Bearer {server.api_key.reveal()}"},
        json={
            "command": "/filesystem/file/write",
            "resource": {"provider": "filesystem", "path": "a.txt"},
            "args": {"content": "<script>document.title = 'owned'</script>"},
            "purpose": "</p><script>document.title = 'owned'</script>",
        },
        timeout=30,
    )
    return str(reply.json()["approvalUrl"])


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_an_operator_signs_in_and_approves(server: EmbeddedServer, question: str) -> None:
    base = server.control_plane_url
    operator = {"authorization": f"Bearer {server.operator_key.reveal()}"}
    made = httpx.post(f"{base}/v1/login-links", headers=operator, timeout=30).json()
    with elsewhere(question) as other_site, browser() as chromium:
        chromium.open(made["url"])
        assert chromium.ask("document.querySelector('h1').innerText") == (
            "Sign in as embedded operator"
        )
        press(chromium, "main button")
        assert chromium.ask("location.pathname") == "/approvals"
        # A link on another site: the cookie is not sent at first, and then it is.
        chromium.open(other_site)
        chromium.ask("document.querySelector('a').click()")
        titles = until(chromium, "Pending: /filesystem/file/write · Nomos")
        assert titles <= {
            "x",
            "",
            "Continue to sign in · Nomos",
            "Pending: /filesystem/file/write · Nomos",
        }
        assert chromium.ask("location.href") == question
        background = chromium.ask("getComputedStyle(document.querySelector('.approve')).color")
        assert background == "rgb(255, 255, 255)"
        press(chromium, "button.approve")
        assert "Approved, not used yet" in chromium.ask("document.body.innerText")
        press(chromium, ".who button")
        assert chromium.ask("location.pathname") == "/approvals/login"
    view = httpx.get(f"{base}/v1/approvals/{question[-30:]}", headers=operator, timeout=30).json()
    assert view["state"] == "approved"


def press(chromium: Chromium, selector: str) -> None:
    chromium.ask(f"document.querySelector('{selector}').click()")
    chromium.loaded()


def until(chromium: Chromium, title: str) -> set[str]:
    """The titles that are seen until there is this one."""
    seen: set[str] = set()
    end = time.monotonic() + 20
    while title not in seen:
        assert time.monotonic() < end, seen
        with suppress(RuntimeError):  # between two pages there is no document
            seen.add(chromium.ask("document.title"))
        time.sleep(0.02)
    return seen


@contextmanager
def elsewhere(target: str) -> Iterator[str]:
    """Another site, with a link to `target`."""
    content = f"<!doctype html><title>x</title><a href='{target}'>x</a>".encode()

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=site.serve_forever)
    thread.start()
    yield f"http://localhost:{site.server_port}/"
    site.shutdown()
    thread.join()
    site.server_close()


def test_without_chromium_the_tool_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(TOOL), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "chromium is not installed: apt-get install chromium"
    assert list(tmp_path.glob("*.png")) == []


def _size(picture: Path) -> tuple[int, int]:
    head = picture.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", head[16:])
    return width, height
