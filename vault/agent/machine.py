"""What a runner works with: this node's executor, images, networks and values, as far as a task needs them.

Protocols and one value, without behaviour.  Put together by `vault.daemon.compose`; used by `vault.agent.runner`.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vault.agent.executors.port import Executor, Image
from vault.agent.happenings import Happenings
from vault.agent.images.credentials import Ask, nobody
from vault.agent.values import Values
from vault.model.node import EncryptionMeans
from vault.model.overlay import OverlayChange
from vault.model.service import PortConfig
from vault.model.task import Task
from vault.network.node import TaskNetwork


class Images(Protocol):
    """Where images come from."""

    def find(self, reference: str) -> Image | None:
        """Return the local image, or None."""
        ...

    async def ensure(self, reference: str, *, ask: Ask = nobody) -> Image:
        """Return the local image, or pull it with the credentials there are then; raises a `VaultError`."""
        ...


class Networks(Protocol):
    """The networks of the node."""

    def planned(self, task: Task) -> TaskNetwork | None:
        """Return what `create` will make; None when the task has neither links nor published ports."""
        ...

    async def create(self, task: Task) -> TaskNetwork | None:
        """Make the task's namespace with its links and published ports."""
        ...

    def published(self, task_id: str) -> tuple[PortConfig, ...]:
        """Return the ports that are open for a task, with the numbers that were chosen."""
        ...

    async def apply(self, change: OverlayChange) -> None:
        """Follow what the managers tell of overlay networks; tasks told with it start once this returns.

        One call at a time, each to its end.  What the kernel refuses is tried again from here: nothing is raised.
        """
        ...

    async def remove(self, task_id: str) -> None:
        """Remove a task's namespace, links and ports; nothing to do is no error."""
        ...

    async def reap(self, known: Collection[str]) -> None:
        """Remove what belongs to no known task."""
        ...


class Encryption(Protocol):
    """Encryption of overlay networks."""

    @property
    def means(self) -> EncryptionMeans | None:
        """What this node says of it; None when it cannot encrypt."""
        ...

    def follow(self, changed: Callable[[], None]) -> None:
        """Call something whenever `means` is another than before."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a runner works with."""

    executor: Executor
    images: Images
    networks: Networks
    values: Values
    encryption: Encryption | None = None
    happenings: Happenings = field(default_factory=Happenings)
    node: Mapping[str, str]  # id, hostname, os, architecture: for templates.
