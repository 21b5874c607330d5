"""What of a machine's kernel, programs and rules overlay networks and published ports need, and what is in their way.

Not pure: tries things, in a network namespace that ends with the thread that made it.  Called by `vault doctor network`
on the node itself.  What is read of the machine's own rules is judged by `doctor.rules`, which is pure.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from vault.network.doctor import rules
from vault.network.doctor.rules import Finding, Verdict
from vault.network.kernel.flows import Flows
from vault.network.kernel.links import Netlink
from vault.network.kernel.namespaces import leave_for_new
from vault.network.kernel.nftables import Nftables
from vault.network.kernel.programs import NetworkFailed
from vault.network.links.names import Names
from vault.network.mesh.node import RECORD, MeshRecord
from vault.network.overlay.entries import Vxlan, vxlan_data
from vault.network.overlay.names import PORT
from vault.network.wireguard.probe import KERNEL, MISSING, Probe

_KERNEL_HAS: Final = "install a kernel that has it, or load its module:"
_PROGRAMS: Final = {"ip": "iproute2", "nft": "nftables", "conntrack": "conntrack"}
_RULES: Final = {
    "nftables NAT": (
        "chain a { type nat hook prerouting priority dstnat; meta l4proto tcp dnat ip to 192.0.2.1:80; }; "
        "chain b { type nat hook postrouting priority srcnat; masquerade; };",
        "nft_chain_nat, nft_nat and nft_masq",
    ),
    "nftables turns (numgen)": (
        "chain a { type nat hook prerouting priority dstnat; "
        "meta l4proto tcp dnat ip to numgen inc mod 2 map { 0 : 192.0.2.1 . 80, 1 : 192.0.2.2 . 80 }; };",
        "nft_numgen",
    ),
    "nftables maps": (
        "chain c { accept; }; map m { type inet_proto . inet_service : verdict; elements = { tcp . 80 : goto c }; }; "
        "chain a { type filter hook input priority 0; meta l4proto . th dport vmap @m; };",
        "nf_tables, 5.6 or later",
    ),
    "nftables local addresses (fib)": (
        "chain a { type filter hook input priority 0; fib daddr type local accept; };",
        "nft_fib_ipv4",
    ),
    "nftables refusals (reject)": (
        "chain a { type filter hook input priority 0; meta l4proto tcp reject with tcp reset; reject; };",
        "nft_reject_ipv4",
    ),
    "connection tracking in nftables": (
        "chain a { type filter hook forward priority 0; ct state new ct status & dnat == 0 drop; };",
        "nft_ct and nf_conntrack",
    ),
}
_NOBODYS_ID: Final = (1 << 24) - 1  # Of a VXLAN network; they are given away from 4,096 on.


def examine(run_root: Path, encryption: Probe) -> list[Finding]:
    """Return what was found, in the order in which things build upon each other."""
    with ThreadPoolExecutor(1, "doctor") as thread:
        tried = thread.submit(_try_all).result()
    own = (*_switches(), *_firewalls(run_root), *_ports(run_root))
    return [*tried, *_programs(), _encryption(encryption), *rules.silent(encryption.silent), *own]


def check(subject: str, attempt: Callable[[], None], advice: str) -> Finding:
    """Return the finding of something that overlay networks cannot do without."""
    try:
        attempt()
    except (OSError, NetworkFailed) as error:
        return Finding(subject, Verdict.MISSING, rules.sentence(error), advice)
    return Finding(subject, Verdict.OK)


def _try_all() -> list[Finding]:
    """Try what the kernel has, in a namespace of this thread's own."""
    with contextlib.ExitStack() as undo:
        own = undo.enter_context(Netlink())  # Of the node's namespace: outer packets of VXLAN are to be there.
        first = check("network namespaces", leave_for_new, "run this as root, on a kernel with CONFIG_NET_NS")
        if first.verdict is not Verdict.OK:
            return [first]
        found = [first, *_links(own, undo.enter_context(Netlink()))]
    rules = check("libnftables", lambda: Nftables().close(), "install the package nftables (1.0.0 or later)")
    found.append(rules)
    if rules.verdict is Verdict.OK:
        for subject, (script, modules) in _RULES.items():
            found.append(check(subject, partial(_rule, script), f"{_KERNEL_HAS} {modules}"))
    found.append(check("connection tracking by netlink", _flows, f"{_KERNEL_HAS} nf_conntrack_netlink"))
    return found


