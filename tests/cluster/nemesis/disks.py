"""Disks that are full, and store files that were damaged: one manager refuses, says why, and comes back clean."""

import os
from pathlib import Path
from typing import ClassVar

from tests.cluster.nemesis.base import Fault
from tests.cluster.world import PORT

BALLAST = "ballast"


class FullDisk(Fault):
    """The disk of one manager is full, then no longer."""

    name = "disk full on a follower"
    leads: ClassVar[bool] = False
    lingers_s = (4.0, 8.0)

    def do(self) -> None:
        self.node = self.world.leader() if self.leads else self.some(self.world.followers())
        fill(self.world.node(self.node).data_root / BALLAST)

    def undo(self) -> None:
        (self.world.node(self.node).data_root / BALLAST).unlink(missing_ok=True)
        if self.world.node(self.node).pid("vaultd") is None:
            self.world.lab.start(self.node)


class FullDiskOfLeader(FullDisk):
    """The disk of the leader is full: another leads, or what it answers says so."""

    name = "disk full on the leader"
    leads = True


def fill(path: Path) -> None:
    """Write a file until nothing more fits on its file system."""
    size = 1 << 20
    with path.open("ab", buffering=0) as file:
        while size:
            try:
                file.write(os.urandom(size))
                os.fsync(file.fileno())
            except OSError:
                size //= 2


class Damage(Fault):
    """Store files of one manager are damaged while it is off: it refuses to serve, says why, and joins again clean."""

    lingers_s = (0.0, 0.5)

    def do(self) -> None:
        self.node = self.some(self.world.followers())
        self.world.lab.kill(self.node, "both")
        self.damage(self.world.node(self.node).data_root / "swarm" / "store")
        self.world.lab.start(self.node)
        self.world.until(self._refused, f"{self.node} refuses to serve its damaged store")

    def damage(self, store: Path) -> None:
        """Damage something under the store's directory."""
        raise NotImplementedError

    def _refused(self) -> bool:
        """Whether it says that its store is damaged, in one sentence; it must never serve from it."""
        status, said = self.world.tell(self.node, "GET", "/secrets")
        assert status != 200, f"{self.node} serves from a damaged store"
        said = (said or {}).get("message", "")
        return status == 503 and "damage" in said and "Traceback" not in said

    def undo(self) -> None:
        """Do what an operator does: leave here, remove there, join again."""
        if self.world.node(self.node).pid("vaultd") is None:
            self.world.lab.start(self.node)
        rejoin(self, self.node, "manager")


def rejoin(fault: Fault, name: str, role: str) -> None:
    """Have a node leave, be removed by the others, and join again; from whatever state it is in."""
    world = fault.world
    world.vault(name, "swarm", "leave", "--force", code=None)
    via = world.leader()
    for one in world.ask(via, "GET", "/nodes") or []:
        if one["Description"]["Hostname"] == name:
            world.vault(via, "node", "demote", one["ID"], code=None)
            world.vault(via, "node", "rm", "--force", one["ID"], code=None)
    token = world.vault(via, "swarm", "join-token", "-q", role).out.strip()
    address = world.node(name).address
    world.vault(
        name, "swarm", "join", "--token", token, "--advertise-addr", address, f"{world.node(via).address}:{PORT}"
    )


def _largest(store: Path, pattern: str) -> Path:
    found = [path for path in store.rglob(pattern) if path.is_file()]
    assert found, f"{store} has no {pattern}"
    return max(found, key=lambda path: path.stat().st_size)


def flip(path: Path, *, first: int, every: int, upto: int | None = None) -> None:
    """Change one bit of every so many bytes of a file, and nothing else."""
    content = bytearray(path.read_bytes())
    for at in range(first, min(len(content), upto or len(content)), every):
        content[at] ^= 1
    path.write_bytes(content)


class DamagedDatabase(Damage):
    """Bits are flipped all through etcd's database."""

    name = "database damaged on a follower"

    def damage(self, store: Path) -> None:
        flip(_largest(store, "db"), first=300 + self.chance.randrange(100), every=512)


class TruncatedDatabase(Damage):
    """Half of etcd's database is gone."""

    name = "database truncated on a follower"

    def damage(self, store: Path) -> None:
        database = _largest(store, "db")
        os.truncate(database, database.stat().st_size // 2)


class DamagedLog(Damage):
    """Bits are flipped in etcd's log of writes, where it was written."""

    name = "log damaged on a follower"

    def damage(self, store: Path) -> None:
        log = sorted(store.rglob("*.wal"))[0]
        flip(log, first=200 + self.chance.randrange(100), every=997, upto=30_000)


class TruncatedLog(Damage):
    """The log of writes ends early: acknowledged entries are gone, which is more than a torn tail."""

    name = "log truncated on a follower"

    def damage(self, store: Path) -> None:
        log = sorted(store.rglob("*.wal"))[0]
        os.truncate(log, 500 + self.chance.randrange(500))


class FlippedRecord(Damage):
    """One bit of one record in the newest part of the database: the smallest damage there is."""

    name = "one bit flipped on a follower"

    def damage(self, store: Path) -> None:
        path = _largest(store, "db")
        content = bytearray(path.read_bytes())
        places = [at for at in _all(bytes(content), b"/v1/secret/") if at + 300 < len(content)]
        for at in places:  # Every copy of every page, or the flip might be in one that is free.
            content[at + 120] ^= 1
        assert places, "no record to damage"
        path.write_bytes(content)


def _all(content: bytes, needle: bytes) -> list[int]:
    found, at = [], content.find(needle)
    while at >= 0:
        found.append(at)
        at = content.find(needle, at + 1)
    return found


class EngineFileGone(Damage):
    """The small file that names the engine is empty."""

    name = "engine file truncated on a follower"

    def damage(self, store: Path) -> None:
        os.truncate(store / "engine", 0)


DISKS = (
    FullDisk, FullDiskOfLeader, DamagedDatabase, TruncatedDatabase, DamagedLog, TruncatedLog, FlippedRecord,
    EngineFileGone,
)  # fmt: skip
