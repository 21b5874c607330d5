"""The main job, told as a session: from `vault swarm init` to a file under /run/secrets, and nothing left behind.

Run by `make demo`.  Ends with 1 at the first step that does not do what it says.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import traces
from terminal import DemoFailed, Terminal, quoted

HERE = Path(__file__).resolve().parents[2]
IMAGES = HERE / ".cache" / "images"
DB_TASK = "$(vault ps --filter name=wordpress_db --format '{{.Names}}')"
SCALE = 'vault service ps wordpress_db --format "{{.Name}} {{.Image}} {{.CurrentState}}"'


class Session:
    """The demo's one vaultd, under a root of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.daemon: subprocess.Popen[bytes] | None = None
        path = f"{HERE / '.venv' / 'bin'}:{os.environ['PATH']}"
        self.terminal = Terminal(root, {"PATH": path, "VAULT_HOST": f"unix://{root}/run/vault.sock", "TERM": "xterm"})
        self.canary = secrets.token_hex(16)

    def start(self) -> None:
        """Start vaultd and wait until it answers."""
        command = ["vaultd", "--data-root", f"{self.root}/data", "--run-root", f"{self.root}/run"]
        print(f"$ {' '.join(command)} --log-level debug &", flush=True)
        with (self.root / "vaultd.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [str(HERE / ".venv" / "bin" / "vaultd"), *command[1:], "--log-level", "debug"],
                stdout=log, stderr=log, cwd=self.root,
            )  # fmt: skip
        self.terminal.until("vault version", "Server", timeout_s=20)

    def kill(self) -> None:
        """End vaultd as a crash would."""
        assert self.daemon is not None
        print(f"$ kill -9 {self.daemon.pid}", flush=True)
        self.daemon.kill()
        self.daemon.wait()

    def stop(self) -> None:
        """End vaultd as an operator would."""
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGTERM)
            self.daemon.wait(timeout=20)


def swarm_and_secret(session: Session) -> None:
    """Make a swarm, and keep a password in it."""
    terminal = session.terminal
    terminal.say("A swarm of one node")
    terminal.run("vault secret ls", "This node is not a swarm manager", code=1)
    # A swarm of one node need not be reached from elsewhere: so it listens for nodes on the loopback only.
    terminal.run("vault swarm init --advertise-addr 127.0.0.1", "is now a manager")
    terminal.run("vault node ls", r"Ready +Active +Leader")
    terminal.say("A secret, from standard input and from a file")
    terminal.run("printf 123456789 | vault secret create -l mysql_root_password password -", r"^[0-9a-z]{25}$")
    terminal.run("printf 123456789 > db_root_password && vault secret create -l mysql_root_password from_file db_root_password && rm -f db_root_password", r"^[0-9a-z]{25}$")  # fmt: skip  # noqa: E501
    terminal.run(f"printf {session.canary} | vault secret create canary -", r"^[0-9a-z]{25}$")
    terminal.run("vault secret ls", "^ID +NAME +DRIVER +CREATED +UPDATED", "password")
    terminal.run("vault secret inspect password", '"mysql_root_password": ""', absent="123456789")
    terminal.say("Images, built from Debian packages; no registry is asked")
    for archive in sorted(IMAGES.glob("*.tar")):
        terminal.run(f"vault image load -i {quoted(archive)}", "Loaded image")
    terminal.run("vault image ls", "busybox", "mysql", "wordpress")


