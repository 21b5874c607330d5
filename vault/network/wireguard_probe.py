"""Whether this machine can encrypt overlay networks, and by what.

Not pure.  Called by `vault.network.wireguard`, for what a node says of itself, and by `vault doctor network`.
"""

from dataclasses import dataclass
from typing import Final

from vault.network.namespaces import in_thread
from vault.network.wireguard_kernel import kernel_can
from vault.network.wireguard_process import PROGRAM, TUN, process_can

KERNEL: Final = "kernel"
MISSING: Final = (
    f"this kernel has no WireGuard, and {PROGRAM} or {TUN} is not there: "
    f"load the kernel module wireguard, or install the package {PROGRAM}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was found."""

    by: str  # kernel | wireguard-go; "" = it cannot.

    @property
    def missing(self) -> str:
        """What is in the way, in a sentence; "" = nothing."""
        return "" if self.by else MISSING


async def probe() -> Probe:
    """Try a device of the kernel, then look for the program.  Takes a few milliseconds; leaves nothing behind."""
    if await in_thread(kernel_can):
        return Probe(by=KERNEL)
    return Probe(by=PROGRAM if process_can() else "")
