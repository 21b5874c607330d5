"""The tutorial's end: a browser reaches WordPress through every node, and the password of its database is a secret.

Run by `make demo-wordpress`.  A lab of one manager and two workers, each with a network of its own; Debian's chromium
stands beside them.  Ends with 1 at the first step that does not do what it says; the lab is gone afterwards anyhow.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import traces
from browser import Browser, BrowserFailed, Shown
from terminal import DemoFailed, Terminal, quoted

HERE = Path(__file__).resolve().parents[2]
IMAGES = HERE / ".cache" / "images"
TUTORIAL = HERE / "deploy" / "examples" / "wordpress" / "docker-compose.yml"
NODES = {"manager1": "10.77.1.1", "worker1": "10.77.2.1", "worker2": "10.77.2.2"}
DB_TASK = "$(vault ps --filter name=wordpress_db --format '{{.Names}}')"
TITLE = "A site on three nodes"
INSTALL = "WordPress › Installation"  # noqa: RUF001 - as WordPress writes it
DASHBOARD = f"Dashboard ‹ {TITLE} — WordPress"  # noqa: RUF001
LEAST_CHARACTERS = 10_000  # A WordPress without a theme answers with 200 and an empty page.
LIMIT_S = 120.0


class Demo:
    """The lab, and the commands that are typed beside it."""

    def __init__(self, root: Path, pictures: Path) -> None:
        self.pictures = pictures
        self.profile = root / "browser"
        self.profile.mkdir()
        self.terminal = Terminal(
            root,
            {
                "PATH": f"{HERE / '.venv' / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "VAULT_LAB_ROOT": str(root),
                "VAULT_HOST": f"unix://{root}/lab/manager1/run/vault.sock",
                "TERM": "xterm",
            },
        )
        self.password = secrets.token_urlsafe(18)

    def browser(self) -> Browser:
        """Start a browser on the nodes' network, and on none of them."""
        vault = str(HERE / ".venv" / "bin" / "vault")
        return Browser(
            self.profile, before=(vault, "lab", "exec", "outside", "--"), environment=self.terminal.environment
        )


def cluster(demo: Demo) -> None:
    """Start the tutorial's cluster, and give its nodes the images that they need."""
    terminal = demo.terminal
    terminal.say("One manager and two workers, as in the tutorial; what follows is typed on manager1")
    terminal.run("vault lab up --managers 1 --workers 2", "The lab is up")
    terminal.run("vault node ls", r"manager1 +Ready +Active +Leader", r"worker1 +Ready", r"worker2 +Ready")
    terminal.say("Nodes in a lab reach no registry: each loads what it is to run")
    for node in NODES:
        databases = ["mysql-5.7.tar", "mysql-5.7.27.tar"] if node == "manager1" else []
        for file in (*databases, "wordpress.tar"):
            terminal.run(f"vault lab exec {node} -- vault image load -i {quoted(IMAGES / file)}", "Loaded image")


def deploy(demo: Demo, stack: Path) -> None:
    """Keep the password as a secret, if the stack asks for one, and deploy the stack."""
    terminal = demo.terminal
    shutil.copy(stack, terminal.directory / "docker-compose.yml")
    if "/run/secrets/" in stack.read_text():
        terminal.say("The database's password is a secret")
        terminal.run("printf 123456789 > db_root_password", quiet=True)
        terminal.run("vault secret create -l mysql_root_password password db_root_password", r"^[0-9a-z]{25}$")
        terminal.run("rm -f db_root_password")
    terminal.say("The tutorial's stack")
    terminal.run("vault stack deploy wordpress --compose-file docker-compose.yml", "Creating service wordpress_db",
                 absent="not yet connected|not published")  # fmt: skip
    terminal.until("vault stack services wordpress", r"wordpress_web +replicated +3/3", timeout_s=LIMIT_S)
    terminal.until("vault stack services wordpress", r"wordpress_db +global +1/1")
    shown = terminal.run("vault stack ps wordpress")
    missing = [node for node in NODES if f" {node} " not in shown]
    if missing:
        raise DemoFailed(f"the tasks should be spread over all nodes, but none is on {', '.join(missing)}")


def install(demo: Demo, browser: Browser) -> None:
    """See the form on every node, fill it in on one, and log in there."""
    demo.terminal.say("A browser visits every node, and finds WordPress waiting to be installed")
    for node, address in NODES.items():
        _shown(demo, browser, f"http://{address}/", INSTALL, f"1-form-{node}")
    demo.terminal.say("It fills the form in, on a worker")
    browser.visit(f"http://{NODES['worker1']}/wp-admin/install.php")
    for field, text in (("#weblog_title", TITLE), ("#user_login", "admin"), ("#pass1", demo.password),
                        ("#admin_email", "admin@example.org")):  # fmt: skip
        browser.fill(field, text)
    page = browser.submit("#submit")
    browser.screenshot(demo.pictures / "2-installed.png")
    if "Success!" not in browser.text("h1:last-of-type"):
        raise DemoFailed(f"WordPress was not installed: {browser.text('body')[:500]}")
    _say(page)


