"""What nodes are told of overlay networks, and above all what they are not."""

from collections.abc import Sequence
from random import Random

import msgspec
import pytest
from msgspec.structs import replace

from tests.dispatcher.overlay_world import INGRESS, attached, expected, member, network, peers, service
from vault.agent.overlay_parts import merged
from vault.dispatcher.overlay_book import Book
from vault.dispatcher.overlay_parts import OverlayView
from vault.dispatcher.overlays import Overlays
from vault.model.network import Network
from vault.model.node import NodeDescription, NodeEncryption, Platform
from vault.model.overlay import EncryptionPeer, OverlayChange, OverlayEndpoint
from vault.model.service import VirtualIP
from vault.model.task import State, TaskStatus
from vault.network.overlay.state import OverlayState
from vault.store.changes import AnyObject, Change, Delete, Put, kind_of
from vault.store.snapshot import Snapshot

FRONT, BACK, MESH = network("front", 1), network("back", 2), network(INGRESS, 0)
ROOM = 1 << 20


class Listener:
    """A node that hears what it is told."""

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self.view = OverlayView()
        self.state = OverlayState()
        self.own: NodeEncryption | None = None
        self.peers: dict[str, EncryptionPeer] = {}
        self._parts: OverlayChange | None = None

    def hear(self, overlays: Overlays, room_bytes: int = ROOM) -> OverlayChange | None:
        """Take the next part; return the change once it is whole, None when there is nothing."""
        part = overlays.change(self.view, self.node_id, room_bytes)
        self.view = part.view
        if part.change is not None:
            self._parts = merged(self._parts, part.change)
        if not part.complete:
            return self.hear(overlays, room_bytes)
        change, self._parts = self._parts, None
        if change is not None:
            self.take(change)
        return change

    def take(self, change: OverlayChange) -> None:
        self.state = self.state.applied(change)
        if (encryption := change.encryption) is not None:
            known = {} if encryption.full or encryption.own is None else self.peers
            known = {node_id: one for node_id, one in known.items() if node_id not in encryption.remove_peers}
            self.own, self.peers = encryption.own, known | {one.node_id: one for one in encryption.put_peers}

    def begin(self) -> None:
        """Begin another session; what was known stays until the full set is there."""
        self.view, self._parts = OverlayView(), None


class World:
    """A store, the books that follow it, and nodes."""

    def __init__(self, *objects: AnyObject) -> None:
        self.snap = Snapshot()
        self.overlays = Overlays()
        self.write(*objects)

    def write(self, *objects: AnyObject) -> set[str]:
        """Commit objects; return which nodes are concerned."""
        puts = []
        for obj in objects:
            old = self.snap.get(kind_of(obj), obj.id)
            puts.append(Put(replace(obj, version=old.version if old else type(obj.version)())))
        return self.commit(puts)

    def delete(self, obj: AnyObject) -> set[str]:
        old = self.snap.get(kind_of(obj), obj.id)
        assert old is not None
        return self.commit([Delete(kind_of(obj), obj.id, old.version.index)])

    def commit(self, changes: Sequence[Change]) -> set[str]:
        self.snap = self.snap.apply(changes, index=self.snap.index + 1, now_s=1.0)
        assert self.overlays.look(self.snap, budget=10_000)
        return self.overlays.touched()

    def told(self, node_id: str) -> OverlayState:
        """Return what a new session of a node is told."""
        listener = Listener(node_id)
        listener.hear(self.overlays)
        return listener.state


NODES = (member("n1", 1), member("n2", 2), member("n3", 3))


def test_a_node_without_a_live_task_on_a_network_learns_nothing_of_it() -> None:
    world = World(*NODES, FRONT, BACK, MESH, service("web", FRONT), service("db", BACK, vip=3))
    world.write(attached("t1", "n1", FRONT), attached("t2", "n2", BACK, of="db"))
    world.write(attached("t3", "n3", FRONT, state=State.FAILED), attached("t4", "", FRONT, state=State.PENDING))
    known = {node_id: [one.network.id for one in world.told(node_id)] for node_id in ("n1", "n2", "n3", "stranger")}
    assert known == {"n1": ["front"], "n2": ["back"], "n3": [], "stranger": []}
    told = world.overlays.change(OverlayView(), "n1", ROOM).change
    assert b"db" not in msgspec.msgpack.encode(told)


