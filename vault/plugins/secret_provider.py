"""Secrets from elsewhere: a plugin of Docker's kind `secretprovider` is asked for a value, once for each task.

Not pure.  Called by `vault.dispatcher` on the manager that leads, and by `vault.api` when a secret is made.  A value is
in memory only.  Source: SwarmKit, manager/drivers; plugin protocol as in `vault.plugins`.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from vault.crypto.plaintext import Plaintext
from vault.model.names import SECRET_MAX_BYTES
from vault.plugins.errors import NotImplementedThere, PluginFailed, shown
from vault.plugins.exchange import ask
from vault.plugins.places import SOCKETS, SPECS, Place, find

CAPABILITY: Final = "secretprovider"
ANSWER_S: Final = 30.0  # For all of it, tries to connect and all.
CHECK_S: Final = 5.0  # While somebody waits at the command line.
AT_ONCE: Final = 16  # Questions under way; others wait their turn.

T = TypeVar("T")


class Port(msgspec.Struct, rename="pascal", frozen=True, kw_only=True, omit_defaults=True):
    """A port of the service, with the numbers that SwarmKit has for words."""

    name: str = ""
    protocol: int = 0  # tcp, udp, sctp
    target_port: int = 0
    published_port: int = 0
    publish_mode: int = 0  # ingress, host


class Endpoint(msgspec.Struct, rename="pascal", frozen=True, kw_only=True, omit_defaults=True):
    """How the service is reached."""

    mode: int = 0  # vip, dnsrr
    ports: tuple[Port, ...] = ()


class SecretRequest(msgspec.Struct, rename="pascal", frozen=True, kw_only=True, omit_defaults=True):
    """What a plugin is told of who wants which secret."""

    secret_name: str
    secret_labels: dict[str, str] = msgspec.field(default_factory=dict)
    service_hostname: str = ""  # As the service's spec has it.
    service_id: str = msgspec.field(name="ServiceID", default="")
    service_name: str = ""
    service_labels: dict[str, str] = msgspec.field(default_factory=dict)
    task_id: str = msgspec.field(name="TaskID", default="")
    task_name: str = ""
    task_image: str = ""
    node_id: str = msgspec.field(name="NodeID", default="")
    service_endpoint_spec: Endpoint | None = None


class _Answer(msgspec.Struct, rename="pascal"):
    """What a plugin says; its DoNotReuse is not read, since each task has the value that was given for it alone."""

    value: bytes | None = None  # base64
    err: str | None = None

    def __repr__(self) -> str:
        return f"_Answer({len(self.value or b'')} bytes)"


class _Activated(msgspec.Struct, rename="pascal"):
    implements: list[str] | None = None


class SecretPlugins:
    """The secret providers of this node."""

    def __init__(self, *, sockets: Path = SOCKETS, specs: tuple[Path, ...] = SPECS) -> None:
        self._sockets = sockets
        self._specs = specs
        self._active: dict[str, str] = {}  # By name, the place of each that said what it is.
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def check(self, name: str) -> None:
        """Raise a `VaultError` unless there is such a plugin, and it gives secrets."""
        with _named(name):
            async with asyncio.timeout(CHECK_S):
                await self._activated(name, patient=False)

    async def get(self, name: str, request: SecretRequest) -> Plaintext:
        """Return a secret's value for one task.  Raises a `VaultError`, whose text is fit for the task's status."""
        async with self._turns:
            with _named(name):
                async with asyncio.timeout(ANSWER_S):
                    place = await self._activated(name, patient=True)
                    body = await _posted(place, "/SecretProvider.GetSecret", msgspec.json.encode(request))
                    answer = _decoded(body, _Answer)
            if answer.err:
                raise PluginFailed(shown(answer.err))
            value = Plaintext(answer.value or b"")
            if not 0 < len(value) <= SECRET_MAX_BYTES:
                raise PluginFailed(
                    f"it gave {len(value)} bytes, and a secret has more than 0 and less than {SECRET_MAX_BYTES + 1}"
                )
            return value

    async def _activated(self, name: str, *, patient: bool) -> Place:
        """Return where a plugin is, once it has said that it gives secrets."""
        place = await asyncio.to_thread(find, name, sockets=self._sockets, specs=self._specs)
        if self._active.get(name) != str(place):
            answer = _decoded(await _posted(place, "/Plugin.Activate", b"", patient=patient), _Activated)
            if CAPABILITY not in (answer.implements or ()):
                raise NotImplementedThere(name, CAPABILITY)
            self._active[name] = str(place)
        return place


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say of a plugin that takes too long, which it is."""
    try:
        yield
    except TimeoutError:
        raise PluginFailed(f'plugin "{shown(name)}" did not answer in time') from None


async def _posted(place: Place, path: str, body: bytes, *, patient: bool = True) -> bytes:
    status, answer = await ask(place, path, body, patient=patient)
    if status != HTTPStatus.OK:
        try:
            said = msgspec.json.decode(answer, type=_Answer).err or ""
        except msgspec.MsgspecError:
            said = answer.decode(errors="replace")
        raise PluginFailed(shown(said) or f"the plugin at {place} answers with status {status}")
    return answer


def _decoded(body: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.MsgspecError:  # What it says could quote the value.
        raise PluginFailed("the plugin's answer is not what its protocol says") from None
