"""/containers/{id}/exec and /exec: commands in running containers, over plain HTTP.

The interactive way, with input and a terminal, is the WebSocket in `exec_socket`; here a command is started and its
output read.
"""

import asyncio
import struct
from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.bodies import decode, read
from vault.api.container_lookup import find_container
from vault.api.context import Context, Endpoint, Reach
from vault.api.exec_sessions import Session, Sessions
from vault.api.ports import ExecSpec, Process
from vault.api.streams import MULTIPLEXED, RAW, Streamed, Write
from vault.api.system_shapes import Full
from vault.model.base import Shape
from vault.model.errors import BadRequest, Unimplemented

USE_SOCKET = 'exec with streams needs an upgraded connection, which is not offered: use "vault exec"'
UPGRADES = "Docker-Client/"  # Its start would fail without a sentence: it shows no body of a refused upgrade.
MAX_SIDE = 65_535


class PostedExec(Shape, frozen=True, kw_only=True):
    """`POST /containers/{id}/exec`."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach: bool = False
    detach_keys: str = ""
    env: tuple[str, ...] = ()
    working_dir: str = ""
    cmd: tuple[str, ...] = ()


class PostedStart(Shape, frozen=True, kw_only=True):
    """`POST /exec/{id}/start`."""

    detach: bool = False
    tty: bool = False
    console_size: tuple[int, ...] = ()


class ExecCreated(Full, frozen=True, kw_only=True):
    """The answer to creating an exec."""

    id: str


class ProcessConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What an exec runs."""

    tty: bool
    entrypoint: str
    arguments: tuple[str, ...]
    privileged: bool
    user: str


class ExecDetails(Full, frozen=True, kw_only=True):
    """An exec as inspect shows it."""

    id: str = msgspec.field(name="ID")
    running: bool
    exit_code: int | None
    process_config: ProcessConfig
    open_stdin: bool
    open_stderr: bool = True
    open_stdout: bool = True
    can_remove: bool = False
    container_id: str = msgspec.field(name="ContainerID")
    detach_keys: str = ""
    pid: int


class Exec:
    """Handlers of exec."""

    def __init__(self, context: Context, sessions: Sessions) -> None:
        self.context = context
        self.sessions = sessions
        self.detached: set[asyncio.Task[None]] = set()

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        return [
            Endpoint(
                "POST",
                "/containers/{id}/exec",
                self.create,
                201,
                posts=PostedExec,
                replies=ExecCreated,
                reach=Reach.NODE,
            ),
            Endpoint("POST", "/exec/{id}/start", self.start, posts=PostedStart, reach=Reach.NODE),
            Endpoint("POST", "/exec/{id}/resize", self.resize, query=("h", "w"), reach=Reach.NODE),
            Endpoint("GET", "/exec/{id}/json", self.inspect, replies=ExecDetails, reach=Reach.NODE),
        ]

    async def create(self, request: Request) -> Response:
        """Make an exec, to be started by another request."""
        posted = decode(await read(request), PostedExec)
        attached = posted.attach_stdin or posted.attach_stdout or posted.attach_stderr
        if attached and request.headers.get("user-agent", "").startswith(UPGRADES):
            raise Unimplemented(USE_SOCKET)
        if not posted.cmd:
            raise BadRequest("No exec command specified")
        if any("\0" in text for text in (*posted.cmd, *posted.env, posted.user, posted.working_dir)):
            raise BadRequest("invalid exec: a command, variable, user or directory cannot hold a NUL byte")
        container = find_container(await self.context.node.containers(), request.path_params["id"])
        spec = ExecSpec(
            args=posted.cmd,
            env=posted.env,
            working_dir=posted.working_dir,
            user=posted.user,
            tty=posted.tty,
            stdin=posted.attach_stdin,
            privileged=posted.privileged,
        )
        return answers.json(ExecCreated(id=self.sessions.create(container, spec).id), HTTPStatus.CREATED)

    async def start(self, request: Request) -> Response:
        """Start an exec, and send its output unless it is detached."""
        session = self.sessions.find(request.path_params["id"])
        if "upgrade" in request.headers:  # Its body cannot be read, either.
            raise Unimplemented(USE_SOCKET)
        posted = decode(await read(request), PostedStart)
        if session.spec.stdin and not posted.detach:
            raise Unimplemented(USE_SOCKET)
        process = await self.sessions.start(session)
        if posted.detach:
            drained = asyncio.create_task(self._drain(session, process))
            self.detached.add(drained)  # Held here, or it might be collected while it runs.
            drained.add_done_callback(self.detached.discard)
            return answers.done()

        async def produce(write: Write) -> None:
            try:
                async for channel, data in process.output():
                    await write(data if session.spec.tty else struct.pack(">BxxxL", channel, len(data)) + data)
                await self.sessions.finish(session)
            finally:
                await self.sessions.abandon(session)

        return Streamed(produce, RAW if session.spec.tty else MULTIPLEXED)

    async def resize(self, request: Request) -> Response:
        """Set the size of an exec's terminal."""
        session = self.sessions.find(request.path_params["id"])
        height, width = (_side(request.query_params.get(name, "")) for name in ("h", "w"))
        if session.process is not None:
            await session.process.resize(height, width)
        return answers.done()

    async def inspect(self, request: Request) -> Response:
        """Show an exec."""
        session = self.sessions.find(request.path_params["id"])
        return answers.json(
            ExecDetails(
                id=session.id,
                running=session.running,
                exit_code=session.exit_code,
                process_config=ProcessConfig(
                    tty=session.spec.tty,
                    entrypoint=session.spec.args[0],
                    arguments=session.spec.args[1:],
                    privileged=session.spec.privileged,
                    user=session.spec.user,
                ),
                open_stdin=session.spec.stdin,
                container_id=session.container.id,
                pid=session.pid,
            )
        )

    async def _drain(self, session: Session, process: Process) -> None:
        """Read a detached exec to its end, so that it never waits for a reader."""
        try:
            async for _ in process.output():
                continue
        finally:
            await self.sessions.finish(session)


def _side(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= MAX_SIDE):
        raise BadRequest("invalid size of a terminal: h and w must be numbers")
    return int(text)
