"""The namespace of one overlay network on this node: its VXLAN link, its tasks' links, its entries and rules.

Not pure; blocking, from threads only.  Used by `overlay.network`.  Every step can be done again: whatever a vaultd
that was killed left half done, `ensure` and `sync` make whole.
"""

import contextlib
import errno
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Interface, ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Final, Self

from vault.model.endpoint_options import LINK
from vault.network.kernel.flows import Flows
from vault.network.kernel.links import LOOPBACK, Address, Interface, Netlink, address, route, up, without_ipv6
from vault.network.kernel.namespaces import drop_namespace, enter, enter_new, is_namespace, set_here
from vault.network.kernel.netlink import Request
from vault.network.kernel.nftables import Nftables
from vault.network.kernel.programs import NetworkFailed
from vault.network.overlay import entries
from vault.network.overlay.entries import Vxlan, vxlan_data, vxlan_of
from vault.network.overlay.names import DEVICE, LINK_PREFIX, Range, gateway_mac, port_of
from vault.network.overlay.reach import ReachChange

# New links take over what is set for `default`.  The reverse path filter keeps a task from sending under another's
# address.
_SETTINGS: Final = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "1",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
}
_SETTINGS_IPV6: Final = {"ipv6/conf/all/forwarding": "1", "ipv6/conf/default/addr_gen_mode": "1"}
NEXT_HOP: Final = IPv6Interface("fe80::1/64")  # Where tasks send IPv6 to.
_ID_TAKEN_S: Final = 2.0  # So long may a namespace that went live on in the kernel.
_GONE: Final = (errno.ENOENT, errno.ENODEV, errno.ESRCH)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """What a network's namespace has whoever is on it."""

    vxlan: Vxlan | None  # None: nothing goes to other nodes.
    mtu: int
    mac: bytes  # By which other nodes reach this one.
    ranges: tuple[Range, ...]
    own: tuple[Address, ...]  # Of the namespace itself: gateways, and the node's place on the ingress network.


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLink:
    """A task's link to one network."""

    name: str  # In the network's namespace.
    device: str  # In the task's.
    addresses: tuple[Interface, ...]
    mac: bytes
    mtu: int
    settings: tuple[tuple[str, str], ...] = ()  # Of the task's end, below /proc/sys/net; LINK stands for the device.


