"""Packet rules of one overlay network's namespace: virtual addresses, and what keeps its tasks honest.

Pure: nft scripts, each one transaction.  Used by `overlay.overlays`.  Maps and chains of `table inet vault`:
- `to4`, `to6`: virtual address -> chain of the service; the chain picks its backends in turn.  Sources are kept.
- `vips4`, `vips6`: every virtual address; what is for one and was led nowhere is refused at once.
- What another node sends to a task that is no longer here is refused at once, too, and never sent on.
- `own4`, `own6`: (address, same address) of the tasks here.  A task that reaches itself through a virtual address
  would answer itself directly, so such a flow takes the gateway's address.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from ipaddress import ip_address
from typing import Final

from vault.network.kernel.links import Address
from vault.network.overlay.reach import ReachChange, VirtualService

TABLE: Final = "inet vault"
_PLAIN: Final = re.compile(r"[a-z0-9]{1,40}")


def whole_table(
    services: Mapping[str, VirtualService], own: Iterable[str], gateways: Iterable[Address], device: str
) -> str:
    """Return the script that replaces the table, whatever there was.

    gateways: addresses of the namespace itself.  device: where what is for other nodes leaves.
    """
    adds = [line for service_id in sorted(services) for line in _added(service_id, services[service_id])]
    adds += _own("add", own)
    lines = [f"table {TABLE} {{}}", f"delete table {TABLE}", _frame(tuple(gateways), device), *adds]
    return "\n".join(lines) + "\n"


def changed_table(change: ReachChange) -> str:
    """Return the script for what is new; empty when nothing is."""
    lines = list(_own("delete", change.removed_own))
    added: list[str] = []  # After all removals: an address may pass from one service to another.
    for service_id in sorted(change.services):
        before, after = change.services[service_id]
        if before is not None and after is not None and before.vips == after.vips:
            lines += _refilled(service_id, after)
            continue
        lines += _removed(service_id, before) if before is not None else ()
        added += _added(service_id, after) if after is not None else ()
    lines += added
    lines += _own("add", change.own)
    return "".join(line + "\n" for line in lines)


def _frame(gateways: tuple[Address, ...], device: str) -> str:
    """Return the table without services.

    raw: a task sends under no address but its own, which IPv4's reverse path filter sees to as well.
    """
    by_version = {gateway.version: gateway for gateway in reversed(gateways)}
    hairpins = ""
    if 4 in by_version:
        hairpins += f"    ip saddr . ip daddr @own4 snat ip to {by_version[4]}\n"
    if 6 in by_version:
        hairpins += f"    ip6 saddr . ip6 daddr @own6 snat ip6 to {by_version[6]}\n"
    return f"""\
table {TABLE} {{
  map to4 {{ type ipv4_addr : verdict; }}
  map to6 {{ type ipv6_addr : verdict; }}
  set vips4 {{ type ipv4_addr; }}
  set vips6 {{ type ipv6_addr; }}
  set own4 {{ type ipv4_addr . ipv4_addr; }}
  set own6 {{ type ipv6_addr . ipv6_addr; }}
  chain raw {{
    type filter hook prerouting priority raw; policy accept;
    iifname != {{ "lo", "{device}" }} ip6 saddr != fe80::/10 fib saddr . iif oif 0 drop
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr vmap @to4
    ip6 daddr vmap @to6
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
{hairpins}  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    ip daddr @vips4 goto refuse
    ip6 daddr @vips6 goto refuse
    iifname "{device}" oifname "{device}" goto refuse
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    meta l4proto udp reject with icmpx port-unreachable
    reject with icmpx host-unreachable
  }}
}}"""


def _added(service_id: str, service: VirtualService) -> Iterator[str]:
    for version in (4, 6):
        yield f"add chain {TABLE} {_chain(service_id, version)}"
        yield from _rules(service_id, service, version)
        for vip in _of(service.vips, version):
            yield f"add element {TABLE} to{version} {{ {vip} : jump {_chain(service_id, version)} }}"
            yield f"add element {TABLE} vips{version} {{ {vip} }}"


def _removed(service_id: str, service: VirtualService) -> Iterator[str]:
    for version in (4, 6):
        for vip in _of(service.vips, version):
            yield f"delete element {TABLE} to{version} {{ {vip} }}"
            yield f"delete element {TABLE} vips{version} {{ {vip} }}"
        yield f"flush chain {TABLE} {_chain(service_id, version)}"
        yield f"delete chain {TABLE} {_chain(service_id, version)}"


def _refilled(service_id: str, service: VirtualService) -> Iterator[str]:
    for version in (4, 6):
        yield f"flush chain {TABLE} {_chain(service_id, version)}"
        yield from _rules(service_id, service, version)


def _rules(service_id: str, service: VirtualService, version: int) -> Iterator[str]:
    backends = list(_of(service.backends, version))
    if not backends:
        return
    family = {4: "ip", 6: "ip6"}[version]
    to = str(backends[0])
    if len(backends) > 1:
        places = ", ".join(f"{place} : {backend}" for place, backend in enumerate(backends))
        to = f"numgen inc mod {len(backends)} map {{ {places} }}"
    yield f"add rule {TABLE} {_chain(service_id, version)} dnat {family} to {to}"


def _own(verb: str, addresses: Iterable[str]) -> Iterator[str]:
    for version in (4, 6):
        if pairs := ", ".join(f"{one} . {one}" for one in sorted(_of(addresses, version))):
            yield f"{verb} element {TABLE} own{version} {{ {pairs} }}"


def _of(addresses: Iterable[str], version: int) -> Iterator[Address]:
    """Yield the addresses of an IP version; parsed, so that nothing else can get into a script."""
    return (one for one in map(ip_address, addresses) if one.version == version)


def _chain(service_id: str, version: int) -> str:
    plain = service_id if _PLAIN.fullmatch(service_id) else sha256(service_id.encode()).hexdigest()[:25]
    return f"service_{plain}_{version}"
