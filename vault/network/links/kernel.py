"""What `vault.network.links.network` does to the kernel: namespaces, links, and the programs ip, nft and
conntrack.

Not pure.  Everything here acts on the network namespace of the calling thread, and so on the host's.
"""

import errno
import json
import socket
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

from vault.network.kernel.links import LOOPBACK, Netlink, address_to, default_route, up, without_ipv6
from vault.network.kernel.namespaces import enter, enter_new, in_thread, is_namespace
from vault.network.kernel.programs import NetworkFailed, run

_FLOW_ATTEMPTS: Final = 5


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
