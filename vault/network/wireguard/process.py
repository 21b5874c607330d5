"""A WireGuard device in user space: Debian's `wireguard-go`, on a TUN device, spoken to by its socket.

Not pure.  Used by `vault.network.wireguard.underlay`.  The program has a session of its own and lives on when vaultd
ends; the next vaultd finds it by its socket.  Deleting the device ends it.
"""

import asyncio
import os
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from vault.crypto.wireguard_seal import WireGuardKey
from vault.network.kernel.programs import NetworkFailed
from vault.network.links.names import Names
from vault.network.wireguard import uapi
from vault.network.wireguard.messages import State
from vault.network.wireguard.plan import Peer

PROGRAM: Final = "wireguard-go"
SOCKETS: Final = Path("/var/run/wireguard")  # Where the program has them, whatever it is told.
TUN: Final = Path("/dev/net/tun")
_START_S: Final = 5.0
_ANSWER_S: Final = 5.0
_LOOK_S: Final = 0.01
_ANSWER_BYTES: Final = 16 * 1024 * 1024  # 1,000 peers take 0.3 MB.
_LOG_BYTES: Final = 4096


class ProcessDevice:
    """One device, and its process."""

    def __init__(self, name: str, logs: Path) -> None:
        """logs: the directory for what the program prints."""
        self.name = name
        self._log = logs / f"{name}.log"
        self._socket = SOCKETS / f"{name}.sock"

    async def state(self) -> State | None:
        """Return what it is; None when no process answers."""
        try:
            return uapi.state_in(await self._ask(uapi.ASK_STATE))
        except (OSError, ValueError, TimeoutError):
            return None

    async def create(self, key: WireGuardKey, port: int) -> None:
        """Start the program, and give it key and port.  Raises `NetworkFailed`."""
        self._socket.unlink(missing_ok=True)  # Of one that was killed.
        environment = {"LOG_LEVEL": "error", "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")}
        with self._log.open("wb") as log:
            try:
                starting = await asyncio.create_subprocess_exec(
                    PROGRAM, self.name, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                    env=environment, start_new_session=True,
                )  # fmt: skip
            except FileNotFoundError:
                raise NetworkFailed(PROGRAM, "not installed: install the package wireguard-go") from None
        try:
            async with asyncio.timeout(_START_S):
                code = await starting.wait()  # It goes on in the background.
                while code == 0 and not self._socket.exists():
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                starting.kill()
            code = 1
        if code != 0:
            raise NetworkFailed(PROGRAM, self._said() or f"{self.name} did not start: is {TUN} there?")
        await self._tell(uapi.set_device(key, port))

    async def change(self, put: Sequence[Peer], remove: Sequence[bytes], speak: Collection[bytes]) -> None:
        """Remove peers, then add others or change them, and speak to some at once.  Raises `NetworkFailed`."""
        await self._tell(uapi.change_peers(put, remove, speak))

    async def ended(self) -> None:
        """Return when the process has ended."""
        with suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(self._socket)
            try:
                await reader.read(1)  # It says nothing unasked.
            finally:
                writer.close()

    def clear(self) -> None:
        """Remove what a process that is gone has left."""
        self._socket.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)

    async def _tell(self, request: bytes) -> None:
        try:
            number = uapi.error_in(await self._ask(request))
        except (OSError, ValueError, TimeoutError) as error:
            raise NetworkFailed(PROGRAM, f"{self.name} does not answer ({type(error).__name__})") from None
        if number:
            raise NetworkFailed(PROGRAM, f"{self.name}: {os.strerror(number)}")

    async def _ask(self, request: bytes) -> bytes:
        """Send a request; return the answer to its end."""
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(self._socket, limit=_ANSWER_BYTES)
            try:
                writer.write(request)
                await writer.drain()
                return await reader.readuntil(uapi.END)
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                raise ValueError(str(error)) from None
            finally:
                writer.close()

    def _said(self) -> str:
        """Return the last line that the program printed."""
        with suppress(OSError):
            lines = self._log.read_bytes()[-_LOG_BYTES:].decode(errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""


def process_can() -> bool:
    """Whether the program, and the device it needs, are there."""
    return shutil.which(PROGRAM) is not None and TUN.exists()


def prefix_of(run_root: Path) -> str:
    """Return how the names of a vaultd's devices begin."""
    return "w" + Names(run_root).link_prefix[1:]


def remove_sockets(run_root: Path) -> None:
    """Remove what processes leave that were killed; they must be gone."""
    for path in SOCKETS.glob(f"{prefix_of(run_root)}*.sock"):
        path.unlink(missing_ok=True)
