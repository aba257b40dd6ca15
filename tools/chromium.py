"""Debian's Chromium without a window, controlled over two pipes.

It takes orders in the messages of its own developer tools, so nothing needs to be installed
beside it: not a driver, not a library.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

SECONDS: Final = 30.0
"""The longest that an order may take."""

ENDED: Final = "chromium has ended; does it run on this machine at all?"
CHROMIUM: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)

PLACED: Final = """
import fcntl, os, sys
orders, news = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(orders, 3)
os.dup2(news, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium takes orders at descriptor 3 and answers at 4."""


class Chromium:
    """A browser that takes orders over a pipe. One page at a time."""

    def __init__(self, program: str, profile: str) -> None:
        orders_out, self._orders = os.pipe()
        self._news, news_in = os.pipe()
        command = [program, *CHROMIUM, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", PLACED, str(orders_out), str(news_in), *command],
            pass_fds=(orders_out, news_in),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(orders_out)
        os.close(news_in)
        self._number = 0
        self._buffer = b""
        self._session: str | None = None
        try:
            target = self.order("Target.createTarget", {"url": "about:blank"})["targetId"]
            attached = self.order("Target.attachToTarget", {"targetId": target, "flatten": True})
            self._session = attached["sessionId"]
            self.on_page("Page.enable")
        except BaseException:
            self.close()
            raise

    def on_page(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Give an order to the page and return its answer."""
        return self.order(method, params, self._session)

    def order(
        self, method: str, params: Mapping[str, Any] | None = None, session: str | None = None
    ) -> dict[str, Any]:
        """Give an order to the browser and return its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": dict(params or {})}
        if session is not None:
            message["sessionId"] = session
        try:
            os.write(self._orders, json.dumps(message).encode() + b"\0")
        except BrokenPipeError:
            raise RuntimeError(ENDED) from None
        answer = self._wait_for(lambda news: news.get("id") == self._number)
        if "error" in answer:
            raise RuntimeError(f"chromium refused {method}: {answer['error'].get('message')}")
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, url: str) -> None:
        """Go to a page and wait until it is there."""
        self.on_page("Page.navigate", {"url": url})
        self.loaded()

    def loaded(self) -> None:
        """Wait until the next page is there."""
        self._wait_for(lambda news: news.get("method") == "Page.loadEventFired")

    def ask(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        options = {"expression": script, "returnByValue": True}
        return self.on_page("Runtime.evaluate", options)["result"].get("value")

    def close(self) -> None:
        """End the browser."""
        for descriptor in (self._orders, self._news):
            os.close(descriptor)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_for(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        until = time.monotonic() + SECONDS
        while True:
            while b"\0" in self._buffer:
                text, _, self._buffer = self._buffer.partition(b"\0")
                news: dict[str, Any] = json.loads(text)
                if wanted(news):
                    return news
            if not select.select([self._news], [], [], max(0, until - time.monotonic()))[0]:
                raise RuntimeError(f"chromium did not answer within {SECONDS:g} seconds")
            read = os.read(self._news, 1 << 20)
            if not read:
                raise RuntimeError(ENDED)
            self._buffer += read


@contextlib.contextmanager
def browser() -> Iterator[Chromium]:
    """Start Chromium with an empty profile."""
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="nomos-chromium-", ignore_cleanup_errors=True) as home:
        chromium = Chromium(program, home)
        try:
            yield chromium
        finally:
            chromium.close()