def _links(own: Netlink, there: Netlink) -> list[Finding]:
    """Try links as overlay networks have them: their inside is here, the outer packets of VXLAN are the node's."""
    with open("/proc/thread-self/ns/net", "rb") as inside:
        number = inside.fileno()
        data = vxlan_data(Vxlan(id=_NOBODYS_ID, port=PORT))
        pair = check("veth links", lambda: there.add_pair("pair0", "pair1", number), f"{_KERNEL_HAS} veth")
        tunnel = check(
            "VXLAN links",
            lambda: own.add_elsewhere("vxlan0", "vxlan", data, number, mtu=1450, mac=b"\x02\x42\x0a\0\0\1"),
            f"{_KERNEL_HAS} vxlan",
        )
    if tunnel.verdict is not Verdict.OK:
        return [pair, tunnel]
    advice = f"end the program that has it, or let it use another: ss -lunp 'sport = :{PORT}' names it"
    port = check(f"UDP port {PORT} for VXLAN", lambda: there.up("vxlan0"), advice)
    there.delete("vxlan0")  # Else the port would be held until the kernel has cleaned up.
    return [pair, tunnel, port]


def _rule(script: str) -> None:
    rules = Nftables()
    try:
        rules.run(f"table ip vault_doctor {{ {script} }}\ndelete table ip vault_doctor\n")
    finally:
        rules.close()


def _flows() -> None:
    with Flows() as flows:
        flows.all()


def _programs() -> list[Finding]:
    return [
        Finding(f"program {name}")
        if shutil.which(name)
        else Finding(f"program {name}", Verdict.MISSING, "it is not installed", f"install the package {package}")
        for name, package in _PROGRAMS.items()
    ]


def _encryption(found: Probe) -> Finding:
    subject = "WireGuard (for networks with --opt encrypted)"
    if found.missing:
        what, _, advice = MISSING.partition(": ")
        return Finding(subject, Verdict.NOTE, what, advice)
    by = "by the kernel" if found.by == KERNEL else f"by {found.by}, in user space over /dev/net/tun: slower"
    return Finding(subject, said=by)


def _switches() -> list[Finding]:
    switch = Path("/proc/sys/net/ipv4/ip_forward")
    found = []
    if switch.read_text().strip() == "1":
        found.append(Finding("forwarding of IPv4"))
    elif os.access(switch, os.W_OK):
        said = "it is off, and vaultd switches it on with the first published port or task with a way out"
        found.append(Finding("forwarding of IPv4", said=said))
    else:
        advice = "let vaultd write /proc/sys, or set net.ipv4.ip_forward=1 yourself"
        found.append(Finding("forwarding of IPv4", Verdict.MISSING, "it is off and cannot be switched on", advice))
    bridge = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if bridge.exists() and bridge.read_text().strip() == "1":
        found.append(
            Finding("br_netfilter", said="it is on, for others; our links are routed, so it sees none of them")
        )
    return found


def _firewalls(run_root: Path) -> list[Finding]:
    texts = {}
    with contextlib.suppress(NetworkFailed):
        opened = Nftables()
        texts["nft"] = opened.run("list chains")
        opened.close()
    if Path("/proc/net/ip_tables_names").exists() and shutil.which("iptables-legacy"):
        done = subprocess.run(["iptables-legacy", "-S", "FORWARD"], capture_output=True, text=True, check=False)
        texts["iptables-legacy"] = done.stdout
    names = Names(run_root)
    return rules.firewalls(texts, links=(f"{names.link_prefix}+", names.mesh_link))


def _ports(run_root: Path) -> list[Finding]:
    try:
        record = msgspec.json.decode((run_root / RECORD).read_bytes(), type=MeshRecord)
    except (OSError, msgspec.MsgspecError, ValueError):
        return []
    return rules.published(record.ports)
