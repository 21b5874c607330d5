"""This node's volumes as the API shows them.  Translates only; `vault.agent.volumes` does the work, in threads."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence

from vault.agent import volumes as agent_volumes
from vault.api.ports import Volume


class Volumes:
    """The volume part of `vault.api.ports.LocalNode`."""

    def __init__(self, store: agent_volumes.VolumeStore) -> None:
        self._volumes = store

    async def volumes(self) -> Sequence[Volume]:
        """Return all volumes by name."""
        return [_shown(volume) for volume in await asyncio.to_thread(self._volumes.list)]

    async def volume(self, name: str) -> Volume:
        """Return one volume; raises `NoSuchVolume`."""
        return _shown(await asyncio.to_thread(self._volumes.get, name))

    async def create_volume(
        self, name: str, *, driver: str, labels: Mapping[str, str], options: Mapping[str, str]
    ) -> Volume:
        """Make a volume, or return the one that has the name; "" draws a name of 64 hexadecimal digits."""
        made = await asyncio.to_thread(
            self._volumes.create, name or secrets.token_hex(32), driver=driver, labels=labels, options=options
        )
        return _shown(made)

    async def remove_volume(self, name: str, *, force: bool) -> None:
        """Delete a volume; raises `Conflict` while a container uses it."""
        await asyncio.to_thread(self._volumes.remove, name, force=force)


def _shown(volume: agent_volumes.Volume) -> Volume:
    return Volume(
        name=volume.name,
        mountpoint=volume.mountpoint,
        created_at=volume.created_at,
        driver=volume.driver,
        labels=volume.labels or {},
        options=volume.options or {},
    )
