"""The `vault-dns` command: one process that serves, and its parent, which starts it again when it was killed.

The parent has loaded all that the child needs, so that the next one serves within milliseconds, and their memory is
shared.  Both hold the lock of the run root.  vaultd starts the command, and neither ends with it.
"""

import argparse
import ctypes
import fcntl
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from vault import __version__
from vault.dns.events import EventFormatter
from vault.dns.messages import KEPT, LOCK, SOCKET

logger = logging.getLogger(__name__)
ALREADY: Final = 3  # Exit code: another one has this run root.
_FIRST_PAUSE_S: Final = 0.1
_STEADY_S: Final = 10.0
_LONGEST_PAUSE_S: Final = 2.0
_PR_SET_NAME: Final = 15
_PR_SET_DUMPABLE: Final = 4


def main() -> None:
    """Serve names to the tasks of a node until no task is left."""
    parser = argparse.ArgumentParser(prog="vault-dns", description=main.__doc__, epilog="Started and told by vaultd.")
    parser.add_argument("--run-root", metavar="DIR", default="/run/vault", help="vaultd's; default: %(default)s")
    parser.add_argument("--version", action="version", version=f"vault-dns version {__version__}")
    parser.add_argument("--resolv-conf", metavar="FILE", default="/etc/resolv.conf", help="default: %(default)s")
    parser.add_argument("--detach", action="store_true", help="go on in a session of its own, and return at once")
    options = parser.parse_args()
    run_root = Path(options.run_root)
    prepare()
    try:
        held = lock(run_root)
    except OSError as error:
        sys.exit(f"vault-dns: cannot lock {run_root} ({error.strerror}): check the directory")
    if held is None:
        sys.exit(ALREADY)
    sys.modules["ssl"] = None  # type: ignore[assignment]  # asyncio goes without it, in 4 MB less.
    from vault.dns.process import run

    if options.detach:
        if os.fork():
            os._exit(0)  # The lock goes on with the child.
        os.setsid()
    clean = keep_running(lambda: run(run_root, Path(options.resolv_conf)))
    if not clean:
        for name in (SOCKET, KEPT, LOCK):
            (run_root / name).unlink(missing_ok=True)
    os.close(held)


def prepare() -> None:
    """Have a name, as many descriptors as allowed, events for a log, and no core files."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, b"vault-dns", 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    handler = logging.StreamHandler()
    handler.setFormatter(EventFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO)


def lock(run_root: Path) -> int | None:
    """Return a descriptor that holds the run root; None when another process holds it.  Raises `OSError`."""
    path = run_root / LOCK
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(held).st_ino == path.stat().st_ino:
                return held
        except BlockingIOError:
            os.close(held)
            return None
        except FileNotFoundError:  # The last holder has just ended, and removed the file that is locked now.
            pass
        os.close(held)


def keep_running(work: Callable[[], None]) -> bool:
    """Do the work in a child, and again in another when that is killed or fails; return whether it ended by itself.

    False: a signal ended this process and the child, which may have had no time to leave nothing behind.
    """
    child, told = 0, False

    def end(*_: object) -> None:
        nonlocal told
        told = True
        if child:
            os.kill(child, signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    gc.freeze()  # What is loaded stays shared.
    pause_s = 0.0
    while not told:
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _do(work)
        if told:  # Between fork and here.
            os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        child = 0
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return True
        logger.warning("killed_or_failed", extra={"status": code})
        if time.monotonic() - began > _STEADY_S:
            pause_s = 0.0
        time.sleep(pause_s)
        pause_s = min(max(_FIRST_PAUSE_S, 2 * pause_s), _LONGEST_PAUSE_S)
    return False


def _do(work: Callable[[], None]) -> NoReturn:
    """Be the child: do the work and end."""
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        work()
        code = 0
    except Exception:  # This process ends here.
        logger.exception("failed")
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
