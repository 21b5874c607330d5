"""When to speak to a peer that was not met yet: one of the two first, the other after a while, both ever more rarely.

Pure.  Used by `vault.network.wireguard.underlay`.  WireGuard itself tries anew after 5 s only.  And where both spoke
at the same moment, wireguard-go was seen to stand still for seconds; the cause was not isolated.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from vault.network.wireguard.plan import Peer

SPEAK_S: Final = (0.05, 5.0)  # Between tries: at first, and at most.
LISTEN_S: Final = 0.5  # Until the one speaks that is not the first: after a restart only it knows that it has to.


@dataclass(slots=True)
class _Unmet:
    due_s: float
    pause_s: float = SPEAK_S[0]


class Contacts:
    """The peers of one device that were not met yet."""

    def __init__(self) -> None:
        self._unmet: dict[bytes, _Unmet] = {}

    def due(self, peers: Mapping[bytes, Peer], met: Collection[bytes], now_s: float) -> set[bytes]:
        """Return the public keys of the peers to speak to now; the next time they are due later."""
        self._unmet = {key: one for key, one in self._unmet.items() if key in peers and key not in met}
        due: set[bytes] = set()
        for public_key, peer in peers.items():
            if public_key in met:
                continue
            if (unmet := self._unmet.get(public_key)) is None:
                unmet = self._unmet[public_key] = _Unmet(now_s if peer.first else now_s + LISTEN_S)
            if unmet.due_s <= now_s:
                due.add(public_key)
                unmet.due_s = now_s + unmet.pause_s
                unmet.pause_s = min(2 * unmet.pause_s, SPEAK_S[1])
        return due
