"""Several managers' stores over one ensemble, in virtual time: started, killed, stopped, cut off, and asked."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.raftstore.ensemble import Ensemble, MemberEngine
from tests.raftstore.virtual import VirtualLoop, start
from tests.raftstore.world import CLUSTER_ID, NOW_S, ROOT
from vault.raftstore.opening import Opened, found, load_when_possible
from vault.raftstore.store import Store


class Manager:
    """One node's store, as its vaultd runs it."""

    def __init__(self, managers: "Managers", name: str) -> None:
        self.name = name
        self.process = f"{name} {len(managers.led)} {asyncio.get_running_loop().time()}"  # Never the same again.
        self.engine = managers.engine(managers.ensemble, name)
        self.store: Store | None = None
        self.leading: tuple[int, int] | None = None  # The epoch that its `lead` runs in.
        self.managers = managers
        self.running = start(self.process, self._run())

    async def _run(self) -> None:
        loaded = await load_when_possible(self.engine, root=ROOT, cluster_id=CLUSTER_ID)
        opened = Opened(
            engine=self.engine,
            root=ROOT,
            ledger=loaded.ledger,
            snapshot=loaded.snapshot,
            newest=loaded.newest,
            reading=loaded.reading,
            alone=False,
            directory=Path(),
            release=lambda: None,
        )
        self.store = Store(opened, self.managers.wall, node_id=self.name)
        await self.store.run(self._lead)

    async def _lead(self) -> None:
        assert self.store is not None
        assert self.leading is None
        self.leading = self.store.epoch
        self.managers.led.append((self.name, self.leading))
        try:
            await asyncio.sleep(1e9)
        finally:
            assert self.store.epoch == self.leading, "what a leader sends is of its own epoch to the end"
            self.leading = None


class Managers:
    """A cluster of managers."""

    def __init__(
        self,
        *names: str,
        seed: int = 0,
        wall: Callable[[], float] = lambda: NOW_S,
        engine: type[MemberEngine] = MemberEngine,
    ) -> None:
        self.engine = engine
        self.ensemble = Ensemble(names, seed)
        self.wall = wall
        self.all: dict[str, Manager] = {}
        self.killed: list[Manager] = []
        self.led: list[tuple[str, tuple[int, int]]] = []

    async def found(self) -> "Managers":
        """Write the first commit, start everybody, and wait for a leader."""
        engine = MemberEngine(self.ensemble, self.ensemble.names[0])
        await found(engine, root=ROOT, cluster_id=CLUSTER_ID, now=self.wall, changes=())
        for name in self.ensemble.names:
            self.start(name)
        await self.leader()
        return self

    def start(self, name: str) -> Manager:
        self.all[name] = Manager(self, name)
        return self.all[name]

    def kill(self, name: str) -> None:
        """`kill -9` of vaultd and etcd."""
        self.stop(name)
        self.killed.append(self.all.pop(name))
        self.ensemble.cut_off(name)

    def start_again(self, name: str) -> Manager:
        """Start a killed manager."""
        self.ensemble.heal(name)
        return self.start(name)

    def stop(self, name: str) -> None:
        """SIGSTOP of vaultd alone."""
        self._loop().freeze(self.all[name].process)

    def go_on(self, name: str) -> None:
        self._loop().thaw(self.all[name].process)

    def _loop(self) -> VirtualLoop:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        return loop

    def store(self, name: str) -> Store:
        store = self.all[name].store
        assert store is not None
        return store

    async def leader(self, *, but: str = "", limit_s: float = 30.0) -> Store:
        """Wait until a manager leads whose store is not `but`'s, and return its store."""
        async with asyncio.timeout(limit_s):
            while True:
                for name, manager in self.all.items():
                    if name != but and manager.store is not None and manager.store.leads and manager.leading:
                        return manager.store
                await asyncio.sleep(0.01)