def log_in(demo: Demo, browser: Browser) -> None:
    """See the site on every node, and log in: to the browser they are three sites."""
    demo.terminal.say("The site is there on every node, and one can log in")
    for node, address in NODES.items():
        page = _shown(demo, browser, f"http://{address}/", TITLE, f"3-site-{node}")
        if len(page.body) < LEAST_CHARACTERS:
            raise DemoFailed(f"{page.url} has {len(page.body)} characters only: is there no theme?")
        browser.visit(f"http://{address}/wp-login.php")
        browser.fill("#user_login", "admin")
        browser.fill("#user_pass", demo.password)
        _say(browser.submit("#wp-submit"))
        _check_logged_in(browser, node)
        browser.screenshot(demo.pictures / f"4-logged-in-{node}.png")


def update(demo: Demo, browser: Browser) -> None:
    """Give the database another image; the site is back with it, and nobody has to log in again."""
    terminal = demo.terminal
    terminal.say("Another version of the database, as in the tutorial")
    before = terminal.run(f"vault exec {DB_TASK} mysql --version")
    terminal.run("vault service update wordpress_db --image mysql:5.7.27 --update-delay 0s --update-parallelism 1",
                 "overall progress: 1 out of 1 tasks", "converged")  # fmt: skip
    if terminal.run(f"vault exec {DB_TASK} mysql --version") == before:
        raise DemoFailed("the database's version did not change with its image")
    terminal.say("The site still answers on every node, and its user is still logged in")
    for node, address in NODES.items():
        _shown(demo, browser, f"http://{address}/wp-admin/", DASHBOARD, f"5-updated-{node}")
        _check_logged_in(browser, node)


def _shown(demo: Demo, browser: Browser, url: str, title: str, picture: str) -> Shown:
    """Visit an address until it shows a page of that title (a database takes a moment), and keep a picture of it."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            page = browser.visit(url)
            saw = f"{page.status} {page.title!r}"
            if page.status == 200 and page.title == title:
                break
        except BrowserFailed as error:
            saw = str(error)
            if browser.ended:
                raise
        if time.monotonic() > deadline:
            raise DemoFailed(f"{url} never showed {title!r}; the last that was seen is: {saw}")
        time.sleep(0.5)
    browser.screenshot(demo.pictures / f"{picture}.png")
    _say(page)
    return page


def _check_logged_in(browser: Browser, node: str) -> None:
    if not browser.has("#wpadminbar") or browser.has("#loginform"):
        raise DemoFailed(f"nobody is logged in on {node}; the page says: {browser.text('body')[:300]}")


def _say(page: Shown) -> None:
    print(f"browser: {page.url}  {page.status}  {page.title}  ({len(page.body):,} characters)", flush=True)


def nothing_left(demo: Demo) -> None:
    """End the lab, and look for what is left of it."""
    terminal = demo.terminal
    terminal.say("Remove it all")
    terminal.run("vault stack rm --detach=false wordpress", "Removing network wordpress_my-network")
    terminal.run("vault lab down", "is gone")
    left = [*traces.mounts(terminal.directory), *traces.processes(terminal.directory)]
    if left:
        raise DemoFailed("left behind: " + "; ".join(left))


def failed(demo: Demo, error: Exception) -> None:
    """Say what went wrong, with what the cluster knows about it."""
    print(f"\ndemo failed: {error}", file=sys.stderr, flush=True)
    logs = [f"vault service logs --tail 15 wordpress_{service}" for service in ("web", "db")]
    chromium = "grep -v dbus browser/chromium.log | tail -n 15"  # There is no desktop, and it says so at length.
    for command in ("vault stack ps --no-trunc wordpress", *logs, "tail -n 15 lab/*/vaultd.log", chromium):
        demo.terminal.run(f"{command} 2>&1 || true")


def end(number: int, frame: object) -> None:
    """Let `finally` do its work when this process is told to end."""
    sys.exit(128 + number)


def main() -> int:
    """Run the demo; leave nothing but pictures, whatever happens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, default=HERE / ".cache" / "demo-wordpress",
                        help="where screenshots are kept (default: .cache/demo-wordpress)")  # fmt: skip
    parser.add_argument("--stack", type=Path, default=TUTORIAL, help="the stack file (default: the tutorial's)")
    options = parser.parse_args()
    options.pictures.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vwp-", dir="/tmp", ignore_cleanup_errors=True) as place:
        demo = Demo(Path(place).resolve(), options.pictures.resolve())
        try:
            cluster(demo)
            deploy(demo, options.stack)
            with demo.browser() as browser:
                for part in (install, log_in, update):
                    part(demo, browser)
            nothing_left(demo)
        except (DemoFailed, BrowserFailed, subprocess.TimeoutExpired) as error:
            failed(demo, error)
            return 1
        finally:
            demo.terminal.run("vault lab down", quiet=True)
    print(f"\ndemo passed in {time.monotonic() - started:.0f} s; screenshots are in {options.pictures}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
