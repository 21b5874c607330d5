"""What this machine lacks for overlay networks, found by trying it in a namespace that nobody else sees.

Not pure; blocking: `missing` enters a namespace, so it runs in a thread that ends with it (`namespaces.in_thread`).
Called by `overlay.network` when the kernel has refused something, for the words.
"""

import errno
from collections.abc import Callable
from typing import Final

from vault.network.kernel.flows import Flows
from vault.network.kernel.links import Netlink
from vault.network.kernel.namespaces import enter_unseen
from vault.network.kernel.nftables import Nftables
from vault.network.kernel.programs import NetworkFailed
from vault.network.overlay.entries import Vxlan, vxlan_data
from vault.network.overlay.names import DEVICE, PORT

_ADVICE: Final = "load the module {}, or install a kernel that has it"
_TABLE: Final = "table inet probe"
# What rules need, module by module; each is tried in a table of its own.
_RULES: Final = {
    "nf_tables": "",
    "nft_chain_nat": "chain c { type nat hook prerouting priority dstnat; }",
    "nft_numgen": "chain c { dnat ip to numgen inc mod 2 map { 0 : 192.0.2.2, 1 : 192.0.2.3 }; }",
    "nft_fib_inet": "chain c { type filter hook prerouting priority raw; fib saddr . iif oif 0 drop; }",
    "nft_reject_inet": "chain c { type filter hook forward priority filter; reject with icmpx host-unreachable; }",
}


def missing() -> list[str]:
    """Return what is missing, a sentence each; nothing when overlay networks should work."""
    found = []
    try:
        enter_unseen()
    except OSError as error:
        return [f"network namespaces cannot be made: {error.strerror}: vaultd has to run as root, outside a container"]
    for what, module, attempt in _attempts():
        try:
            attempt()
        except NetworkFailed as failed:
            found.append(failed.why if "install" in failed.why else f"this kernel has no {what}: {_advice(module)}")
        except OSError as error:
            if error.errno != errno.EEXIST:
                found.append(f"this kernel has no {what}: {_advice(module)}")
    return list(dict.fromkeys(found))


def _attempts() -> list[tuple[str, str, Callable[[], object]]]:
    rules = [(f"packet rules of {module}", module, _rules(script)) for module, script in _RULES.items()]
    return [
        ("VXLAN", "vxlan", _vxlan),
        ("virtual Ethernet pairs", "veth", _pair),
        *rules,
        ("connection tracking", "nf_conntrack_netlink", _flows),
    ]


def _advice(module: str) -> str:
    return _ADVICE.format(module)


def _vxlan() -> None:
    with Netlink() as links, open("/proc/thread-self/ns/net", "rb") as namespace:
        data = vxlan_data(Vxlan(id=1, port=PORT))
        links.add_elsewhere(DEVICE, "vxlan", data, namespace.fileno(), mtu=1450, mac=b"\x02\x42\x00\x00\x00\x01")


def _pair() -> None:
    with Netlink() as links, open("/proc/thread-self/ns/net", "rb") as namespace:
        links.add_pair("near", "far", namespace.fileno())


def _rules(script: str) -> Callable[[], object]:
    def attempt() -> None:
        rules = Nftables()
        try:
            rules.run(f"{_TABLE} {{\n{script}\n}}\ndelete {_TABLE}\n")
        finally:
            rules.close()

    return attempt


def _flows() -> None:
    with Flows() as flows:
        flows.count()
