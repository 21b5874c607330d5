"""A WireGuard device of the kernel: made by rtnetlink, configured by generic netlink.

Not pure.  Used by `vault.network.wireguard.underlay`.  Acts on the network namespace of the calling thread.
"""

import asyncio
import errno
from collections.abc import Collection, Sequence
from typing import Final

from vault.crypto.wireguard_seal import WireGuardKey
from vault.network.kernel.links import Netlink
from vault.network.kernel.namespaces import in_thread, leave_for_new
from vault.network.kernel.netlink import NetlinkSocket
from vault.network.kernel.programs import NetworkFailed
from vault.network.wireguard import messages
from vault.network.wireguard.messages import State
from vault.network.wireguard.plan import Peer

KIND: Final = "wireguard"
_GENERIC: Final = 16  # NETLINK_GENERIC.


class KernelDevice:
    """One device; needs no process, and lives until it is deleted."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def state(self) -> State | None:
        """Return what it is; None when there is none."""
        return await in_thread(self._state)

    async def create(self, key: WireGuardKey, port: int) -> None:
        """Make it, without peers and down.  Raises `NetworkFailed`."""
        await in_thread(lambda: self._create(key, port))

    async def change(self, put: Sequence[Peer], remove: Sequence[bytes], speak: Collection[bytes]) -> None:
        """Remove peers, then add others or change them, and speak to some at once.  Raises `NetworkFailed`."""
        await in_thread(lambda: self._set(list(messages.change_peers(self.name, put, remove, speak))))

    async def ended(self) -> None:
        """Never return: it has no process that could end."""
        await asyncio.Event().wait()

    def clear(self) -> None:
        """Do nothing: a device that is deleted leaves nothing."""

    def _state(self) -> State | None:
        try:
            with NetlinkSocket(_GENERIC) as generic:
                return messages.state_in(generic.dump(_family(generic), messages.ask_state(self.name)))
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.ENOENT, errno.EOPNOTSUPP):
                return None
            raise self._failed(error) from None

    def _create(self, key: WireGuardKey, port: int) -> None:
        try:
            with Netlink() as links:
                links.add(self.name, KIND)
        except OSError as error:
            raise self._failed(error) from None
        self._set([messages.set_device(self.name, key, port)])

    def _set(self, requests: list[bytes]) -> None:
        try:
            with NetlinkSocket(_GENERIC) as generic:
                family = _family(generic)
                for body in requests:
                    generic.ask(family, 0, body)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> NetworkFailed:
        return NetworkFailed(f"WireGuard device {self.name}", error.strerror or str(error))


def _family(generic: NetlinkSocket) -> int:
    return messages.family_in(generic.ask(messages.CONTROL, 0, messages.ask_family()))


def kernel_can() -> bool:
    """Whether this kernel makes WireGuard devices: tries one, in a namespace of the calling thread's own.

    The thread never comes back from there: give it to `in_thread`.
    """
    try:
        leave_for_new()
        with Netlink() as links:
            links.add("probe", KIND)
    except OSError:
        return False
    return True
