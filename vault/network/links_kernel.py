"""What `vault.network.links` does to the kernel: namespaces, links, and the programs ip, nft and
conntrack.

Not pure.  Everything here acts on the network namespace of the calling thread, and so on the host's.
"""

import asyncio
import errno
import json
import socket
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

from vault.model.errors import VaultError
from vault.network.links_netlink import LOOPBACK, Netlink, address_to, default_route, up, without_ipv6
from vault.network.namespaces import enter, enter_new, in_thread, is_namespace

_PROGRAM_TIMEOUT_S: Final = 10.0
_FLOW_ATTEMPTS: Final = 5
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


async def make_link(path: Path, link: str, *, host: IPv4Address, task: IPv4Address, device: str = "eth0") -> None:
    """Make a task's link to the host, called `device` in its namespace, which is made if `path` does not exist.

    Raises `NetworkFailed`.
    """
    await in_thread(lambda: _make_link(path, link, host, task, device))
    _let_loopback_through(link)


def _let_loopback_through(link: str) -> None:
    """Let packets from 127.0.0.1 leave through a link, so that `localhost:PORT` reaches the task."""
    Path(f"/proc/sys/net/ipv4/conf/{link}/route_localnet").write_text("1")


def _make_link(path: Path, link: str, host: IPv4Address, task: IPv4Address, device: str) -> None:
    try:
        with Netlink() as here:
            if is_namespace(path):
                enter(path)
            else:
                enter_new(path)
            with Netlink() as there, path.open("rb") as namespace:
                here.add_pair(link, device, namespace.fileno())
                near, far = here.index(link), there.index(device)
                here.carry_out([address_to(near, host, task), without_ipv6(near), up(near)])
                there.carry_out(
                    [
                        *(without_ipv6(LOOPBACK), up(LOOPBACK)),
                        *(address_to(far, task, host), without_ipv6(far), up(far), default_route(far, host)),
                    ]
                )
                here.until_carrying(link)
                there.until_carrying(device)
    except OSError as error:
        raise NetworkFailed(f"link {link}", error.strerror or str(error)) from None


async def delete_link(link: str) -> None:
    """Delete a link; none of that name is no error.  The kernel takes its time (20 ms).  Raises `NetworkFailed`."""
    await in_thread(lambda: _delete_link(link))


def _delete_link(link: str) -> None:
    try:
        with Netlink() as here:
            here.delete(link)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise NetworkFailed(f"link {link}", error.strerror or str(error)) from None


async def taken_networks() -> list[IPv4Network]:
    """Return every IPv4 network that a route of this host mentions, the default route apart."""
    routes = json.loads(await run("ip", "-4", "-json", "route", "show", "table", "all") or "[]")
    return [IPv4Network(route["dst"], strict=False) for route in routes if route["dst"] != "default"]


async def forget_flows(*which: str) -> None:
    """Make the kernel forget UDP flows, which otherwise keep going where they went before; none is no error."""
    for _ in range(_FLOW_ATTEMPTS):
        try:
            await run("conntrack", "--delete", "--proto", "udp", *which)
        except NetworkFailed as failed:
            if "0 flow entries" in failed.why:
                return
            if "doesn't exist" not in failed.why:  # A flow that ended by itself meanwhile stops the program.
                raise
        else:
            return


def links_named(prefix: str) -> list[str]:
    """Return the names of this host's links that begin with the prefix."""
    return [name for _, name in socket.if_nameindex() if name.startswith(prefix)]


def forward_packets() -> bool:
    """Let this host forward IPv4, as Docker does; return whether that was a change."""
    switch = Path("/proc/sys/net/ipv4/ip_forward")
    if switch.read_text().strip() == "1":
        return False
    switch.write_text("1")
    return True