class OverlayNamespace:
    """A network's namespace, held open.  Methods raise `NetworkFailed`."""

    def __init__(self, name: str, path: Path, node: Netlink) -> None:
        """Take hold of the namespace that the calling thread is in.

        name: of the network, for errors.  path: the file that holds the namespace.  node: links of the node's own.
        """
        self.path = path
        self._name = name
        self._node = node
        self._device = 0  # Its number, once it is there.
        with contextlib.ExitStack() as undo:
            self._links = undo.enter_context(Netlink())
            self._flows = undo.enter_context(Flows())
            self.rules = Nftables()
            undo.pop_all()

    @classmethod
    def open(cls, name: str, path: Path, node: Netlink) -> Self:
        """Make the namespace, or take over the one that is there.  The calling thread enters it, and must end soon."""
        with _told(name, "its namespace"):
            if is_namespace(path):
                enter(path)
            else:
                path.unlink(missing_ok=True)
                enter_new(path)
            for setting, value in _SETTINGS.items():
                set_here(setting, value)
            with contextlib.suppress(FileNotFoundError):  # The kernel has no IPv6.
                for setting, value in _SETTINGS_IPV6.items():
                    set_here(setting, value)
            return cls(name, path, node)

    def ensure(self, spec: DeviceSpec) -> None:
        """Have the VXLAN link, the namespace's own addresses, and the ways to its subnets."""
        with _told(self._name, DEVICE):
            self._ensure_device(spec)
            self._device = device = self._links.index(DEVICE)
            self._all(
                [
                    up(LOOPBACK),
                    *(address(LOOPBACK, ip_interface(own)) for own in spec.own),
                    up(device),
                    *(route(device, one.subnet) for one in spec.ranges),
                ]
            )

    def sync(self, change: ReachChange) -> None:
        """Have exactly the entries of a change that names all there should be."""
        with _told(self._name, "its neighbours"):
            device = self._links.index(DEVICE)
            neighbours: dict[str, bytes] = {}
            for family in (socket.AF_INET, socket.AF_INET6):
                neighbours |= entries.neighbours_of(device, self._neighbours(family))
            nodes = entries.forwardings_of(device, self._neighbours(entries.AF_BRIDGE))
            self._program(
                device,
                ReachChange(
                    removed_neighbours=neighbours.keys() - change.neighbours.keys(),
                    neighbours={a: mac for a, mac in change.neighbours.items() if neighbours.get(a) != mac},
                    removed_nodes=nodes.keys() - change.nodes.keys(),
                    nodes={mac: to for mac, to in change.nodes.items() if nodes.get(mac) != str(ip_address(to))},
                ),
            )

    def program(self, change: ReachChange) -> None:
        """Change the entries of neighbours and nodes."""
        if change.removed_neighbours or change.neighbours or change.removed_nodes or change.nodes:
            with _told(self._name, "its neighbours"):
                self._program(self._device, change)

    def forget(self, answerers: Iterable[str]) -> None:
        """Forget the UDP flows that a service's address led to these."""
        with _told(self._name, "flows"):
            self._flows.forget({ip_address(one).packed for one in answerers})

    def attach(self, link: TaskLink, ranges: tuple[Range, ...], task: Netlink, namespace: int) -> None:
        """Join a task to the network.

        task: links of its namespace, in which the calling thread is.  namespace: a descriptor of it.
        """
        with _told(self._name, f"link {link.device}"):
            self._add_pair(link, namespace)
            near, far = self._links.index(link.name), task.index(link.device)
            _set(link)
            task.carry_out(_task_side(far, link, ranges))
            self._all(_overlay_side(near, link))
            task.until_carrying(link.device)
            self._links.until_carrying(link.name)

    def _add_pair(self, link: TaskLink, namespace: int) -> None:
        add = partial(
            self._links.add_pair,
            link.name,
            link.device,
            namespace,
            mtu=link.mtu,
            mac=gateway_mac(),
            peer_mac=link.mac,
        )
        try:
            add()
        except FileExistsError:  # Of a namespace that was let go of; the kernel has not cleaned up yet.
            with _unless(*_GONE):
                self._links.delete(link.name)
            add()

    def detach(self, name: str) -> None:
        """Remove a task's link; none of that name is no error.  The kernel takes its time (20 ms)."""
        with _told(self._name, f"link {name}"), _unless(*_GONE):
            self._links.delete(name)

    def task_links(self) -> set[str]:
        """Return the names of the tasks' links."""
        with _told(self._name, "its links"):
            names = {link.name for link in self._links.links()}
        return {name for name in names if name.startswith(LINK_PREFIX)}

    def close(self, *, remove: bool) -> None:
        """Let go of the namespace; with `remove`, for good, with all that is in it."""
        if remove:
            with _told(self._name, DEVICE), _unless(*_GONE):
                self._links.delete(DEVICE)  # Else its id would be taken until the kernel has cleaned up.
        self.rules.close()
        self._flows.close()
        self._links.close()
        if remove:
            with _told(self._name, "its namespace"):
                drop_namespace(self.path)

    def _ensure_device(self, spec: DeviceSpec) -> None:
        try:
            found = vxlan_of(self._links.describe(DEVICE))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            self._add_device(spec)
            return
        if found != spec.vxlan:
            self._links.delete(DEVICE)
            self._add_device(spec)
            return
        link = self._links.look(DEVICE)
        if (link.mtu, link.mac) != (spec.mtu, spec.mac):
            self._links.change(link.number, mtu=spec.mtu, mac=spec.mac)

    def _add_device(self, spec: DeviceSpec) -> None:
        if spec.vxlan is None:  # A link that leads nowhere, so that all the rest is the same: a bridge without ports.
            self._links.add(DEVICE, "bridge")
            self._links.change(self._links.index(DEVICE), mtu=spec.mtu, mac=spec.mac)
            return
        data = vxlan_data(spec.vxlan)
        until_s = time.monotonic() + _ID_TAKEN_S
        with self.path.open("rb") as namespace:
            while True:
                try:
                    self._node.add_elsewhere(DEVICE, "vxlan", data, namespace.fileno(), mtu=spec.mtu, mac=spec.mac)
                except OSError as error:
                    if error.errno != errno.EEXIST or time.monotonic() > until_s:
                        raise self._no_device(error, spec.vxlan) from None
                    time.sleep(0.05)  # The network was here a moment ago.
                else:
                    return

    def _no_device(self, error: OSError, vxlan: Vxlan) -> NetworkFailed:
        match error.errno:
            case errno.EEXIST:
                why = (
                    f"another program of this machine has VXLAN id {vxlan.id} on UDP port {vxlan.port}: "
                    "remove its network, or create this one anew to get another id"
                )
            case errno.EOPNOTSUPP | errno.ENODEV:
                why = "this kernel has no VXLAN: load the module vxlan, or install a kernel that has it"
            case _:
                why = error.strerror or str(error)
        return NetworkFailed(f"overlay {self._name}", why)

    def _program(self, device: int, change: ReachChange) -> None:
        removals: list[Request] = [entries.no_neighbour(device, ip_address(a)) for a in change.removed_neighbours]
        removals += [entries.no_forwarding(device, mac) for mac in change.removed_nodes]
        additions = [entries.forwarding(device, mac, ip_address(to), port_of(to)) for mac, to in change.nodes.items()]
        additions += [entries.neighbour(device, ip_address(a), mac) for a, mac in change.neighbours.items()]
        self._all([*removals, *additions], but=(errno.ENOENT, errno.ESRCH))  # Not that the device is gone.

    def _neighbours(self, family: int) -> list[bytes]:
        return self._links.dump(entries.GETNEIGH, entries.every(family))

    def _all(self, requests: Iterable[Request], *, but: tuple[int, ...] = ()) -> None:
        _all(self._links, requests, but=but)


