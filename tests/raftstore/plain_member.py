"""An etcd member as a test wants it: alone, without TLS, quick to start, ended with the test's process."""

import contextlib
import itertools
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from vault.raftstore.engines.etcd import EtcdEngine
from vault.raftstore.engines.etcd_api.client import EtcdClient
from vault.raftstore.engines.etcd_settings import MAX_WRITES

SOCKET = "localhost:2379"
_ports = itertools.count(20_000 + os.getpid() % 20_000)


class PlainMember:
    """One member in a directory; `kill` and `start` it as often as you like."""

    def __init__(self, directory: Path, *, quota_bytes: int = 0) -> None:
        self.directory = directory
        self.quota_bytes = quota_bytes
        self.url = f"http://127.11.0.1:{next(_ports)}"
        self.start()

    def start(self) -> None:
        (self.directory / SOCKET).unlink(missing_ok=True)  # A killed member leaves it, and etcd stumbles over it.
        arguments = {
            "name": "plain",
            "data-dir": "data",
            "listen-client-urls": f"unix://{SOCKET}",
            "advertise-client-urls": f"unix://{SOCKET}",
            "listen-peer-urls": self.url,
            "initial-advertise-peer-urls": self.url,
            "initial-cluster": f"plain={self.url}",
            "heartbeat-interval": "20",
            "election-timeout": "200",
            "logger": "zap",
            "log-outputs": "stderr",
            "log-level": "error",
            "max-txn-ops": str(MAX_WRITES),
            "max-request-bytes": str(20 * 1024 * 1024),
            "quota-backend-bytes": str(self.quota_bytes),
        }
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "etcd", *(f"--{name}={value}" for name, value in arguments.items())],
            cwd=self.directory,
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Let it do nothing, and look alive, for a while."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def engine(self, socket: str = SOCKET) -> EtcdEngine:
        """Return an engine on it; call it on the event loop it shall live on."""
        return EtcdEngine(EtcdClient(self.directory, socket))
