"""What each node is told of overlay networks, and what changed since it was last told.

Pure but for books that any snapshot can rebuild.  One for each leadership, held by `vault.dispatcher.service`; `change`
is called by `vault.dispatcher.stream`.  A book for each network numbers what changes there (`overlay_book`), and a
node's view is the number up to which it was told: a change costs what it changes, and telling a node costs what it has
not heard.  This is the one place that decides which node hears of which network: a node with a live task on it, and
every node of the ingress network while a service publishes a port there.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

import msgspec
from msgspec.structs import replace

from vault.dispatcher.overlay_book import Book, Key, Value
from vault.dispatcher.overlay_parts import OverlayPart, OverlayView, PartDraft
from vault.dispatcher.overlay_shapes import (
    Host,
    endpoints_of,
    host_of,
    is_overlay,
    is_there,
    network_of,
    peer_of,
    places_of,
    services_of,
)
from vault.model.ids import Kind
from vault.model.network import Network
from vault.model.node import Node
from vault.model.overlay import OverlayEndpoint, OverlayNetwork
from vault.model.service import Service
from vault.model.task import Task
from vault.store.snapshot import Key as ObjectKey
from vault.store.snapshot import Snapshot

BUDGET: Final = 500  # Objects looked at in one go: about 10 ms.
PEERS: Final = ""  # The book of those who encrypt is no network's.
KINDS: Final = (Kind.TASK, Kind.SERVICE, Kind.NODE, Kind.NETWORK)  # The last are looked at first.
NOWHERE: Final = Host(addr="", up=False, places=(), encryption=None)


class _Placed(msgspec.Struct, frozen=True, gc=False):
    """Where a live task on a network is.  The garbage collector need not look at so many."""

    node_id: str
    networks: tuple[str, ...]


class Overlays:
    """Books of all networks, and who is to be told of which."""

    def __init__(self) -> None:
        self._snap = Snapshot()
        self._waiting: dict[ObjectKey, None] = {}  # To be looked at,
        self._all: Iterator[ObjectKey] = iter(())  # and after them.
        self._sequence = 0
        self._books: dict[str, Book] = {PEERS: Book(0)}
        self._networks: dict[str, OverlayNetwork] = {}
        self._placed: dict[str, _Placed] = {}  # Live tasks on networks.
        self._placed_at: dict[str, set[str]] = {}  # Node -> those of them that are there.
        self._reached: dict[str, frozenset[str]] = {}  # Service -> networks.
        self._hosts: dict[str, Host] = {}
        self._tasks_on: dict[str, dict[str, int]] = {}  # Network -> node -> how many live tasks it has there.
        self._networks_at: dict[str, dict[str, None]] = {}  # The other way round.
        self._publishing: set[str] = set()  # Services on the ingress network.
        self._changed: set[str] = set()  # Networks, since `touched` was asked.
        self._touched: set[str] = set()  # Nodes, likewise.

    def look(self, snap: Snapshot, *, budget: int = BUDGET) -> bool:
        """Bring the books up to a snapshot, at a cost that depends on what changed; return whether that is done."""
        if snap is not self._snap:
            if (keys := snap.changed_since(self._snap)) is not None:
                self._queue(key for key in keys if key[0] in KINDS)
            else:
                gone = (key for key in _keys(self._snap) if snap.get(*key) is None)
                self._all = chain(_keys(snap), gone, self._all)
            self._snap = snap
        for _ in range(budget):
            key = self._waiting.popitem()[0] if self._waiting else next(self._all, None)
            if key is None:
                return True
            self._take(*key)
        return False

    def touched(self) -> set[str]:
        """Return the nodes that may have to be told something since this was last asked."""
        nodes = self._touched.union(*map(self._told_of, self._changed))
        self._changed, self._touched = set(), set()
        return nodes

    def change(self, view: OverlayView, node_id: str, room_bytes: int) -> OverlayPart:
        """Return what a node has to be told next, no more than fits; anything fits an empty part.

        A new view begins with a full set, and so does one that is further behind than the books remember.
        """
        wanted = {network_id: self._shown(network_id, node_id) for network_id in self._wanted(node_id)}
        own = self._hosts.get(node_id, NOWHERE).encryption
        books = {network_id: self._books[network_id] for network_id in wanted}
        if own is not None:
            books[PEERS] = self._books[PEERS]
        if any(view.marks[book_id].behind(book) for book_id, book in books.items() if book_id in view.marks):
            view = OverlayView()
        draft = PartDraft(view, room_bytes)
        draft.networks(wanted)
        for book_id, book in books.items():
            draft.read(book_id, book, peers_but=node_id if book_id == PEERS else None)
        return draft.part(own)

    # Who is told of what.

    def _wanted(self, node_id: str) -> list[str]:
        networks = {network_id for network_id in self._networks_at.get(node_id, ()) if network_id in self._networks}
        if self._publishing:
            networks.update(place.network_id for place in self._hosts.get(node_id, NOWHERE).places)
        return sorted(network_id for network_id in networks if network_id in self._networks)

    def _shown(self, network_id: str, node_id: str) -> OverlayNetwork:
        network = self._networks[network_id]
        for place in self._hosts.get(node_id, NOWHERE).places:
            if place.network_id == network_id and place.addresses:
                return replace(network, node_address=place.addresses[0])
        return network

    def _told_of(self, network_id: str) -> Iterable[str]:
        """Return the nodes that are told of a network."""
        if network_id == PEERS:
            return [node_id for node_id, host in self._hosts.items() if host.encryption is not None]
        network, with_tasks = self._networks.get(network_id), self._tasks_on.get(network_id, {})
        if network is not None and network.ingress and self._publishing:
            return self._hosts.keys() | with_tasks.keys()
        return with_tasks

    # Following.

    def _queue(self, keys: Iterable[ObjectKey]) -> None:
        self._waiting.update(dict.fromkeys(sorted(keys, key=lambda key: KINDS.index(key[0]))))

    def _take(self, kind: Kind, object_id: str) -> None:
        obj = self._snap.get(kind, object_id)
        match kind:
            case Kind.TASK:
                self._task(object_id, obj if isinstance(obj, Task) else None)
            case Kind.SERVICE:
                self._service(object_id, obj if isinstance(obj, Service) else None)
            case Kind.NODE:
                self._node(object_id, obj if isinstance(obj, Node) else None)
            case _:
                self._network(object_id, obj if isinstance(obj, Network) else None)

    def _network(self, network_id: str, network: Network | None) -> None:
        if network is not None and is_overlay(network):
            self._name(network)
        elif network is None:
            self._forget_unused(network_id)

    def _task(self, task_id: str, task: Task | None) -> None:
        before, after = self._placed.get(task_id), None
        endpoints: dict[tuple[str, str], OverlayEndpoint] = {}  # By network and node.
        if task is not None and task.networks_attachments and is_there(task):
            networks = [place.network for place in task.networks_attachments if is_overlay(place.network)]
            if networks:
                after = _Placed(task.node_id, tuple(network.id for network in networks))
            for network in networks:
                if network.id not in self._networks:
                    self._name(network)  # It was removed, and tasks on it are ending; their copy is the last.
            host = self._host(task.node_id)
            endpoints = {(one.network_id, one.node_id): one for one in endpoints_of(task, host)} if host.up else {}
        if before != after:
            self._place(task_id, before, after)
        for place in filter(None, (before, after)):
            for network_id in place.networks:
                self._put(network_id, (task_id, place.node_id), endpoints.get((network_id, place.node_id)))
        for network_id in before.networks if before is not None else ():
            self._forget_unused(network_id)

    def _place(self, task_id: str, before: _Placed | None, after: _Placed | None) -> None:
        """Count a task where it is now, and no longer where it was."""
        for place, by in ((after, 1), (before, -1)):
            if place is not None:
                for network_id in place.networks:
                    self._count(network_id, place.node_id, by)
        if after is not None:
            self._placed_at.setdefault(after.node_id, set()).add(task_id)
            self._placed[task_id] = after
        else:
            del self._placed[task_id]
        if before is not None and (after is None or after.node_id != before.node_id):
            self._placed_at[before.node_id].discard(task_id)
            if not self._placed_at[before.node_id]:
                del self._placed_at[before.node_id]
                self._networks_at.pop(before.node_id, None)  # Empty, too.

    def _count(self, network_id: str, node_id: str, by: int) -> None:
        nodes = self._tasks_on.setdefault(network_id, {})
        nodes[node_id] = count = nodes.get(node_id, 0) + by
        if count == max(by, 0):  # The first came, or the last went.
            self._touched.add(node_id)
            networks = self._networks_at.setdefault(node_id, {})
            if count:
                networks[network_id] = None
            else:
                del nodes[node_id], networks[network_id]

    def _service(self, service_id: str, service: Service | None) -> None:
        shown = {one.network_id: one for one in services_of(service, self._snap)} if service is not None else {}
        for network_id in self._reached.pop(service_id, frozenset()) - shown.keys():
            self._put(network_id, service_id, None)
        for network_id, one in shown.items():
            self._put(network_id, service_id, one)
        if shown:
            self._reached[service_id] = frozenset(shown)
        used = bool(self._publishing)
        if any(one.ports for one in shown.values()):
            self._publishing.add(service_id)
        else:
            self._publishing.discard(service_id)
        if bool(self._publishing) is not used:
            self._touched.update(self._hosts)

    def _node(self, node_id: str, node: Node | None) -> None:
        before, after = self._host(node_id), NOWHERE if node is None else host_of(node)
        if node is None:
            self._hosts.pop(node_id, None)
        else:
            self._hosts[node_id] = after
        if before == after:
            return
        self._touched.add(node_id)
        own = {one.network_id: one for one in places_of(node_id, after)} if after.up else {}
        for network_id in dict.fromkeys(place.network_id for place in (*before.places, *after.places)):
            self._put(network_id, ("", node_id), own.get(network_id))
        self._put(PEERS, node_id, peer_of(node_id, after))
        if (before.addr, before.up, before.about) != (after.addr, after.up, after.about):
            self._queue((Kind.TASK, task_id) for task_id in self._placed_at.get(node_id, ()))

    def _host(self, node_id: str) -> Host:
        return self._hosts.get(node_id, NOWHERE)

    # Books.

    def _name(self, network: Network) -> None:
        shown = network_of(network)
        if self._networks.get(network.id) != shown:
            self._networks[network.id] = shown
            self._book(network.id)
            self._changed.add(network.id)

    def _book(self, network_id: str) -> Book:
        if (book := self._books.get(network_id)) is None:
            self._sequence += 1
            book = self._books[network_id] = Book(self._sequence)
        return book

    def _put(self, book_id: str, key: Key, value: Value | None) -> None:
        if value is None and book_id not in self._books:
            return
        if self._book(book_id).put(key, value, self._sequence + 1):
            self._sequence += 1
            self._changed.add(book_id)

    def _forget_unused(self, network_id: str) -> None:
        """Drop what is known of a network that was removed, once no live task is on it any more."""
        if self._tasks_on.get(network_id) or network_id in self._snap.networks:
            return
        for of_network in (self._books, self._networks, self._tasks_on):
            of_network.pop(network_id, None)


def _keys(snap: Snapshot) -> Iterator[ObjectKey]:
    """Yield the keys of everything that concerns networks, tasks last."""
    return ((kind, object_id) for kind in reversed(KINDS) for object_id in snap.objects[kind])
