"""Whether this machine can encrypt overlay networks, and by what; and which other nodes it hears nothing of.

Not pure.  Called by `vault.network.wireguard.underlay`, for what a node says of itself, and by `vault doctor network`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault.network.kernel.namespaces import in_thread
from vault.network.links.kernel import links_named
from vault.network.wireguard.kernel import KernelDevice, kernel_can
from vault.network.wireguard.process import PROGRAM, TUN, ProcessDevice, prefix_of, process_can

KERNEL: Final = "kernel"
MISSING: Final = (
    f"this kernel has no WireGuard, and {PROGRAM} or {TUN} is not there: "
    f"load the kernel module wireguard, or install the package {PROGRAM}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was found."""

    by: str  # kernel | wireguard-go; "" = it cannot.
    silent: tuple[tuple[str, int], ...] = ()  # Address and UDP port of each node that keys were not exchanged with yet.

    @property
    def missing(self) -> str:
        """What is in the way, in a sentence; "" = nothing."""
        return "" if self.by else MISSING


async def probe() -> Probe:
    """Try a device of the kernel, then look for the program.  Takes a few milliseconds; leaves nothing behind."""
    if await in_thread(kernel_can):
        return Probe(by=KERNEL)
    return Probe(by=PROGRAM if process_can() else "")


async def probe_of(run_root: Path) -> Probe:
    """Look at the machine, and at the devices that the vaultd of a run root has there."""
    found = await probe()
    silent = []
    for name in links_named(prefix_of(run_root)):
        device = KernelDevice(name) if found.by == KERNEL else ProcessDevice(name, run_root)
        state = await device.state()
        silent += [(peer.endpoint, peer.port) for peer in (state.peers if state is not None else ()) if not peer.met]
    return Probe(by=found.by, silent=tuple(sorted(silent)))
