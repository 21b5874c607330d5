"""Execs: made by one request, started by another, and remembered for their exit code.

Not pure: holds processes.  Called by `vault.api.exec` and `exec_socket`, which share one `Sessions`.
"""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, replace

from vault.api.ports import Container, ExecSpec, LocalNode, Process
from vault.model.errors import Conflict, NoSuch

MAX_SESSIONS = 1024  # The oldest that do not run are forgotten first.


@dataclass(slots=True, kw_only=True)
class Session:
    """One exec."""

    id: str  # 64 hexadecimal digits.
    container: Container
    spec: ExecSpec
    started: bool = False
    process: Process | None = None  # While it runs.
    pid: int = 0
    exit_code: int | None = None

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.process is not None


class Sessions:
    """The execs of this node since the daemon started."""

    def __init__(self, node: LocalNode) -> None:
        self.node = node
        self.by_id: OrderedDict[str, Session] = OrderedDict()

    def create(self, container: Container, spec: ExecSpec) -> Session:
        """Return a new session; raise `Conflict` when the container does not run."""
        if container.state != "running":
            raise Conflict(f"Container {container.id} is not running")
        if len(self.by_id) >= MAX_SESSIONS:
            idle = next((one.id for one in self.by_id.values() if not one.running), None)
            if idle is None:
                raise Conflict(f"{MAX_SESSIONS} execs run on this node: end one and try again")
            del self.by_id[idle]
        session = Session(id=secrets.token_hex(32), container=container, spec=spec)
        self.by_id[session.id] = session
        return session

    def find(self, exec_id: str) -> Session:
        """Return a session; raise `NoSuch`."""
        session = self.by_id.get(exec_id)
        if session is None:
            raise NoSuch("exec instance", exec_id)
        return session

    async def start(self, session: Session, *, height: int = 0, width: int = 0) -> Process:
        """Start a session's process; raise `Conflict` when it was started before."""
        if session.started:
            raise Conflict(f"exec {session.id} has already been started")
        session.started = True
        spec = replace(session.spec, height=height, width=width) if height or width else session.spec
        try:
            process = await self.node.exec(session.container.id, spec)
        except BaseException:  # Cancelled too: it cannot be started again, so it has ended.
            session.exit_code = 126
            raise
        session.process, session.pid = process, process.pid
        return process

    async def finish(self, session: Session) -> int:
        """Wait for a session's process and release it; return its exit code."""
        assert session.process is not None
        process = session.process
        try:
            session.exit_code = await process.wait()
        finally:
            session.process = None
            await process.close()
        return session.exit_code

    async def abandon(self, session: Session) -> None:
        """Hang up on a session whose client has gone."""
        process, session.process = session.process, None
        if process is not None:
            session.exit_code = 137 if session.exit_code is None else session.exit_code
            await process.close()
