"""The demo's browser: what it is told over its pipe, what is made of its answers, and that none is left."""

from __future__ import annotations

import http.server
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
DEMO = HERE.parents[1] / "deploy" / "demo"
FORM = b"""<title>Form</title><form method=post action=/sent>
<input id=name name=name value=old><input id=other>
<button id=send>Send</button></form><iframe src=/frame></iframe>
<script>setInterval(() => document.getElementById("other").focus(), 1)</script>"""

Start = Callable[[str], Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[ModuleType]:
    """The module, which lies beside other scripts and in no package."""
    import importlib

    sys.path.insert(0, str(DEMO))
    try:
        yield importlib.import_module("browser")
    finally:
        sys.path.remove(str(DEMO))
        sys.modules.pop("browser", None)


@pytest.fixture
def start(browser: ModuleType, tmp_path: Path) -> Start:
    """Make a browser that behaves in a certain manner."""
    return lambda manner: browser.Browser(
        tmp_path, before=("env",), program=(sys.executable, str(HERE / "fake_browser.py"), manner)
    )


@pytest.mark.parametrize("manner", ["quick", "dribbling", "busy"])
def test_a_page_is_shown_as_its_own_document_was_sent(browser: ModuleType, start: Start, manner: str) -> None:
    with start(manner) as shown:
        page = shown.visit("http://site/")
    assert page == browser.Shown(url="http://site/", title="Title", status=200, body="<p>größer</p>")


def test_a_click_that_leads_to_a_page_returns_that_page_and_a_picture_can_be_taken(
    start: Start, tmp_path: Path
) -> None:
    with start("quick") as shown:
        shown.visit("http://site/")
        shown.fill("#field", "typed")
        assert shown.submit("#send").title == "Title"
        shown.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes() == b"picture"


@pytest.mark.parametrize(
    ("manner", "act", "said"),
    [
        (
            "lost",
            lambda shown: shown.visit("http://site/"),
            "http://site/ cannot be shown: net::ERR_CONNECTION_REFUSED",
        ),
        ("quick", lambda shown: shown.click("#missing"), "Error: no #missing"),
        ("quick", lambda shown: shown.fill("#other", "typed"), "the field #other did not take what was typed into it"),
        ("busy", lambda shown: shown.screenshot(Path("no file")), "Page.captureScreenshot: Not now"),
        ("dying", lambda shown: shown.visit("http://site/"), "the browser has ended: see chromium.log"),
        ("silent", lambda shown: shown.visit("http://site/"), "Page.navigate: the browser has not answered within"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence_and_no_browser_is_left(
    browser: ModuleType, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    manner: str, act: Callable[[Any], object], said: str,
) -> None:  # fmt: skip
    with start(manner) as shown:
        if manner == "silent":
            monkeypatch.setattr(browser, "LIMIT_S", 0.2)
        with pytest.raises(browser.BrowserFailed, match=f"^{said}"):
            act(shown)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_program_that_is_no_browser_is_an_error_at_the_start(browser: ModuleType, tmp_path: Path) -> None:
    with (
        pytest.raises(browser.BrowserFailed, match="the browser has ended"),
        browser.Browser(tmp_path, program=("false",)),
    ):
        pass


class Site(http.server.BaseHTTPRequestHandler):
    """A form, and what was sent with it."""

    def do_GET(self) -> None:
        self._answer(FORM if self.path == "/" else b"<title>Frame</title>")

    def do_POST(self) -> None:
        self._answer(b"<title>Sent</title>" + self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *words: object) -> None:
        """Say nothing."""


# `make demo-wordpress` installs it; to test all else takes no browser.
if shutil.which("chromium"):

    @pytest.mark.machine
    def test_the_real_one_fills_in_a_form_and_sends_it(browser: ModuleType, tmp_path: Path) -> None:
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                with browser.Browser(tmp_path) as shown:
                    page = shown.visit(f"http://127.0.0.1:{server.server_port}/")
                    assert (page.title, page.status, page.body) == ("Form", 200, FORM.decode())
                    assert shown.has("#name")
                    assert not shown.has("#nothing")
                    shown.fill("#name", "new & better")
                    sent = shown.submit("#send")
                    assert (sent.title, sent.body) == ("Sent", "<title>Sent</title>name=new+%26+better")
                    shown.screenshot(tmp_path / "page.png")
            finally:
                server.shutdown()
        assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
