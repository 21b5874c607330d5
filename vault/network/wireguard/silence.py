"""Peers that should have exchanged keys with this node long ago: something is in the way, a firewall most likely.

Pure.  Used by `vault.network.wireguard.underlay`, which tells the log, and by `vault doctor network`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from vault.network.wireguard.plan import Plan

OVERDUE_S: Final = 30.0  # Six times as long as the longest pause between two tries.
SHOWN: Final = 16  # Addresses in one event.


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """The peers of one device that were not met."""

    epoch: int
    port: int  # UDP, on which their devices of that epoch listen, as does ours.
    addresses: tuple[str, ...]  # Of the nodes; sorted.

    @property
    def fields(self) -> dict[str, object]:
        """What the log is told."""
        return {
            "epoch": self.epoch,
            "udp_port": self.port,
            "peers": list(self.addresses[:SHOWN]),
            "count": len(self.addresses),
        }


class Silence:
    """Remembers since when each peer has been waited for."""

    def __init__(self) -> None:
        self._since_s: dict[tuple[int, bytes], float] = {}
        self.overdue: dict[int, Silent] = {}  # By epoch.

    def look(self, plan: Plan | None, met: Mapping[str, Collection[bytes]], now_s: float) -> tuple[Silent, ...]:
        """Return what is to be told: for an epoch whose overdue peers are others than before, those that are now.

        plan: None while this node is on no encrypted network.  met: public keys, by device.
        """
        waiting = {
            (device.epoch, public_key): peer
            for device in (plan.devices if plan is not None else ())
            for public_key, peer in device.peers.items()
            if public_key not in met.get(device.name, ())
        }
        self._since_s = {key: self._since_s.get(key, now_s) for key in waiting}
        found: dict[int, set[str]] = {}
        ports: dict[int, int] = {}
        for (epoch, public_key), peer in waiting.items():
            if now_s - self._since_s[epoch, public_key] >= OVERDUE_S:
                found.setdefault(epoch, set()).add(peer.endpoint)
                ports[epoch] = peer.port
        before, self.overdue = (
            self.overdue,
            {
                epoch: Silent(epoch=epoch, port=ports[epoch], addresses=tuple(sorted(addresses)))
                for epoch, addresses in found.items()
            },
        )
        live = {device.epoch for device in plan.devices} if plan is not None else set()
        answered = (
            Silent(epoch=epoch, port=old.port, addresses=())
            for epoch, old in before.items()
            if epoch in live and epoch not in self.overdue
        )
        return (*(one for epoch, one in self.overdue.items() if before.get(epoch) != one), *answered)
