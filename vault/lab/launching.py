"""Starting processes that outlive the command: vaultd on a node, and the relay of its packets.

Not pure; blocking.  A shell writes its own line of /proc into the pid file and then becomes the process, so that there
is no instant at which a process runs and its file is missing.  It is nobody's child but init's.
"""

import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vault.agent.executors.oci.record import Process
from vault.lab import cgroups
from vault.lab.errors import LabError, NotAnswering, ProgramFailed
from vault.lab.plan import Place
from vault.lab.processes import recorded

START_LIMIT_S: Final = 60.0
_PING_LIMIT_S: Final = 2.0
_LOOK_AGAIN_S: Final = 0.02
_OURS: Final = (signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)  # Ignored here, perhaps, but not there.
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BEGIN: Final = 'echo $$ >"$1" && cat /proc/$$/stat >"$2.new" && mv "$2.new" "$2" && shift 2 && cd / && exec "$@"'


def installed(program: str) -> Path:
    """Return where this installation's program is.  Raises `LabError`."""
    beside = Path(sys.executable).with_name(program)
    found = str(beside) if beside.exists() else shutil.which(program)
    if found is None:
        raise LabError(f"{program} is not installed beside {sys.executable}: run `make setup`")
    return Path(found)


def launch(
    words: Sequence[str | Path], *, pid_file: Path, cgroup: Path, log: Path, environment: Mapping[str, str]
) -> Process:
    """Start a process and return it.  cgroup: the file that moves it there.  Raises `ProgramFailed`.

    A signal that ends this command waits meanwhile: who cleans up after it would find the process nowhere, and it would
    enter its cgroup later.
    """
    with _undisturbed() as before:
        return _launch(words, pid_file, cgroup, log, environment, mask=before)


@contextmanager
def _undisturbed() -> Iterator[set[int]]:
    """Hold back the signals that would end this command; yield those that were held back already."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _launch(
    words: Sequence[str | Path], pid_file: Path, cgroup: Path, log: Path, environment: Mapping[str, str], mask: set[int]
) -> Process:
    pid_file.unlink(missing_ok=True)
    command = ["setsid", "--fork", "sh", "-c", _BEGIN, "vault-lab", str(cgroup), str(pid_file), *map(str, words)]
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    try:
        pid = os.posix_spawnp(
            "setsid", command, dict(environment), file_actions=files, setsigdef=_OURS, setsigmask=mask
        )
    except FileNotFoundError:
        raise ProgramFailed("setsid", "not installed: install the package util-linux") from None
    os.waitpid(pid, 0)
    deadline = time.monotonic() + START_LIMIT_S
    while not pid_file.exists():
        if time.monotonic() > deadline:
            raise ProgramFailed(str(words[0]), f"not started within {START_LIMIT_S:.0f} s: see {log}")
        time.sleep(_LOOK_AGAIN_S)
    found = recorded(pid_file)
    if found is None:
        raise ProgramFailed(str(words[0]), f"ended at once: see {log}")
    return found


def launch_vaultd(node: Place, *, log_level: str, environment: Mapping[str, str], wrong_clock: bool = False) -> Process:
    """Start a node's vaultd inside its namespaces."""
    vaultd = (sys.executable, "-P", "-m", "vault.lab.wrong_clock") if wrong_clock else (installed("vaultd"),)
    words = (
        *("nsenter", f"--net={node.net}", f"--uts={node.uts}", "--"),
        *(*vaultd, "--hostname", node.name, "--log-level", log_level),
        *("--data-root", node.data_root, "--run-root", node.run_root),
    )
    return launch(words, pid_file=node.vaultd_pid, cgroup=cgroups.entry(node), log=node.log, environment=environment)


def wait_until_answers(node: Place, process: Process) -> None:
    """Return once a vaultd answers.  Raises `NotAnswering`."""
    deadline = time.monotonic() + START_LIMIT_S
    while not answers(node):
        if recorded(node.vaultd_pid) != process:
            raise NotAnswering(node.name, f"ended at once{_last_words(node.log)}", node.log)
        if time.monotonic() > deadline:
            raise NotAnswering(node.name, f"does not answer within {START_LIMIT_S:.0f} s", node.log)
        time.sleep(_LOOK_AGAIN_S)


def answers(node: Place) -> bool:
    """Return whether a node's vaultd answers on its socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_PING_LIMIT_S)
        try:
            client.connect(node.host.removeprefix("unix://"))
            client.sendall(b"GET /_ping HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
            return client.recv(16).startswith(b"HTTP/1.1 ")
        except OSError:
            return False


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return f" ({lines[-1][:300]})" if lines else ""
