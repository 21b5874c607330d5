"""What WireGuard devices need around them: addresses, routes, and rules that let nothing in or out unencrypted.

Not pure.  Used by `vault.network.wireguard.underlay`.  Acts on the network namespace of the calling thread.
"""

import errno
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Final

from vault.network.kernel.links import Netlink, address, no_route, route
from vault.network.kernel.namespaces import in_thread, set_here
from vault.network.kernel.netlink import Failure, Request
from vault.network.kernel.programs import NetworkFailed, run
from vault.network.links.kernel import delete_link, links_named
from vault.network.overlay.names import TUNNEL_POOL, TUNNEL_PORT
from vault.network.wireguard.plan import OVERHEAD_BYTES

_LOOPBACK: Final = "lo"
_USUAL_MTU: Final = 1500
_LOOSE: Final = "2"  # A peer's packet may come by another device than the one that leads to it.
_LAST_METRIC: Final = str((1 << 32) - 1)
_GONE: Final = (errno.ESRCH, errno.ENODEV, errno.ENOENT)


class Links:
    """The devices of one vaultd, by the names they have."""

    def __init__(self, prefix: str, table: str) -> None:
        """prefix: of their names.  table: of the rules of this vaultd; ours has a name of its own."""
        self._prefix = prefix
        self._table = f"{table}_wg"
        self._ours = "{ " + ", ".join(f'"{prefix}{slot}"' for slot in (0, 1)) + " }"

    async def names(self) -> list[str]:
        """Return the devices that there are."""
        return links_named(self._prefix)

    async def guard(self) -> None:
        """Have the rules: see `rules`.  Raises `NetworkFailed`."""
        await run("nft", "-f", "-", script=self.rules())
        await run("ip", "route", "replace", "unreachable", str(TUNNEL_POOL), "metric", _LAST_METRIC)

    async def no_guard(self) -> None:
        """Take the rules away."""
        await run("nft", "-f", "-", script=f"table inet {self._table}\ndelete table inet {self._table}\n")
        with suppress(NetworkFailed):  # The machine was restarted: it is gone.
            await run("ip", "route", "delete", "unreachable", str(TUNNEL_POOL), "metric", _LAST_METRIC)

    def rules(self) -> str:
        """Return the script of the rules.

        Packets of encrypted overlays come in by the devices and go out by them, even when there is none at the moment;
        nothing else does, so that a peer reaches no service of this node, and nothing behind it.
        """
        ours, port = self._ours, TUNNEL_PORT
        return f"""table inet {self._table}
delete table inet {self._table}
table inet {self._table} {{
    chain incoming {{
        type filter hook input priority raw; policy accept;
        iifname {ours} udp dport {port} accept
        iifname {ours} drop
        udp dport {port} drop
    }}
    chain through {{
        type filter hook forward priority raw; policy accept;
        iifname {ours} drop
        oifname {ours} drop
    }}
    chain outgoing {{
        type filter hook output priority raw; policy accept;
        oifname {ours} accept
        udp dport {port} drop
    }}
}}
"""

    async def set_up(self, name: str, own: IPv4Address) -> None:
        """Give a device its address and size, and bring it up.  Raises `NetworkFailed`."""

        def work() -> None:
            with Netlink() as links:
                index = links.index(name)
                found = [link.mtu for link in links.links() if link.name != _LOOPBACK and not self._is_ours(link.name)]
                links.change(index, mtu=max(found, default=_USUAL_MTU) - OVERHEAD_BYTES)
                _refused(links.batch([address(index, IPv4Interface(own))]))
                links.up(name)
            if Path(f"/proc/sys/net/ipv4/conf/{name}").exists():
                set_here(f"ipv4/conf/{name}/rp_filter", _LOOSE)

        await _carry_out(name, work)

    async def delete(self, name: str) -> None:
        """Delete a device, its routes with it; none of that name is no error.  Raises `NetworkFailed`."""
        await delete_link(name)

    async def ways(self) -> dict[IPv4Address, str]:
        """Return which of our devices lead to which address."""
        found = json.loads(await run("ip", "-4", "-json", "route", "show", "root", str(TUNNEL_POOL)) or "[]")
        return {
            IPv4Address(one["dst"]): one["dev"]
            for one in found
            if self._is_ours(one.get("dev", "")) and "/" not in one["dst"]
        }

    async def lead(self, own: IPv4Address, held: Mapping[IPv4Address, str], wanted: Mapping[IPv4Address, str]) -> None:
        """Change the ways to peers; each is replaced in one step.  Raises `NetworkFailed`."""
        gone = [(peer, device) for peer, device in held.items() if peer not in wanted]
        other = [(peer, device) for peer, device in wanted.items() if held.get(peer) != device]
        if not gone and not other:
            return

        def work() -> None:
            with Netlink() as links:
                numbers = {link.name: link.number for link in links.links()}
                requests: list[Request] = [
                    no_route(numbers[device], IPv4Network(peer)) for peer, device in gone if device in numbers
                ]
                requests += [route(numbers[device], IPv4Network(peer), source=own) for peer, device in other]
                _refused(links.batch(requests))

        await _carry_out(self._prefix, work)

    def _is_ours(self, name: str) -> bool:
        return name.startswith(self._prefix)


async def _carry_out(name: str, work: Callable[[], None]) -> None:
    try:
        await in_thread(work)
    except (OSError, KeyError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else "it is gone"
        raise NetworkFailed(f"WireGuard device {name}", why) from None


def _refused(failures: list[Failure]) -> None:
    """Raise the first error that is not of something that was gone already."""
    for _, error in failures:
        if error.errno not in _GONE:
            raise error
