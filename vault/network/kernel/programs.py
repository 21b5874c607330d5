"""Programs that change the kernel's network parts (ip, nft, conntrack), and the error for what it refuses.

Not pure.  Used by every package here; a program acts on the network namespace of the calling thread.
"""

import asyncio
from typing import Final

from vault.model.errors import VaultError

_PROGRAM_TIMEOUT_S: Final = 10.0
_PACKAGES: Final = {"ip": "iproute2", "nft": "nftables", "conntrack": "conntrack"}


class NetworkFailed(VaultError):
    """The kernel or one of its programs refused a change."""

    def __init__(self, program: str, why: str) -> None:
        super().__init__(f"network set-up failed: {program}: {why}")
        self.program = program
        self.why = why


async def run(program: str, *arguments: str, script: str = "") -> str:
    """Run a program with a script as its input; return what it printed.  Raises `NetworkFailed`."""
    pipe = asyncio.subprocess.PIPE
    # A pipe for nothing could be closed before the nothing is written, which uvloop takes for an error.
    stdin = pipe if script else asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(program, *arguments, stdin=stdin, stdout=pipe, stderr=pipe)
    except FileNotFoundError:
        raise NetworkFailed(program, f"not installed: install the package {_PACKAGES[program]}") from None
    try:
        out, err = await asyncio.wait_for(process.communicate(script.encode() or None), _PROGRAM_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise NetworkFailed(program, f"no answer within {_PROGRAM_TIMEOUT_S:.0f} s: look at the kernel's log") from None
    if process.returncode != 0:
        lines = err.decode(errors="replace").strip().splitlines()
        raise NetworkFailed(program, lines[0] if lines else f"exit code {process.returncode}")
    return out.decode()