def test_an_endpoint_serves_while_it_runs_and_is_meant_to_and_is_known_from_before_until_it_has_ended() -> None:
    world = World(*NODES, FRONT, service("web", FRONT), attached("t0", "n1", FRONT, host=9))

    def shown() -> bool | None:
        overlay = world.told("n1").get("front")
        assert overlay is not None
        found = [one.serving for key, one in overlay.endpoints.items() if key.task_id == "t1"]
        return found[0] if found else None

    seen = []
    for state, desired in (
        (State.PENDING, State.RUNNING),
        (State.ASSIGNED, State.RUNNING),
        (State.READY, State.READY),
        (State.STARTING, State.RUNNING),
        (State.RUNNING, State.RUNNING),
        (State.RUNNING, State.SHUTDOWN),
        (State.SHUTDOWN, State.SHUTDOWN),
    ):
        world.write(attached("t1", "n2", FRONT, state=state, desired=desired))
        seen.append(shown())
    assert seen == [None, False, False, False, True, False, None]
    world.write(attached("t1", "n2", FRONT, state=State.ORPHANED))
    assert shown() is None


def test_a_running_task_that_turns_unhealthy_serves_no_more() -> None:
    task = attached("t1", "n2", FRONT, state=State.RUNNING)
    world = World(*NODES, FRONT, service("web", FRONT), attached("t0", "n1", FRONT, host=9), task)
    for unhealthy in (False, True):
        world.write(replace(task, status=replace(task.status, unhealthy=unhealthy)))
        overlay = world.told("n1").get("front")
        assert overlay is not None
        (found,) = [one for key, one in overlay.endpoints.items() if key.task_id == "t1"]
        assert found.serving is not unhealthy


def test_steps_of_a_task_that_others_need_not_know_concern_nobody() -> None:
    world = World(*NODES, FRONT, attached("t0", "n1", FRONT, host=9), attached("t1", "n2", FRONT))
    for state in (State.ACCEPTED, State.PREPARING, State.READY, State.STARTING):
        assert world.write(attached("t1", "n2", FRONT, state=state)) == set()
    assert world.write(attached("t1", "n2", FRONT, state=State.RUNNING)) == {"n1", "n2"}


def test_names_are_those_that_docker_gives() -> None:
    world = World(*NODES, FRONT)
    world.write(
        attached("t1", "n1", FRONT, slot=3),
        attached("t2", "n1", FRONT, slot=0, host=8, hostname="alpha"),
        attached("t3", "n1", FRONT, slot=4, host=9, state=State.RUNNING),
        attached("t4", "n1", FRONT, slot=5, host=10, hostname="{{.Nope}}"),
    )
    overlay = world.told("n1").get("front")
    assert overlay is not None
    assert {key.task_id: one.names for key, one in overlay.endpoints.items()} == {
        "t1": ("name-of-web.3.t1",),
        "t2": ("name-of-web.n1.t2", "alpha"),
        "t3": ("name-of-web.4.t3", "t3ffffffffff"),
        "t4": ("name-of-web.5.t4",),
    }


def test_a_host_name_is_told_as_its_node_fills_it_in() -> None:
    about = NodeDescription(hostname="alpha", platform=Platform(architecture="x86_64", os="linux"))
    n2 = replace(member("n2", 2), description=about)
    world = World(member("n1", 1), n2, FRONT, attached("t0", "n1", FRONT, host=9))
    template = "{{.Service.Name}}-{{.Task.Slot}}.{{.Node.Hostname}}-{{.Node.ID}}-{{.Node.Platform.Architecture}}"
    world.write(attached("t1", "n2", FRONT, slot=3, hostname=template))

    def names() -> tuple[str, ...]:
        overlay = world.told("n1").get("front")
        assert overlay is not None
        return next(one.names for key, one in overlay.endpoints.items() if key.task_id == "t1")

    assert names() == ("name-of-web.3.t1", "name-of-web-3.alpha-n2-x86_64")
    assert "n1" in world.write(replace(n2, description=replace(about, hostname="beta")))
    assert names() == ("name-of-web.3.t1", "name-of-web-3.beta-n2-x86_64")


