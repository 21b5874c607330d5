"""This node's identity while it is in use: on disk, in the control plane's credentials, and in memory, always the same.

Not pure.  Made by `vault.daemon.membership`; changed by whatever learns something: renewal, the agent's session,
entering as a manager, the cluster's unlock key.  One change at a time.  Implements `vault.agent.connection.Memory`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import fields

from vault.daemon.finishing import finished
from vault.daemon.identity import Identity, IdentityFiles
from vault.rpc.credentials import Credentials
from vault.rpc.messages import ManagerAddress


class Holding:
    """The identity in force."""

    def __init__(self, files: IdentityFiles, identity: Identity) -> None:
        self.files = files
        self.identity = identity
        self.credentials = Credentials(
            trust=identity.roots, certificate=identity.certificate, key=identity.keys.tls_key
        )
        self._turn = asyncio.Lock()

    @property
    def node_id(self) -> str:
        """The node's id."""
        return self.identity.keys.node_id

    @property
    def cluster_id(self) -> str:
        """The cluster's id."""
        return self.identity.keys.cluster_id

    @property
    def epoch(self) -> tuple[int, int]:
        """The highest epoch that this node was told."""
        return self.identity.place.epoch

    @property
    def managers(self) -> tuple[ManagerAddress, ...]:
        """The managers that this node knows, the last leader first."""
        return tuple(ManagerAddress(node_id=node, addr=addr) for node, addr in self.identity.place.managers.items())

    async def change(self, change: Callable[[Identity], Identity]) -> Identity:
        """Put what `change` makes of the identity in force, and on disk; nothing is done when it is the same."""
        async with self._turn:
            before = self.identity
            after = change(before)
            if not _differs(before, after) and after.place == before.place:
                return before
            await finished(asyncio.to_thread(self._write, before, after))
            self.identity = after
            if (after.roots, after.certificate) != (before.roots, before.certificate):
                self.credentials.replace(trust=after.roots, certificate=after.certificate, key=after.keys.tls_key)
            return after

    async def remember_managers(self, managers: tuple[ManagerAddress, ...]) -> None:
        """Remember where managers answer, the last leader first."""
        known = {manager.node_id: manager.addr for manager in managers}
        await self.change(lambda identity: identity.moved(managers=known))

    async def remember_epoch(self, epoch: tuple[int, int]) -> None:
        """Remember the highest epoch that this node was told."""
        await self.change(lambda identity: identity.moved(generation=epoch[0], counter=epoch[1]))

    def _write(self, before: Identity, after: Identity) -> None:
        """Write only what differs, unless it is more than the place."""
        if _differs(before, after):
            self.files.write(after)
        else:
            self.files.write_place(after.place)


def _differs(before: Identity, after: Identity) -> bool:
    """Whether anything but the place was replaced.  Keys do not compare with what is none."""
    names = (field.name for field in fields(Identity) if field.name != "place")
    return any(getattr(before, name) is not getattr(after, name) for name in names)
