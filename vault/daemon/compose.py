"""vaultd put together: every part made once, in order, and ended in the reverse of it."""

import asyncio
import ctypes
import logging
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn
import uvloop

from vault.agent.executors.oci.executor import OciExecutor
from vault.agent.happenings import Happenings
from vault.agent.images.store import ImageStore
from vault.agent.machine import Machine
from vault.agent.values import Values
from vault.agent.volumes import VolumeStore
from vault.agent.worker import Worker
from vault.api.app import create_app
from vault.api.gateway import Gateway
from vault.api.ports import NodeInfo
from vault.crypto.keyfile import NodeKeys
from vault.daemon import server
from vault.daemon.containers import Containers
from vault.daemon.files import lock
from vault.daemon.identity import IdentityFiles
from vault.daemon.images import NodeImages
from vault.daemon.link import opener, wireguard_opener
from vault.daemon.logging import configure
from vault.daemon.machine import node_info
from vault.daemon.membership import Manager
from vault.daemon.memory import short_pauses
from vault.daemon.remote_server import listen, remote_server
from vault.daemon.settings import Settings
from vault.daemon.volumes import Volumes
from vault.dns.client import Names
from vault.model.overlay import OverlayChange
from vault.network.mesh.node import Mesh
from vault.network.node import NodeNetworks
from vault.network.wireguard.underlay import WireGuard
from vault.plugins.secret_provider import SecretPlugins

logger = logging.getLogger(__name__)
PR_SET_DUMPABLE = 4


def run(settings: Settings) -> int:
    """Run vaultd until a signal ends it; return its exit code.  Raises a `VaultError` when it cannot start."""
    configure(settings.log_level)
    no_core_dumps()
    held = lock(settings.data_root)
    try:
        return uvloop.run(_main(settings))
    finally:
        os.close(held)


def no_core_dumps() -> None:
    """Keep keys out of core files, and this process closed to other users' debuggers."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


async def _main(settings: Settings) -> int:
    listener = server.bind(settings)
    daemon = Daemon(settings)
    try:
        return await daemon.serve(listener)
    finally:
        listener.close()
        settings.socket.unlink(missing_ok=True)


class Daemon:
    """One vaultd."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failed = False
        self._served: list[uvicorn.Server] = []

    async def serve(self, listener: socket.socket) -> int:
        """Serve until told to end; 1 when a part that must not fail has failed."""
        settings = self._settings
        info = await asyncio.to_thread(node_info, settings)
        volumes = VolumeStore(settings.data_root / "volumes")
        images = await asyncio.to_thread(ImageStore, settings.data_root / "images")
        executor = await OciExecutor.open(
            data_root=settings.data_root,
            run_root=settings.run_root,
            volumes=volumes,
            allow_swappable=settings.allow_swappable_mounts,
        )
        wireguard = await WireGuard.open(settings.run_root)
        networks = await NodeNetworks.open(settings.run_root, wireguard)
        names = Names(settings.run_root)
        networks.listen(names, ready=names.ready)
        mesh = Mesh(settings.run_root)
        networks.listen(mesh)
        meshing = asyncio.create_task(mesh.run(), name="mesh")
        meshing.add_done_callback(self._ended)

        happenings = Happenings()

        def make_worker(keys: NodeKeys) -> Worker:
            node = {
                "id": keys.node_id,
                "hostname": settings.hostname,
                "architecture": info.architecture,
                "os": "linux",
            }
            networks.identify(keys.node_id)
            wireguard.join(wireguard_opener(keys))
            return Worker(
                Machine(
                    executor=executor,
                    images=images,
                    networks=networks,
                    encryption=wireguard,
                    happenings=happenings,
                    values=Values(opener(keys)),
                    node=node,
                )
            )

        manager = Manager(info, IdentityFiles(settings.data_root), make_worker, self._fail, lambda: gateway)
        local = Local(info, manager.worker, images, volumes, happenings)
        gateway = create_app(manager, local, check_driver=SecretPlugins().check)
        http = server.server(gateway)
        self._served.append(http)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._end)
        encrypting = asyncio.create_task(wireguard.run(), name="encryption")
        encrypting.add_done_callback(self._ended)
        try:
            await manager.start()
            if not manager.member:
                await executor.reap(())
                await networks.apply(OverlayChange(full=True))
                await networks.reap(())
            logger.info("serving", extra={"socket": str(settings.socket), "data_root": str(settings.data_root)})
            async with short_pauses(), self._served_remotely(gateway):
                await http.serve(sockets=[listener])
        finally:
            await manager.stop()
            encrypting.cancel()
            await executor.close()
            await networks.close()
            await names.close()
            meshing.cancel()
            await asyncio.wait({meshing, encrypting})
        return 1 if self._failed else 0

    @asynccontextmanager
    async def _served_remotely(self, gateway: Gateway) -> AsyncIterator[None]:
        """Serve the API over the network as well, if the operator wants that."""
        if (remote := self._settings.remote) is None:
            yield
            return
        served = remote_server(gateway, remote)
        self._served.append(served)
        with listen(remote) as listener:
            serving = asyncio.create_task(served.serve(sockets=[listener]))
            try:
                yield
            finally:
                served.should_exit = True
                await serving

    def _end(self) -> None:
        for served in self._served:
            served.should_exit = True

    def _ended(self, part: "asyncio.Task[None]") -> None:
        """End vaultd, loudly, when a part of it has failed that goes on for as long as it does."""
        if not part.cancelled() and (error := part.exception()) is not None:
            logger.error("part_failed", extra={"part": part.get_name()}, exc_info=error)
            self._fail()

    def _fail(self) -> None:
        self._failed = True
        self._end()


class Local(Containers, NodeImages, Volumes):
    """This node as the API sees it: containers, images and volumes; implements `vault.api.ports.LocalNode`."""

    def __init__(
        self,
        info: NodeInfo,
        worker: Callable[[], Worker | None],
        images: ImageStore,
        volumes: VolumeStore,
        happenings: Happenings,
    ) -> None:
        Containers.__init__(self, worker, happenings)
        NodeImages.__init__(self, images, worker)
        Volumes.__init__(self, volumes)
        self._info = info

    def info(self) -> NodeInfo:
        """Return what the machine is."""
        return self._info