def test_addresses_of_either_version_are_told_without_their_prefix() -> None:
    web = service("web", FRONT)
    both = (*web.endpoint.virtual_ips, VirtualIP(network_id="front", addr="fd00:1::2/64"))
    task = attached("t1", "n1", FRONT)
    place = replace(task.networks_attachments[0], addresses=("10.0.1.7/24", "fd00:1::7/64"))
    world = World(*NODES, FRONT, replace(web, endpoint=replace(web.endpoint, virtual_ips=both)))
    world.write(replace(task, networks_attachments=(place,)))
    overlay = world.told("n1").get("front")
    assert overlay is not None
    assert overlay.services["web"].vips == ("10.0.1.2", "fd00:1::2")
    assert [one.addresses for one in overlay.endpoints.values()] == [("10.0.1.7", "fd00:1::7")]


def test_every_node_hears_of_the_ingress_network_while_a_service_publishes_there() -> None:
    web = service("web", MESH, FRONT, ports=(8080,))
    world = World(*NODES, member("n4", 4, ingress=False), MESH, FRONT)
    assert world.told("n3").ingress is None
    assert world.write(web) >= {"n1", "n2", "n3"}
    ingress = world.told("n3").ingress
    assert ingress is not None
    assert ingress.network.node_address == "10.0.0.3/24"
    assert [port.published_port for port in ingress.services["web"].ports] == [8080]
    assert sorted(one.addresses for one in ingress.endpoints.values()) == [(f"10.0.0.{n}",) for n in (1, 2, 3)]
    assert world.told("n3").get("front") is None
    assert world.told("n4").ingress is None, "it has no address there yet"
    assert world.delete(web) >= {"n1", "n2", "n3"}
    assert world.told("n3").ingress is None


def test_endpoints_of_a_node_that_is_down_or_removed_are_gone_and_come_back_with_it() -> None:
    world = World(*NODES, FRONT, attached("t1", "n1", FRONT), attached("t2", "n2", FRONT, host=8))

    def seen() -> list[str]:
        overlay = world.told("n1").get("front")
        assert overlay is not None
        return sorted(one.node_addr for one in overlay.endpoints.values())

    assert world.write(member("n2", 2, state="down")) >= {"n1", "n2"}
    assert seen() == ["192.0.2.1"]
    assert world.write(member("n2", 9)) >= {"n1", "n2"}
    assert seen() == ["192.0.2.1", "192.0.2.9"]
    world.delete(member("n2", 9))
    assert seen() == ["192.0.2.1"]


def test_a_network_that_was_removed_stays_known_until_the_last_task_on_it_has_ended() -> None:
    ending = attached("t1", "n1", FRONT, state=State.RUNNING, desired=State.REMOVE)
    world = World(*NODES, FRONT, ending)
    world.delete(FRONT)
    assert [one.network.id for one in world.told("n1")] == ["front"]
    fresh = Overlays()
    assert fresh.look(world.snap)
    later = Listener("n1")
    later.hear(fresh)
    assert [one.network.id for one in later.state] == ["front"], "the next leader knows it from the task"
    assert world.write(replace(ending, status=TaskStatus(state=State.SHUTDOWN))) == {"n1"}
    assert list(world.told("n1")) == []


def test_a_node_is_told_once_and_then_only_what_changed() -> None:
    world = World(*NODES, FRONT, service("web", FRONT), attached("t1", "n1", FRONT), attached("t2", "n2", FRONT))
    node = Listener("n1")
    full = node.hear(world.overlays)
    assert full is not None
    assert (full.full, len(full.put_endpoints), len(full.put_services)) == (True, 2, 1)
    assert node.hear(world.overlays) is None
    world.write(attached("t2", "n2", FRONT, state=State.RUNNING))
    assert node.hear(world.overlays) == OverlayChange(put_endpoints=full_endpoint(world, "t2"))
    for desired in (State.SHUTDOWN, State.RUNNING, State.SHUTDOWN):
        world.write(attached("t2", "n2", FRONT, state=State.RUNNING, desired=desired))
    assert node.hear(world.overlays) == OverlayChange(put_endpoints=full_endpoint(world, "t2")), "the newest alone"
    world.write(attached("t2", "n2", FRONT, state=State.FAILED))
    assert node.hear(world.overlays) == OverlayChange(remove_endpoints=(("front", "t2", "n2"),))
    world.write(attached("t1", "n1", FRONT, state=State.FAILED))
    assert node.hear(world.overlays) == OverlayChange(remove_networks=("front",))


