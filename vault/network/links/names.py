"""Names, addresses and rules of a node's task links.

Pure.  Used by `vault.network.links.network`.  Everything that is named carries a tag drawn from the run root, so that
several vaultd on one machine never meet.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

import msgspec

SUBNET_PREFIX: Final = 20  # 4,092 tasks with published ports per node.
POOLS: Final = (IPv4Network("172.20.0.0/14"), IPv4Network("192.168.128.0/17"), IPv4Network("10.240.0.0/12"))
# None of the above: the mesh and a first task choose at the same time, and neither sees yet what the other took.
WIRE_POOLS: Final = (IPv4Network("172.30.0.0/16"), IPv4Network("192.168.96.0/20"), IPv4Network("10.239.0.0/16"))
WIRE_PREFIX: Final = 24  # Of which a wire takes the first two.
_TAG_CHARACTERS: Final = 6
_TASK_CHARACTERS: Final = 8
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the host that leads to a port of a task."""

    protocol: str  # tcp | udp
    published_port: int
    target_port: int


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A task's link, as its record in the run root has it."""

    task_id: str
    address: str
    bindings: tuple[Binding, ...]


class Names:
    """What this vaultd calls its things in the kernel."""

    def __init__(self, run_root: Path) -> None:
        drawn = int.from_bytes(hashlib.sha256(str(run_root).encode()).digest()[:8], "big")
        self.seed = drawn  # Where the search for a free subnet starts.
        tag = ""
        for _ in range(_TAG_CHARACTERS):
            drawn, digit = divmod(drawn, 36)
            tag += _DIGITS[digit]
        self.table = f"vault_{tag}"
        self.link_prefix = f"v{tag}"
        self.mesh_table = f"vault_{tag}_mesh"
        self.mesh_link = f"mesh{tag}"  # Not with the prefix: what is said of tasks' links is not said of it.

    def link(self, task_id: str) -> str:
        """Return the name of the host's end of a task's link: 15 characters, the kernel's limit."""
        return self.link_prefix + task_id[:_TASK_CHARACTERS]


def free_subnets(taken: Collection[IPv4Network], seed: int) -> Iterator[IPv4Network]:
    """Yield subnets for tasks that overlap nothing taken; the seed says where in each pool to begin."""
    return _free(POOLS, SUBNET_PREFIX, taken, seed)


def free_wires(taken: Collection[IPv4Network], seed: int) -> Iterator[IPv4Network]:
    """Yield subnets for the wire into the ingress overlay, that overlap nothing taken."""
    return _free(WIRE_POOLS, WIRE_PREFIX, taken, seed)


def _free(
    pools: Iterable[IPv4Network], prefix: int, taken: Collection[IPv4Network], seed: int
) -> Iterator[IPv4Network]:
    for pool in pools:
        subnets = list(pool.subnets(new_prefix=prefix))
        start = seed % len(subnets)
        for subnet in subnets[start:] + subnets[:start]:
            if not any(subnet.overlaps(other) for other in taken):
                yield subnet


def gateway(subnet: IPv4Network) -> IPv4Address:
    """Return the host's own address towards its tasks."""
    return subnet[1]


def free_address(subnet: IPv4Network, taken: Collection[str], after: IPv4Address) -> IPv4Address | None:
    """Return the next free address above `after`, going round; None when all are taken.

    Going round keeps a fresh task from getting packets that are still under way to an old one.
    """
    first, last = int(subnet[2]), int(subnet[-2])
    size = last - first + 1
    start = int(after) + 1 - first if first <= int(after) <= last else 0
    candidates = (IPv4Address(first + (start + n) % size) for n in range(size))
    return next((address for address in candidates if str(address) not in taken), None)


def whole_table(names: Names, subnet: IPv4Network, attachments: Iterable[Attachment]) -> str:
    """Return the nft script that replaces our table in one transaction.

    prerouting, output: a published port of any address of this host, 127.0.0.1 too, leads to its task.
    postrouting: what leaves for the world, comes from 127.0.0.1 or returns to tasks takes an address of the host.
    forward: nothing new reaches a task but through a published port.
    raw: no task sends under another's address, or to the 127.0.0.0/8 that `route_localnet` opened.
    """
    table, links = names.table, f'"{names.link_prefix}*"'
    elements = ", ".join(_element(each, binding) for each in attachments for binding in each.bindings)
    published = "fib daddr type local dnat ip to meta l4proto . th dport map @published"
    return f"""\
table ip {table} {{}}
delete table ip {table}
table ip {table} {{
  map published {{
    type inet_proto . inet_service : ipv4_addr . inet_service
    {f"elements = {{ {elements} }}" if elements else ""}
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    {published}
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    {published}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {subnet} masquerade
    ip saddr 127.0.0.0/8 oifname {links} masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname {links} ct state new ct status & dnat == 0 drop
  }}
  chain raw {{
    type filter hook prerouting priority raw; policy accept;
    iifname {links} ip saddr != {subnet} drop
    iifname {links} ip daddr 127.0.0.0/8 drop
  }}
}}
"""


def no_table(names: Names) -> str:
    """Return the nft script that removes our table, whether or not it is there."""
    return f"table ip {names.table} {{}}\ndelete table ip {names.table}\n"


def change_elements(verb: str, names: Names, attachment: Attachment) -> str:
    """Return the nft script that adds or deletes (verb) the ports of one task."""
    elements = ", ".join(_element(attachment, binding) for binding in attachment.bindings)
    return f"{verb} element ip {names.table} published {{ {elements} }}\n"


def _element(attachment: Attachment, binding: Binding) -> str:
    return f"{binding.protocol} . {binding.published_port} : {attachment.address} . {binding.target_port}"
