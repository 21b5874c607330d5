"""The etcd member beside this process: started, supervised, started again when it dies, ended.

It dies with this process (`setpriv --pdeathsig`, which counts the thread that starts it: the event loop's), and what
outlives it all the same is ended by the next.  Its peer key is in memory only: a memfd that it reads as a file.
Not pure.  Called by `vault.daemon`.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import platform
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from typing import Final

from vault.crypto.plaintext import Plaintext
from vault.model.errors import StoreDamaged, Unavailable, VaultError
from vault.raftstore.engine import MemberRemoved
from vault.raftstore.engines import etcd_members, etcd_traces
from vault.raftstore.engines.etcd import EtcdEngine
from vault.raftstore.engines.etcd_api import messages
from vault.raftstore.engines.etcd_api.client import EtcdClient
from vault.raftstore.engines.etcd_api.exchange import NoAnswer, Refused
from vault.raftstore.engines.etcd_binary import Binary, find
from vault.raftstore.engines.etcd_settings import CA_FILE, CERTIFICATE_FILE, SOCKET, EtcdSettings, flags

logger = logging.getLogger(__name__)
START_WAIT_S: Final = 4.0  # Longer than a member alone takes; one that waits for others serves later.
POLL_S: Final = 0.05
STOP_LIMIT_S: Final = 2.5  # Handing the lead over takes less, if anybody is there to take it.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
STEADY_S: Final = 60.0  # After so long a life, the next pause is the first again.
LOG_LOOK_S: Final = 60.0
GARBAGE_PERCENT: Final = 25  # Of what is live, before Go collects: a third less memory after a load.
STATUS_LIMIT_S: Final = 5.0


async def start_etcd(settings: EtcdSettings) -> EtcdEngine:
    """Start a member, and return an engine on it; its `close` ends both.

    A member that waits for others does not serve yet when this returns; the engine's calls say so within their limits.
    Raises `EtcdMissing`, `EtcdUnfit`, `StoreDamaged` or `Unavailable`; then nothing runs.
    """
    binary = await asyncio.to_thread(find, settings.binary)
    client = EtcdClient(settings.directory, SOCKET)
    process = EtcdProcess(settings, binary, client)
    try:
        await process.start()
    except BaseException:  # Cancelled too: the client keeps its directory open.
        client.stop("it did not start")
        raise
    engine = EtcdEngine(client, process)
    try:
        if await process.serves(within_s=START_WAIT_S) and settings.force_new:
            await etcd_members.move(client, settings.peer_url)
    except BaseException:  # Cancelled too: the process runs, and the caller has nothing to close.
        await engine.close()
        raise
    return engine


class EtcdProcess:
    """The process of one member, and the next when it dies."""

    def __init__(self, settings: EtcdSettings, binary: Binary, client: EtcdClient) -> None:
        self._settings, self._binary, self._client = settings, binary, client
        self._force_new = settings.force_new
        self._certificate_pem = settings.peer_cert_pem
        self._key = _in_memory(settings.peer_key)
        self._child: Process | None = None
        self._jobs: list[asyncio.Task[None]] = []
        self._renewed = False
        self._told: list[Callable[[VaultError], None]] = []
        self._damaged_ends = 0  # In a row, each with words that say so.

    async def start(self) -> None:
        """Start it, and keep it running."""
        directory = self._settings.directory
        try:
            await asyncio.to_thread(etcd_traces.end_former, directory)
            await asyncio.to_thread(etcd_traces.check_data, directory)
            self._child = await self._spawn()
        except OSError as error:
            os.close(self._key)
            raise Unavailable(f"etcd does not start ({error.strerror}): check {directory}") from None
        except VaultError:
            os.close(self._key)
            raise
        self._jobs = [asyncio.create_task(job, name="etcd") for job in (self._supervise(), self._note_served())]

    async def serves(self, *, within_s: float) -> bool:
        """Wait until the member serves, for a while; return whether it does."""
        return bool((await asyncio.wait([self._jobs[1]], timeout=within_s))[0])

    async def renew(self, certificate_pem: bytes, key: Plaintext) -> None:
        """Go on with a new peer certificate: the member is started again, which costs an election at most."""
        former, self._key = self._key, _in_memory(key)
        self._certificate_pem, self._renewed = certificate_pem, True
        if self._child is not None:
            await _end(self._child)
        os.close(former)

    def tell_when_over(self, tell: Callable[[VaultError], None]) -> None:
        """Call back, with the reason, when the member never will serve again: it was removed, or is damaged."""
        self._told.append(tell)

    async def stop(self) -> None:
        """End it, and wait for that."""
        for job in self._jobs:
            job.cancel()
        await asyncio.wait(self._jobs)
        if self._child is not None:
            await _end(self._child)
        os.close(self._key)

    async def _spawn(self) -> Process:
        """Start the program.  Raises `OSError`."""
        directory = self._settings.directory
        await asyncio.to_thread(self._prepare)
        key_path = f"/proc/self/fd/{self._key}"
        named = flags(self._settings, self._binary.version, key_path=key_path, force_new=self._force_new)
        log = etcd_traces.open_log(directory)
        try:
            child = await asyncio.create_subprocess_exec(
                "setpriv",
                "--pdeathsig=TERM",
                str(self._binary.path),
                *named,
                cwd=directory,
                env=_environment(),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self._key,),
            )
        finally:
            os.close(log)
        etcd_traces.write_down(directory, child.pid)
        logger.info("etcd_started", extra={"pid": child.pid, "version": ".".join(map(str, self._binary.version))})
        return child

    def _prepare(self) -> None:
        """Write what the program reads, and remove the socket that it would stumble over if the last one was killed."""
        directory = self._settings.directory
        (directory / CA_FILE).write_bytes(self._settings.peer_ca_pem)
        (directory / CERTIFICATE_FILE).write_bytes(self._certificate_pem)
        (directory / SOCKET).unlink(missing_ok=True)

    async def _note_served(self) -> None:
        """Wait until the member serves, however long that takes, and note it."""
        while True:
            try:
                await self._client.call(messages.STATUS, messages.EMPTY, timeout_s=STATUS_LIMIT_S)
                break
            except (Refused, NoAnswer):
                await asyncio.sleep(POLL_S)
        self._force_new = False
        await asyncio.to_thread(etcd_traces.note_served, self._settings.directory)

    async def _supervise(self) -> None:
        """Start the program again when it has ended, unless it never will serve again."""
        loop, pause_s = asyncio.get_running_loop(), FIRST_PAUSE_S
        while True:
            began = loop.time()
            if self._child is not None:
                await self._outlived(self._child)
            if self._renewed:
                self._renewed = False
            else:
                words = await asyncio.to_thread(etcd_traces.last_words, self._settings.directory)
                status = None if self._child is None else self._child.returncode
                logger.warning("etcd_ended", extra={"status": status, "last_words": words})
                if (over := self._is_over(words)) is not None:
                    logger.error("etcd_given_up", extra={"why": over.message})
                    for tell in self._told:
                        tell(over)
                    return
                pause_s = FIRST_PAUSE_S if loop.time() - began > STEADY_S else min(2 * pause_s, LONGEST_PAUSE_S)
                await asyncio.sleep(pause_s)
            try:
                self._child = await self._spawn()
            except OSError as error:
                self._child = None
                logger.error("etcd_not_started", extra={"why": error.strerror})

    def _is_over(self, words: str) -> VaultError | None:
        """Return why the program need not be started again; damage is believed when it says so twice in a row."""
        if etcd_traces.REMOVED in words:  # Whatever its status: 3.4 may crash as it ends, without its own id.
            return MemberRemoved()
        self._damaged_ends = self._damaged_ends + 1 if etcd_traces.tells_of_damage(words) else 0
        if self._damaged_ends < 2:
            return None
        return StoreDamaged(
            f"the store in {self._settings.directory} is damaged (etcd: {words}): remove this manager from the swarm, "
            "and join anew"
        )

    async def _outlived(self, child: Process) -> None:
        """Wait for the end of a process; meanwhile keep its log short."""
        ending = asyncio.ensure_future(child.wait())
        try:
            while not (await asyncio.wait([ending], timeout=LOG_LOOK_S))[0]:
                await asyncio.to_thread(etcd_traces.bound_log, self._settings.directory)
        finally:
            ending.cancel()


async def _end(child: Process) -> None:
    """End a process: it is asked to, then it must."""
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        async with asyncio.timeout(STOP_LIMIT_S):
            await child.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


def _in_memory(key: Plaintext) -> int:
    """Return a descriptor of a file that is nowhere on disk, holds a key, and cannot be changed."""
    descriptor = os.memfd_create("vault-etcd-key", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, key.reveal())
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return descriptor


def _environment() -> dict[str, str]:
    """Return the program's whole environment: it would take variables for flags."""
    machine = {"aarch64": "arm64"}.get(platform.machine())
    asked = {} if machine is None else {"ETCD_UNSUPPORTED_ARCH": machine}  # What 3.4 asks for there.
    return asked | {"GOGC": str(GARBAGE_PERCENT)}
