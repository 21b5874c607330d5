"""A worker driven by hand, with keys and certificate stolen from a real one: what does it get?

Run inside the network of a lab's node: `python -m tests.cluster.thief DATA_ROOT HOST:PORT SECONDS`.  It speaks the
control plane's own protocol, keeps every message, opens what is sealed to the stolen node, and tries whatever else a
worker may call.  Prints one JSON object; the values in it are those of a test.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from vault.crypto.keyfile import NodeKeys
from vault.daemon.identity import IdentityFiles
from vault.daemon.link import opener
from vault.model.errors import VaultError
from vault.model.node import NodeDescription
from vault.rpc.client import Client
from vault.rpc.credentials import Credentials
from vault.rpc.messages import PROTOCOL, SESSION, Assignments, FromManager, Hello
from vault.rpc.messages_forward import ForwardedRequest
from vault.rpc.messages_manager import Enter

FORBIDDEN = {
    "manager.forward": ForwardedRequest(method="GET", path="/secrets", api_version=(1, 41)),
    "manager.stream": ForwardedRequest(method="GET", path="/events", api_version=(1, 41)),
    "manager.enter": Enter(peer_request=b"", peer_address="127.0.0.1", control_address="127.0.0.1:2377"),
}
ANSWER_S = 5.0


class Thief:
    """Has one node's files, and nothing else."""

    def __init__(self, data_root: Path, address: str) -> None:
        identity = IdentityFiles(data_root).read()
        self._keys: NodeKeys = identity.keys
        self._address = address
        self._client = Client(
            Credentials(trust=identity.roots, certificate=identity.certificate, key=identity.keys.tls_key)
        )
        self.messages: list[bytes] = []
        self.values: dict[str, dict[str, str]] = {}
        self.tasks: set[str] = set()

    async def listen(self, seconds: float) -> str:
        """Have a session; return why it ended."""
        try:
            async with asyncio.timeout(seconds), self._client.call(self._address, SESSION) as call:
                await call.send(Hello(protocol=PROTOCOL, description=NodeDescription(hostname="thief")))
                while True:
                    self._take(await call.receive(FromManager))
        except TimeoutError:
            return "the time was up"
        except VaultError as error:
            return error.message

    def _take(self, message: msgspec.Struct) -> None:
        self.messages.append(msgspec.msgpack.encode(message))
        if isinstance(message, Assignments):
            self.tasks |= {task.id for task in message.put_tasks}
            for sealed in message.put_values:
                opened = opener(self._keys)(sealed, message).reveal()
                self.values[sealed.id] = {"name": sealed.name, "value": base64.b64encode(opened).decode()}

    async def forbidden(self) -> dict[str, str]:
        """Call what only managers may; return what each said, "" if it answered."""
        said = {}
        for method, message in FORBIDDEN.items():
            try:
                async with asyncio.timeout(ANSWER_S), self._client.call(self._address, method) as call:
                    await call.send(message)
                    self.messages.append(msgspec.msgpack.encode(await call.receive(dict)))
                said[method] = ""
            except TimeoutError:
                said[method] = "no answer"
            except VaultError as error:
                said[method] = f"{type(error).__name__}: {error.message}"
        return said

    async def close(self) -> None:
        """End its connections."""
        await self._client.close()


async def steal(data_root: Path, address: str, seconds: float) -> dict[str, Any]:
    """Return what a thief of a node's files gets."""
    thief = Thief(data_root, address)
    try:
        ended = await thief.listen(seconds)
        forbidden = await thief.forbidden()
    finally:
        await thief.close()
    stream = base64.b64encode(b"".join(thief.messages)).decode()
    return {
        "ended": ended, "forbidden": forbidden, "tasks": sorted(thief.tasks), "values": thief.values, "stream": stream,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(asyncio.run(steal(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))))