def one_service(session: Session) -> None:
    """Run a service whose task finds the secret as a file."""
    terminal = session.terminal
    terminal.say("A service that uses the secret")
    sleeper = 'sh -c "while true; do sleep 3600; done"'
    terminal.run(f"vault service create --name busybox --secret password busybox {sleeper}",
                 "overall progress: 1 out of 1 tasks", "converged")  # fmt: skip
    quick = "sh -c 'trap \"exit 0\" TERM; sleep 1000000 & wait'"
    terminal.run(f"vault service create --detach --name canary --secret canary busybox {quick}", r"^[0-9a-z]{25}$")
    terminal.run("vault service ls", "busybox +replicated +1/1 +busybox:latest")
    terminal.run("vault service ps busybox", "busybox.1 .* Running +Running")
    terminal.run("vault ps", "busybox:latest +.*busybox.1.")
    container = "$(vault ps -q --filter name=busybox.1)"
    terminal.run(f"vault exec {container} cat /run/secrets/password", "^123456789$")
    terminal.run(f"vault exec {container} sh -c 'mount | grep secrets; ls -l /run/secrets'", "tmpfs.*ro", "-r--r--r--")
    terminal.typed(
        f"vault exec -it {container} sh", ["cd /run/secrets/", "ls", "cat password; echo", "exit"], "123456789"
    )


def wordpress(session: Session) -> None:
    """Deploy the tutorial's stack; its database is a real MariaDB that takes its password from the file."""
    terminal, examples = session.terminal, HERE / "deploy" / "examples" / "wordpress"
    terminal.say("The tutorial's stack, its password an external secret")
    shutil.copy(examples / "docker-compose.yml", session.root)
    terminal.run("vault stack deploy wordpress --compose-file docker-compose.yml", "Creating service wordpress_db")
    terminal.until("vault stack services wordpress", r"wordpress_web +replicated +3/3")
    terminal.run("vault stack ls", r"wordpress +2")
    terminal.run("vault stack ps wordpress", "wordpress_web.3", "Running")
    terminal.say("Log in to the database with that password")
    login = f"vault exec {DB_TASK} mysql -uroot -p123456789 -e 'show databases'"
    terminal.until(login, "wordpress")
    terminal.run(f"vault exec {DB_TASK} mysql -uroot -pwrong -e 'show databases'", "Access denied", code=1)
    terminal.say("Another version of the database")
    terminal.run(f"vault exec {DB_TASK} mysql --version", r"10\.11\.")
    before = terminal.run(f"vault exec {DB_TASK} mysql --version", quiet=True)
    terminal.run(
        "vault service update wordpress_db --image mysql:5.7.27 --update-delay 0s --update-parallelism 1",
        "overall progress: 1 out of 1 tasks", "converged",
    )  # fmt: skip
    after = terminal.run(f"vault exec {DB_TASK} mysql --version", r"10\.11\.")
    if before == after:
        raise DemoFailed("the database's version did not change with its image")
    terminal.until(login, "wordpress")
    terminal.say("Rotation: the file has another value, the service another task")
    terminal.run("printf 987654321 > new.txt && vault secret create password_v2 new.txt && rm new.txt")
    rotation = "--secret-rm password --secret-add source=password_v2,target=password"
    terminal.run(f"vault service update {rotation} wordpress_db", "converged")
    terminal.run(f"vault exec {DB_TASK} cat /run/secrets/password", "^987654321$")
    terminal.run("vault secret rm password", "is in use by the following services", code=1)


def file_form(session: Session) -> None:
    """Deploy the tutorial's other form, whose secret comes from a file."""
    terminal, examples = session.terminal, HERE / "deploy" / "examples" / "wordpress"
    terminal.say("The tutorial's other form: the secret from a file")
    terminal.run("vault stack rm --detach=false wordpress", "Removing network wordpress_my-network")
    terminal.run("vault volume rm wordpress_db_data", "wordpress_db_data")
    shutil.copy(examples / "docker-compose.file.yml", session.root)
    terminal.run("printf 24681357 > db_root_password && vault stack deploy -c docker-compose.file.yml wordpress",
                 "Creating secret wordpress_password")  # fmt: skip
    terminal.run("rm db_root_password")
    terminal.until("vault stack services wordpress", r"wordpress_db +global +1/1")
    terminal.until(f"vault exec {DB_TASK} mysql -uroot -p24681357 -e 'show databases'", "wordpress")


