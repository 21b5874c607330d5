"""Members of etcd as vaultd runs them: peers with mutual TLS, on loopback addresses of their own."""

import asyncio
import itertools
import os
from datetime import UTC, datetime
from pathlib import Path

from vault.crypto.certificates import new_tls_key
from vault.crypto.peers import issue_peer, new_peer_authority, request_peer, revocation_list
from vault.raftstore.engines.etcd import EtcdEngine
from vault.raftstore.engines.etcd_process import start_etcd
from vault.raftstore.engines.etcd_settings import EtcdSettings

CLUSTER = "c" * 25
_ports = itertools.count(20_000 + os.getpid() * 3 % 12_000)
"""Where peers listen: below the ports that the kernel gives to connections."""


class Peers:
    """The peer CA, and members 1, 2, … of one cluster, each with a directory under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.authority = new_peer_authority(now=datetime.now(UTC))
        self.crl = root / "revoked.pem"
        self.engines: list[EtcdEngine] = []
        self.serials: dict[int, str] = {}
        self.port = next(_ports)
        self.revoke()

    def settings(self, number: int, *others: int, joining: bool = False) -> EtcdSettings:
        """Return what member `number` starts with, which knows the others."""
        address, name = f"127.11.0.{number}", f"node{number}"
        key = new_tls_key()
        certificate, self.serials[number] = issue_peer(
            self.authority,
            request_peer(key),
            cluster_id=CLUSTER,
            node_id=name,
            address=address,
            now=datetime.now(UTC),
        )
        directory = self.root / str(number) / "etcd-move1"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return EtcdSettings(
            name=name,
            directory=directory,
            peer_address=f"{address}:{self.port}",
            initial_cluster={f"node{other}": self.url(other) for other in others},
            joining=joining,
            peer_ca_pem=self.authority.certificate_pem,
            peer_cert_pem=certificate,
            peer_key=key,
            crl=self.crl,
            heartbeat_ms=20,
            election_ms=200,
        )

    def url(self, number: int) -> str:
        return f"https://127.11.0.{number}:{self.port}"

    async def start(self, settings: EtcdSettings) -> EtcdEngine:
        self.engines.append(engine := await start_etcd(settings))
        return engine

    async def first(self) -> EtcdEngine:
        return await self.start(self.settings(1))

    async def together(self, count: int) -> list[EtcdEngine]:
        """Start members that begin a cluster together; vaultd's never do, but it is quicker."""
        numbers = range(1, count + 1)
        settings = [self.settings(number, *(other for other in numbers if other != number)) for number in numbers]
        return await asyncio.gather(*(self.start(one) for one in settings))

    async def join(self, number: int, through: EtcdEngine) -> EtcdEngine:
        """Add a member, start it and let it vote."""
        others = [int(member.name.removeprefix("node")) for member in await through.members()]
        added = await through.add_member(self.url(number))
        engine = await self.start(self.settings(number, *others, joining=True))
        await through.promote_member(added.id)
        return engine

    def revoke(self, *numbers: int) -> None:
        """Shut members out by their certificates."""
        serials = tuple(self.serials[number] for number in numbers)
        self.crl.write_bytes(revocation_list(self.authority, serials, now=datetime.now(UTC)))

    async def close(self) -> None:
        """End all; most of them at once, so there is nobody to hand the lead to."""
        await asyncio.gather(*(engine.close() for engine in self.engines))
