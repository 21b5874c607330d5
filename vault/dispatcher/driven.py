"""Values that a driver gives for one task each: asked for while the node's other messages go on, and handed over once.

Not pure.  Called by `vault.dispatcher.stream`, one for each session.  What was given is held until the message that
carries it is made, and never longer than its task may have it.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final, Generic, Protocol, TypeVar

from vault.crypto import Plaintext
from vault.dispatcher.assignments import ValueKey, Wanted
from vault.model.errors import VaultError
from vault.model.secret import Secret
from vault.model.service import EndpointSpec, PortConfig
from vault.plugins.secret_provider import Endpoint, Port, SecretRequest
from vault.store.snapshot import Snapshot

logger = logging.getLogger(__name__)

# Words as SwarmKit numbers them on the wire.
_MODES: Final = ("vip", "dnsrr")
_PROTOCOLS: Final = ("tcp", "udp", "sctp")
_PUBLISH_MODES: Final = ("ingress", "host")


class SecretDrivers(Protocol):
    """Who is asked; `vault.plugins.secret_provider.SecretPlugins` is one."""

    async def get(self, name: str, request: SecretRequest, /) -> Plaintext:
        """Return the value of a secret for one task.  Raises a `VaultError` that says why there is none."""
        ...


class Job(Protocol):
    """A question to a driver."""

    def done(self) -> bool:
        """Whether there is an answer."""
        ...

    def result(self) -> Plaintext | str:
        """Return the answer: a value, or why there is none."""
        ...

    def cancel(self) -> object:
        """Ask no longer."""
        ...


JobT = TypeVar("JobT", bound=Job)


class Asked(Generic[JobT]):
    """Which values for one node's tasks drivers were asked for; how they are asked is the affair of `begin`."""

    def __init__(self, begin: Callable[[Wanted, Snapshot], JobT]) -> None:
        self._begin = begin
        self._jobs: dict[ValueKey, JobT] = {}

    @property
    def under_way(self) -> frozenset[ValueKey]:
        """What was asked for and not passed on yet."""
        return frozenset(self._jobs)

    def ask(self, wanted: Collection[Wanted], snap: Snapshot) -> frozenset[ValueKey]:
        """Ask for what is wanted and was not asked for, drop the rest, and return what has no answer yet."""
        driven = {one.key: one for one in wanted if one.task is not None}
        for key in self._jobs.keys() - driven.keys():
            self._jobs.pop(key).cancel()
        for key, one in driven.items():
            if key not in self._jobs:
                self._jobs[key] = self._begin(one, snap)
        return frozenset(key for key, job in self._jobs.items() if not job.done())

    def answer(self, key: ValueKey) -> Plaintext | str:
        """Return an answer that is there: a value, or why there is none."""
        return self._jobs[key].result()

    def forget(self, key: ValueKey) -> None:
        """Drop an answer that was passed on."""
        self._jobs.pop(key, None)

    def drop(self) -> list[JobT]:
        """Ask for nothing any more; return what was under way."""
        jobs, self._jobs = list(self._jobs.values()), {}
        for job in jobs:
            job.cancel()
        return jobs


class Driven(Asked[asyncio.Task[Plaintext | str]]):
    """What one node's tasks get from the drivers of this manager."""

    def __init__(self, drivers: SecretDrivers, wake: Callable[[], None]) -> None:
        """wake: called when an answer is there, to make the next message."""
        super().__init__(lambda wanted, snap: asyncio.create_task(self._asked(wanted, snap)))
        self._drivers = drivers
        self._wake = wake

    async def close(self) -> None:
        """Break off what is being asked."""
        await asyncio.gather(*self.drop(), return_exceptions=True)

    async def _asked(self, wanted: Wanted, snap: Snapshot) -> Plaintext | str:
        secret, task = wanted.obj, wanted.task
        assert isinstance(secret, Secret)
        assert secret.spec.driver is not None
        assert task is not None
        try:
            return await self._drivers.get(secret.spec.driver.name, request_of(wanted, snap))
        except VaultError as error:
            logger.warning(
                "secret_driver_gave_nothing",
                extra={
                    "secret": secret.spec.name,
                    "driver": secret.spec.driver.name,
                    "task_id": task.id,
                    "reason": error.message,
                },
            )
            return why_none(secret, error)
        finally:
            asyncio.get_running_loop().call_soon(self._wake)  # By then this job is done.


def why_none(secret: Secret, error: VaultError) -> str:
    """Return what a task is told when a driver gave nothing."""
    driver = secret.spec.driver.name if secret.spec.driver is not None else ""
    return f"failed to get secret {secret.spec.name} from driver {driver}: {error.message}"


def request_of(wanted: Wanted, snap: Snapshot) -> SecretRequest:
    """Return what a driver is told of who wants which secret."""
    task, secret = wanted.task, wanted.obj
    assert task is not None
    assert isinstance(secret, Secret)
    container = task.spec.container_spec
    service = snap.services.get(task.service_id)
    endpoint = service.spec.endpoint_spec if service is not None else None
    return SecretRequest(
        secret_name=secret.spec.name,
        secret_labels=secret.spec.labels,
        service_hostname=container.hostname,
        service_id=task.service_id,
        service_name=task.service_name,
        service_labels=task.service_labels,
        task_id=task.id,
        task_name=task.name,
        task_image=container.image,
        node_id=task.node_id,
        service_endpoint_spec=None if endpoint is None else _endpoint(endpoint),
    )


def _endpoint(spec: EndpointSpec) -> Endpoint:
    return Endpoint(mode=_MODES.index(spec.mode or "vip"), ports=tuple(map(_port, spec.ports)))


def _port(port: PortConfig) -> Port:
    return Port(
        name=port.name,
        protocol=_PROTOCOLS.index(port.protocol),
        target_port=port.target_port,
        published_port=port.published_port,
        publish_mode=_PUBLISH_MODES.index(port.publish_mode),
    )
