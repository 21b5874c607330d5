"""A node as its users have it: the command line pointed at it, other programs inside it, and its processes."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vault.agent.executors.oci.record import Process, identify
from vault.lab import cgroups
from vault.lab.errors import CommandFailed
from vault.lab.launching import installed
from vault.lab.plan import Place
from vault.lab.processes import name_of, recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command printed, and its exit code."""

    out: str
    err: str
    code: int
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of a lab."""

    place: Place

    @property
    def name(self) -> str:
        """`manager1`, `worker2`."""
        return self.place.name

    @property
    def address(self) -> str:
        """Its address in the lab's network."""
        return self.place.address

    @property
    def data_root(self) -> Path:
        """State of its vaultd."""
        return self.place.data_root

    @property
    def run_root(self) -> Path:
        """Socket and mounts of its vaultd."""
        return self.place.run_root

    @property
    def log(self) -> Path:
        """What its vaultd printed, from the first start on."""
        return self.place.log

    @property
    def host(self) -> str:
        """Address of its vaultd, for `vault -H`."""
        return self.place.host

    def environment(self) -> dict[str, str]:
        """Return this process's environment with `vault` and `$VAULT_HOST` meaning this node."""
        path = f"{installed('vault').parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return dict(os.environ) | {"VAULT_HOST": self.host, "PATH": path}

    def vault(
        self,
        *words: str,
        stdin: bytes = b"",
        code: int | None = 0,
        timeout_s: float = 120.0,
        env: Mapping[str, str] | None = None,
    ) -> Said:
        """Run `vault` against this node.  Raises `CommandFailed` for any exit code but `code`; None allows each."""
        said = self.run(str(installed("vault")), *words, stdin=stdin, timeout_s=timeout_s, env=env)
        if code is not None and said.code != code:
            raise CommandFailed(self.name, words, said.err.strip() or f"exit code {said.code}")
        return said

    def run(
        self, *words: str, stdin: bytes = b"", timeout_s: float = 120.0, env: Mapping[str, str] | None = None
    ) -> Said:
        """Run a program inside this node, whatever its exit code."""
        entered = ("nsenter", f"--net={self.place.net}", f"--uts={self.place.uts}", "--")
        done = subprocess.run(
            [*entered, *words],
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env=self.environment() | dict(env or {}),
        )
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        return Said(out=out, err=err, code=done.returncode, raw=done.stdout)

    def pid(self, what: str) -> int | None:
        """Return the pid of its `vaultd` or `etcd`; None when that does not run."""
        process = self.process(what)
        return None if process is None else process.pid

    def process(self, what: str) -> Process | None:
        """Return its `vaultd` or `etcd`; None when that does not run."""
        if what == "vaultd":
            return recorded(self.place.vaultd_pid)
        found = (identify(pid) for pid in cgroups.daemons(self.place) if name_of(pid) == what)
        return next((process for process in found if process is not None), None)
