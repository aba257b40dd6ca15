"""Take pictures of the approval pages: a real system, real questions, Debian's Chromium.

    python tools/screenshots.py [FOLDER]     writes the PNGs there; by default to a temporary one

Each page is taken at the width of a desktop and of a phone, in light and in dark, at its full
height.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx

from nomos import embedded
from tools.chromium import Chromium, browser

WIDTHS: Final = {"desktop": (1280, 800), "phone": (390, 844)}
SCHEMES: Final = ("light", "dark")
POLICY: Final = """
@id("everyone") permit(principal, action, resource);

@id("writes-need-a-lead") @step_up("lead")
@reason("Agents write files only after somebody has read what they write")
forbid(principal, action == Action::"/filesystem/file/write", resource is Filesystem)
unless { context.cosigned };

@id("deletion") @step_up("lead")
@reason("Deleting a repository cannot be undone")
forbid(principal, action == Action::"/github/repo/delete", resource is Github)
unless { context.cosigned };

@id("releases") @step_up("security")
@reason("What is deleted or merged may be in a release")
forbid(
  principal,
  action in [Action::"/github/repo/delete", Action::"/github/content/update"],
  resource is Github
)
unless { context.cosigned };

@id("issues") @step_up("triage") @reason("Issues are public and carry our name")
forbid(principal, action == Action::"/github/issue/create", resource is Github)
unless { context.cosigned };
"""

ACME: Final = {"provider": "github", "owner": "acme", "repo": "app"}
SCRIPT: Final = """#!/usr/bin/env bash
# Move yesterday's reports to the archive.
set -euo pipefail