def _all(links: Netlink, requests: Iterable[Request], *, but: tuple[int, ...] = ()) -> None:
    for failure in links.batch(requests):
        if failure.error.errno not in but:
            raise failure.error


def _set(link: TaskLink) -> None:
    """Make the settings of the task's end; the calling thread is in the task's namespace."""
    for setting, value in link.settings:
        try:
            set_here(setting.replace(LINK, link.device), value)
        except OSError as error:
            name = f"net.{setting}".replace("/", ".")
            raise NetworkFailed(f"sysctl {name}={value}", (error.strerror or str(error)).lower()) from None


def _overlay_side(near: int, link: TaskLink) -> list[Request]:
    requests = [up(near)]
    if any(own.version == 6 for own in link.addresses):
        requests.insert(0, address(near, NEXT_HOP))
    for own in link.addresses:
        requests.append(entries.neighbour(near, own.ip, link.mac))
        requests.append(route(near, ip_network(own.ip)))
    return requests


def _task_side(far: int, link: TaskLink, ranges: tuple[Range, ...]) -> list[Request]:
    """Return what a task has of a link: all of the network is behind one hop, so there is nobody to be asked for."""
    # Not by a switch of the namespace: writing that tries again and again while anybody changes links.
    requests = [without_ipv6(far), *(address(far, own) for own in link.addresses), up(far)]
    for own in link.addresses:
        home = next((one.gateway for one in ranges if own.ip in one.subnet), None)
        hop: Address | None = NEXT_HOP.ip if own.version == 6 else home
        if hop is None:
            continue
        requests.append(entries.neighbour(far, hop, gateway_mac()))
        if hop.version == 4:  # A task may add routes of its own through it.
            requests.append(route(far, ip_network(hop), source=own.ip))
        requests += [
            route(far, one.subnet, gateway=hop, source=own.ip) for one in ranges if one.subnet.version == own.version
        ]
    return requests


@contextmanager
def _told(network: str, part: str) -> Iterator[None]:
    """Say which network's which part the kernel refused."""
    try:
        yield
    except OSError as error:
        raise NetworkFailed(f"overlay {network}", f"{part}: {error.strerror or error}") from None


@contextmanager
def _unless(*numbers: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise
