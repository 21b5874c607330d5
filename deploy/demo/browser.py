"""Debian's chromium, without a window, driven over a pipe in the DevTools protocol.

A message is JSON and ends with a zero byte; chromium reads file descriptor 3 and writes 4, so no port is open and the
browser ends with whoever started it.  One page, one thread; every wait has a limit.

Source: https://chromedevtools.github.io/devtools-protocol/, `--remote-debugging-pipe`.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_S = 60.0
LARGEST_BYTES = 64 << 20
OPTIONS = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--disable-breakpad",
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--password-store=basic", "--hide-scrollbars", "--window-size=1280,1000",
)  # fmt: skip


class BrowserFailed(Exception):
    """The browser, or the page in it, did not do what was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The page that the browser shows after it has loaded."""

    url: str  # After redirects.
    title: str
    status: int
    body: str  # As the server sent it.


class Browser:
    """One browser with one page.  Use it with `with`: it ends, whatever happens."""

    def __init__(
        self,
        profile: Path,
        *,
        before: Sequence[str] = (),
        program: Sequence[str] = ("chromium",),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it.

        profile: a directory for its files.  before: words to run it with, such as those that enter a namespace.
        environment: its own; by default this process's.
        """
        # Far from 3 and 4, which they become in the browser only.
        commands, answers = _far_pipe(), _far_pipe()
        self._to, self._from = commands[1], answers[0]
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        options = [*OPTIONS, *root, f"--user-data-dir={profile}", "about:blank"]
        become = f'exec "$@" 3<&{commands[0]} 4>&{answers[1]} {commands[0]}<&- {answers[1]}>&-'
        with (profile / "chromium.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/bash", "-c", become, "bash", *before, *program, *options],
                pass_fds=(commands[0], answers[1]), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env=environment,
            )  # fmt: skip
        os.close(commands[0])
        os.close(answers[1])
        self._number = 0
        self._unread = b""
        self._events: list[dict[str, Any]] = []  # Since the last page was left.
        self._session = ""
        self._frame = ""

    def __enter__(self) -> Browser:
        try:
            self._open_page()
        except BaseException:  # Interrupted too: chromium is not left running.
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and all it started."""
        for end in (self._to, self._from):
            os.close(end)  # Which it takes as the order to end.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.poll() is not None

    def visit(self, url: str) -> Shown:
        """Go to an address and return the page, once it and all that belongs to it has loaded."""
        self._events.clear()
        said = self._call("Page.navigate", url=url)
        if "errorText" in said:
            raise BrowserFailed(f"{url} cannot be shown: {said['errorText']}")
        return self._loaded(url)

    def submit(self, selector: str) -> Shown:
        """Click what leads to another page, and return that page."""
        self._events.clear()
        self.click(selector)
        return self._loaded(selector)

    def click(self, selector: str) -> None:
        """Click the first element of that CSS selector."""
        self._on(selector, "element.click()")

    def fill(self, selector: str, text: str) -> None:
        """Put text into a field, in place of what is in it, as if it were typed.

        In one script, since pages move the focus by themselves a moment after they have loaded.
        """
        typed = f'document.execCommand("insertText", false, {json.dumps(text)})'
        if self._on(selector, f"element.focus(); element.select(); {typed}; return element.value") != text:
            raise BrowserFailed(f"the field {selector} did not take what was typed into it")

    def has(self, selector: str) -> bool:
        """Whether the page has an element of that CSS selector."""
        return bool(self._evaluate(f"document.querySelector({json.dumps(selector)}) !== null"))

    def text(self, selector: str) -> str:
        """Return the text of the first element of that CSS selector."""
        return str(self._on(selector, "return element.innerText"))

    def screenshot(self, file: Path) -> None:
        """Write a picture of the page as PNG."""
        file.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def _open_page(self) -> None:
        targets = self._call("Target.getTargets")["targetInfos"]
        self._frame = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=self._frame, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self._call(f"{domain}.enable")

    def _loaded(self, what: str) -> Shown:
        """Wait until the page has loaded, and return it.  `what`: the address or element that led to it."""
        self._wait("Page.loadEventFired", f"{what}: no page has loaded")
        answers = [
            event["params"]
            for event in self._events
            if event.get("method") == "Network.responseReceived"
            and event["params"]["type"] == "Document"
            and event["params"].get("frameId") == self._frame
        ]
        if not answers:
            raise BrowserFailed(f"{what}: a page has loaded that no server sent")
        body = self._call("Network.getResponseBody", requestId=answers[-1]["requestId"])
        return Shown(
            url=str(self._evaluate("location.href")),
            title=str(self._evaluate("document.title")),
            status=answers[-1]["response"]["status"],
            body=base64.b64decode(body["body"]).decode() if body["base64Encoded"] else body["body"],
        )

    def _on(self, selector: str, script: str) -> object:
        """Run a script in which `element` is the first of a CSS selector."""
        quoted = json.dumps(selector)
        missing = json.dumps(f"the page has no {selector}")
        return self._evaluate(
            f"(() => {{ const element = document.querySelector({quoted}); "
            f"if (element === null) throw new Error({missing}); {script} }})()"
        )

    def _evaluate(self, expression: str) -> object:
        said = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in said:
            details = said["exceptionDetails"]
            raise BrowserFailed(details.get("exception", {}).get("description", details["text"]).splitlines()[0])
        return said["result"].get("value")

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Ask the browser, and return what it answers.  Raises `BrowserFailed`."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        try:
            os.write(self._to, json.dumps(message).encode() + b"\0")
        except BrokenPipeError:
            raise self._gone() from None
        deadline = time.monotonic() + LIMIT_S
        while True:
            answer = self._receive(deadline, f"{method}: the browser has not answered")
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserFailed(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])

    def _wait(self, event: str, complaint: str) -> None:
        """Return once an event of that name has come."""
        deadline = time.monotonic() + LIMIT_S
        while not any(each.get("method") == event for each in self._events):
            self._receive(deadline, complaint)

    def _receive(self, deadline: float, complaint: str) -> Mapping[str, Any]:
        """Return the next message; events are kept, too."""
        while b"\0" not in self._unread:
            if not select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BrowserFailed(f"{complaint} within {LIMIT_S:.0f} s")
            data = os.read(self._from, 1 << 16)
            if not data:
                raise self._gone()
            self._unread += data
            if len(self._unread) > LARGEST_BYTES:
                raise BrowserFailed(f"the browser sent a message of more than {LARGEST_BYTES} bytes")
        line, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self._events.append(message)
        return message

    def _gone(self) -> BrowserFailed:
        return BrowserFailed("the browser has ended: see chromium.log in its profile's directory")


def _far_pipe() -> tuple[int, int]:
    """Return a pipe whose file descriptors are 10 or more."""
    near = os.pipe()
    try:
        return fcntl.fcntl(near[0], fcntl.F_DUPFD_CLOEXEC, 10), fcntl.fcntl(near[1], fcntl.F_DUPFD_CLOEXEC, 10)
    finally:
        for end in near:
            os.close(end)