def crash(session: Session) -> None:
    """Kill vaultd; tasks run on, and the next vaultd takes them over."""
    terminal = session.terminal
    terminal.say("kill -9 touches no task and loses nothing")
    before = terminal.run("vault ps -q --no-trunc | sort", quiet=True)
    session.kill()
    session.start()
    terminal.until("vault service ls", r"busybox +replicated +1/1")
    if terminal.run("vault ps -q --no-trunc | sort", quiet=True) != before:
        raise DemoFailed("the containers are not the same after the restart")
    terminal.run("vault exec $(vault ps -q --filter name=busybox.1) cat /run/secrets/password", "^123456789$")


def second_deploy(session: Session) -> None:
    """Deploy a file, change it, deploy again: only what changed is updated."""
    terminal = session.terminal
    terminal.say("A stack with a secret from a file; a second deploy updates two services and leaves one alone")
    shutil.copy(HERE / "deploy" / "examples" / "three" / "docker-compose.yml", session.root / "three.yml")
    terminal.run(
        "printf first > token.txt; vault stack deploy --detach=false -c three.yml three", "Creating secret three_token"
    )
    tasks = "vault stack ps three --filter desired-state=running --format '{{.Name}} {{.ID}}' | sort"
    before = dict(line.split() for line in terminal.run(tasks).splitlines())
    terminal.run("VERSION=2 vault stack deploy --detach=false -c - three < three.yml", "Updating service three_api")
    after = dict(line.split() for line in terminal.run(tasks).splitlines())
    changed = {name for name in before if before[name] != after.get(name)}
    if changed != {"three_api.1", "three_worker.1"}:
        raise DemoFailed(f"the second deploy should have updated api and worker, not {sorted(changed)}")
    terminal.run(
        "printf second > token.txt; vault stack deploy -c three.yml three", "only updates to Labels are allowed", code=1
    )


def nothing_left(session: Session) -> None:
    """Remove everything; look for what is left."""
    terminal = session.terminal
    terminal.say("Remove it all; nothing is left")
    terminal.run("vault stack rm --detach=false wordpress three", "Removing service wordpress_db")
    terminal.run("vault service rm busybox canary", "busybox", "canary")
    terminal.run("vault secret rm password password_v2 from_file canary", "password")
    deadline = time.monotonic() + 30
    while traces.containers(session.root) and time.monotonic() < deadline:
        time.sleep(0.2)
    terminal.run("vault ps -a -q", absent=".")
    terminal.run("vault volume rm wordpress_db_data", "wordpress_db_data")
    left = [*traces.containers(session.root), *traces.mounts(session.root)]
    left += [line for line in traces.processes(session.root) if "vaultd" not in line]
    if left:
        raise DemoFailed("left behind: " + "; ".join(left))
    holding = list(traces.files_with(session.canary.encode(), session.root))
    if holding:
        raise DemoFailed(f"the canary's plaintext is on disk: {holding}")
    (session.root / "planted").write_text(f"xx{session.canary}xx")
    if list(traces.files_with(session.canary.encode(), session.root)) != [session.root / "planted"]:
        raise DemoFailed("the search does not find planted bytes")
    terminal.run("vault swarm leave", "Removing the last manager erases all current state", code=1)
    terminal.run("vault swarm leave --force", "Node left the swarm")
    session.stop()
    print("no mount, container, process or plaintext is left", flush=True)


def main() -> int:
    """Run the session; leave nothing, whatever happens."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vault-demo-", ignore_cleanup_errors=True) as place:
        session = Session(Path(place))
        try:
            session.terminal.say("Start the daemon under a root of its own")
            session.start()
            for part in (swarm_and_secret, one_service, wordpress, crash, file_form, second_deploy, nothing_left):
                part(session)
        except (DemoFailed, subprocess.TimeoutExpired) as error:
            print(f"\ndemo failed: {error}", file=sys.stderr)
            log = session.root / "vaultd.log"
            print("".join(log.read_text().splitlines(keepends=True)[-30:]) if log.exists() else "", file=sys.stderr)
            return 1
        finally:
            if session.daemon is not None and session.daemon.poll() is None:
                session.terminal.run("vault swarm leave --force || true", quiet=True)
            session.stop()
    print(f"\ndemo passed in {time.monotonic() - started:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