def full_endpoint(world: World, task_id: str) -> tuple[OverlayEndpoint, ...]:
    overlay = expected(world.snap, "n1").get("front")
    assert overlay is not None
    return tuple(one for key, one in overlay.endpoints.items() if key.task_id == task_id)


def test_a_large_set_comes_in_parts_of_bounded_size() -> None:
    world = World(*NODES, FRONT, *(attached(f"t{n}", "n1", FRONT, host=n) for n in range(200)))
    view, parts = OverlayView(), []
    while True:
        part = world.overlays.change(view, "n1", 4000)
        view = part.view
        assert part.change is not None
        assert len(msgspec.msgpack.encode(part.change)) < 4500
        parts.append(part.change)
        if part.complete:
            break
    assert len(parts) > 5
    assert [one.full for one in parts] == [True] + [False] * (len(parts) - 1)
    assert sum(len(one.put_endpoints) for one in parts) == 200


def test_work_follows_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(*NODES, FRONT, *(attached(f"t{n}", "n1", FRONT, host=n % 250) for n in range(2000)))
    node = Listener("n1")
    node.hear(world.overlays)
    read: list[object] = []
    put, since = Book.put, Book.since
    monkeypatch.setattr(Book, "put", lambda *args: read.append(args) or put(*args))

    def counted(book: Book, sequence: int) -> object:
        for note in since(book, sequence):
            read.append(note)
            yield note

    monkeypatch.setattr(Book, "since", counted)
    world.write(attached("t5", "n1", FRONT, host=5, state=State.RUNNING))
    assert node.hear(world.overlays) is not None
    assert len(read) < 5


def test_a_long_way_is_gone_in_steps_and_touches_nobody_in_vain() -> None:
    world = World(*NODES, FRONT)
    tasks = [Put(attached(f"t{n}", "n1", FRONT, host=n % 250)) for n in range(1000)]
    world.snap = world.snap.apply(tasks, index=world.snap.index + 1, now_s=1.0)
    steps = 1
    while not world.overlays.look(world.snap, budget=100):
        steps += 1
    assert 10 <= steps <= 11
    assert world.overlays.touched() == {"n1"}
    assert world.overlays.touched() == set()


NETWORKS = (FRONT, BACK, network("third", 3, internal=True), network("secret", 4, encrypted=True))
STATES = (State.ASSIGNED, State.STARTING, State.RUNNING, State.RUNNING, State.SHUTDOWN, State.FAILED)