for report in reports/*.csv; do
\tname=$(basename "$report")
\tgzip --keep "$report"
\tmv "$report.gz" "archive/$name.gz"
done

"""


@dataclass(frozen=True)
class Shot:
    """One page to take a picture of, signed in or not."""

    name: str
    path: str
    signed_in: bool = True


def take(folder: Path) -> list[Path]:
    """Start a system, ask it what needs people, and take every picture."""
    server = embedded.start(policies=POLICY)
    try:
        with browser() as chromium:
            return list(_pictures(chromium, server, folder))
    finally:
        server.close()


def _pictures(chromium: Chromium, server: embedded.EmbeddedServer, folder: Path) -> Iterator[Path]:
    base = server.control_plane_url
    headers = {"authorization": f"Bearer {server.operator_key.reveal()}"}
    with httpx.Client(base_url=base, headers=headers, timeout=30) as operator:
        empty = Shot("queue-empty", "/approvals")
        link = operator.post("/v1/login-links").raise_for_status().json()["url"]
        cookie = _sign_in(operator, link)
        link = operator.post("/v1/login-links").raise_for_status().json()["url"]
        yield from _each(chromium, base, cookie, folder, empty)
        shots = _questions(server, operator)
    shots += [
        Shot("login", "/approvals/login", signed_in=False),
        Shot("login-link", link.removeprefix(base), signed_in=False),
        Shot("not-found", "/approvals/nothing"),
    ]
    for shot in shots:
        yield from _each(chromium, base, cookie, folder, shot)


def _each(
    chromium: Chromium, base: str, cookie: dict[str, str], folder: Path, shot: Shot
) -> Iterator[Path]:
    chromium.order("Storage.clearCookies")
    if shot.signed_in:
        for name, value in cookie.items():
            chromium.on_page(
                "Network.setCookie",
                {"name": name, "value": value, "url": f"{base}/approvals", "path": "/approvals"},
            )
    for device, (width, height) in WIDTHS.items():
        size = {"width": width, "height": height, "mobile": device == "phone"}
        chromium.on_page("Emulation.setDeviceMetricsOverride", {**size, "deviceScaleFactor": 1})
        for scheme in SCHEMES:
            feature = {"name": "prefers-color-scheme", "value": scheme}
            chromium.on_page("Emulation.setEmulatedMedia", {"features": [feature]})
            chromium.open(f"{base}{shot.path}")
            file = folder / f"{shot.name}-{device}-{scheme}.png"
            file.write_bytes(_whole_page(chromium, width, height))
            yield file


def _whole_page(chromium: Chromium, width: int, height: int) -> bytes:
    content = chromium.on_page("Page.getLayoutMetrics")["cssContentSize"]
    wide, tall = max(width, content["width"]), max(height, content["height"])
    clip = {"x": 0, "y": 0, "width": wide, "height": tall, "scale": 1}
    options = {"format": "png", "captureBeyondViewport": True, "clip": clip}
    return base64.b64decode(chromium.on_page("Page.captureScreenshot", options)["data"])


def _sign_in(operator: httpx.Client, link: str) -> dict[str, str]:
    """Use a one-time link as a browser would, and return the cookie."""
    page = operator.get(link).raise_for_status().text
    fields = dict(re.findall(r'name="(csrf|secret|next)" value="([^"]*)"', page))
    operator.post("/approvals/login", data=fields)
    return dict(operator.cookies)


def _questions(server: embedded.EmbeddedServer, operator: httpx.Client) -> list[Shot]:
    """Ask what people must answer, answer some of it, and name the pages to be taken."""
    ask = _Asking(server)
    write = "/filesystem/file/write"
    settled = {
        "result-denied": ask(
            "/github/issue/create",
            {**ACME, "repo": "website"},
            {"title": "Hello", "body": "A test."},
            "Try the API.",
        ),
        "result-approved": ask(
            "/github/issue/create",
            ACME,
            {"title": "Login fails after the update", "labels": ["bug", "login"]},
            "Three customers reported this today.",
        ),
        "result-used": ask(
            write, {"path": "notes/today.md"}, {"content": "# Today\n"}, "Begin the notes."
        ),
    }
    for name, (ident, _) in settled.items():
        approve = name != "result-denied"
        reason = "Checked with Ana." if approve else "Not in ours."
        version = operator.get(f"/v1/approvals/{ident}").raise_for_status().json()["version"]
        said = {"approve": approve, "reason": reason, "version": version}
        operator.post(f"/v1/approvals/{ident}/decide", json=said).raise_for_status()
    ask.again(*settled["result-used"])
    short, _ = ask(
        "/github/issue/create",
        ACME,
        {"title": "Crash when the list is empty", "body": "Seen in 2.4.1.", "milestone": 12},
        "Filed from the crash reports of last night, as agreed on Monday.",
    )
    long, _ = ask(
        write,
        {"path": "scripts/archive.sh"},
        {"content": SCRIPT + "# \u202egnihton od\u202c \u200b\u200b\u200b\n" + SCRIPT * 3},
        "The nightly job needs this script.",
        {"ticket": "OPS-311", "environment": "production", "attempt": 2},
    )
    anything, _ = ask(
        "/github/repo/delete",
        {"provider": "github", "owner": "acme", "repo": "attic"},
        None,
        "Clean up what is no longer used.",
    )
    return [
        Shot("queue", "/approvals"),
        Shot("question-short", f"/approvals/{short}"),
        Shot("question-long", f"/approvals/{long}"),
        Shot("question-any", f"/approvals/{anything}"),
        *(Shot(name, f"/approvals/{ident}") for name, (ident, _) in settled.items()),
    ]


class _Asking:
    """Asks as an agent would."""

    def __init__(self, server: embedded.EmbeddedServer) -> None:
        key = server.api_key.reveal()
        self._client = httpx.Client(
            base_url=server.control_plane_url,
            headers={"authorization": f"Bearer {key}"},
            timeout=30,
        )

    def __call__(
        self,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None,
        purpose: str,
        context: Mapping[str, Any] | None = None,
    ) -> tuple[str, dict[str, Any]]:
        resource = {"provider": command.split("/")[1], **resource}
        body: dict[str, Any] = {"command": command, "resource": resource, "purpose": purpose}
        body |= {} if args is None else {"args": args}
        body |= {} if context is None else {"context": context}
        reply = self._client.post("/v1/authorize", json=body)
        answer = reply.raise_for_status().json()
        if answer["decision"] != "requires_step_up":
            raise RuntimeError(f"{command} was not put to people: {answer}")
        return answer["approvalEnvelopeId"], body

    def again(self, ident: str, body: Mapping[str, Any]) -> None:
        """Use an approval."""
        reply = self._client.post("/v1/authorize", json={**body, "cosignerEnvelopeId": ident})
        if reply.raise_for_status().json()["decision"] != "allow":
            raise RuntimeError(f"the approval did not count: {reply.text}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Take pictures of the approval pages.")
    parser.add_argument("folder", nargs="?", type=Path, help="where to; default a temporary one")
    folder: Path = parser.parse_args().folder or Path(tempfile.mkdtemp(prefix="nomos-pages-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for file in take(folder):
            print(file)
    except RuntimeError as failure:
        raise SystemExit(str(failure)) from failure


if __name__ == "__main__":
    main()