class History:
    """Whatever may happen, by seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = World(*(member(f"n{number}", number) for number in range(1, 5)), MESH, *NETWORKS)
        self.listeners = {f"n{number}": Listener(f"n{number}") for number in range(1, 5)}

    def act(self) -> set[str]:
        """Change something; return who is concerned, as the books say."""
        random, world = self.random, self.world
        number = random.randrange(1, 5)
        match random.choice("tttttttTTsSnnNDd"):
            case "t":
                on = self.some_networks()
                task = attached(f"t{random.randrange(60)}", f"n{number}", *on, host=random.randrange(2, 250))
                if task.id in world.snap.tasks:
                    old = world.snap.tasks[task.id]
                    task = replace(old, desired_state=random.choice((State.RUNNING, State.SHUTDOWN)))
                state = max(task.state, random.choice(STATES))  # It never goes back.
                return world.write(replace(task, status=replace(task.status, state=state)))
            case "T" if world.snap.tasks:
                return world.delete(world.snap.tasks[random.choice(sorted(world.snap.tasks))])
            case "s":
                on = self.some_networks()
                ports = (random.randrange(8000, 8009),) if any(one.id == INGRESS for one in on) else ()
                vip = random.choice((0, 2, 3)) if not ports else 2
                return world.write(service(f"s{random.randrange(4)}", *on, ports=ports, vip=vip))
            case "S" if world.snap.services:
                return world.delete(world.snap.services[random.choice(sorted(world.snap.services))])
            case "n":
                state, ingress = random.choice(("ready", "down", "unknown")), random.random() < 0.8
                node = member(f"n{number}", number, state=state, ingress=ingress, encrypts=random.random() < 0.5)
                return world.write(node)
            case "N" if f"n{number}" in world.snap.nodes:
                return world.delete(world.snap.nodes[f"n{number}"])
            case "D":
                gone = [one for one in (*NETWORKS, MESH) if one.id in world.snap.networks and not self.used(one.id)]
                return world.delete(random.choice(gone)) if gone else set()
            case "d":
                back = [one for one in NETWORKS if one.id not in world.snap.networks]
                return world.write(random.choice(back)) if back else set()
        return set()

    def some_networks(self) -> list[Network]:
        there = [one for _, one in sorted(self.world.snap.networks.items())]
        return self.random.sample(there, min(self.random.randrange(3), len(there)))

    def used(self, network_id: str) -> bool:
        """Whether the rules forbid to remove a network: a service or a task that is wanted is on it."""
        snap = self.world.snap
        targets = {one.target for of in snap.services.values() for one in of.spec.task_template.networks}
        targets |= {vip.network_id for of in snap.services.values() for vip in of.endpoint.virtual_ips}
        targets |= {place.network.id for of in snap.tasks.values() if of.live for place in of.networks_attachments}
        return network_id in targets

    def lead_anew(self) -> None:
        """Let another manager lead: it knows nothing of what nodes were told."""
        self.world.overlays = Overlays()
        assert self.world.overlays.look(self.world.snap)
        for listener in self.listeners.values():
            listener.begin()

    def check(self, listener: Listener) -> None:
        node_id, snap = listener.node_id, self.world.snap
        assert listener.state == expected(snap, node_id)
        here = snap.nodes.get(node_id)
        assert listener.own == (here.encryption if here is not None else None)
        assert listener.peers == peers(snap, node_id)


@pytest.mark.parametrize("seed", range(60))
def test_what_a_node_ends_with_is_what_a_full_set_would_say(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.dispatcher.overlay_book.GONE_KEPT", 2)
    monkeypatch.setattr("vault.store.snapshot.LOG_COMMITS", 5 if seed % 3 == 0 else 4096)
    history = History(seed)
    random, world = history.random, history.world
    for _ in range(150):
        before = world.snap
        concerned = history.act()
        changed = {one for one in history.listeners if expected(before, one) != expected(world.snap, one)}
        assert changed <= concerned
        if random.random() < 0.02:
            history.lead_anew()
        for listener in history.listeners.values():
            if random.random() < 0.02:
                listener.begin()
            if random.random() < 0.3:  # Slow ones miss some of it.
                listener.hear(world.overlays, random.choice((1, 500, 3000, ROOM)))
                history.check(listener)


@pytest.mark.parametrize("seed", range(20))
def test_parts_that_are_told_while_things_change_come_to_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.dispatcher.overlay_book.GONE_KEPT", 3)
    history = History(seed)
    listener, overlays = history.listeners["n1"], history.world.overlays
    for _ in range(60):
        history.act()
    for _ in range(100):
        parts: OverlayChange | None = None
        while True:
            part = overlays.change(listener.view, "n1", history.random.choice((1, 400, 2000)))
            listener.view = part.view
            parts = merged(parts, part.change) if part.change is not None else parts
            if part.complete:
                break
            history.act()
        if parts is not None:
            listener.take(parts)
        history.check(listener)
        history.act()


def test_a_node_that_is_too_far_behind_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.dispatcher.overlay_book.GONE_KEPT", 10)
    world = World(*NODES, FRONT, attached("t0", "n1", FRONT, host=2))
    node = Listener("n1")
    node.hear(world.overlays)
    for number in range(1, 100):
        world.write(attached(f"t{number}", "n2", FRONT))
        world.write(attached(f"t{number}", "n2", FRONT, state=State.FAILED))
    change = node.hear(world.overlays)
    assert change is not None
    assert change.full
    assert node.state == expected(world.snap, "n1")
    book = world.overlays._books["front"]
    assert len(book._log) < 100, "and what is gone is forgotten"
