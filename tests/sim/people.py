"""What operators do: through the real rules of the API, by what they read a moment ago."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random

from msgspec.structs import replace

from tests.sim import driver, specs
from tests.sim.images import BAD, DONE, kind_of
from tests.sim.plots import PLOTS, once
from tests.sim.story import slot_of
from tests.sim.themes import theme_of
from tests.sim.world import World
from vault.crypto.plaintext import Plaintext
from vault.model.errors import VaultError
from vault.model.ids import Kind
from vault.model.node import NodeSpec
from vault.model.secret import ConfigSpec, Driver, Secret, SecretSpec
from vault.model.service import Replicated, RestartPolicy, Service, ServiceMode, ServiceSpec, UpdateConfig
from vault.orchestrator.rebalancing import begun, plan
from vault.store import rules, rules_cluster, rules_service
from vault.store.changes import Change, Put
from vault.store.rules_registry_auth import Given, with_credentials
from vault.store.snapshot import Snapshot

MOST_SERVICES = 6
AUTHS_IN = 3  # Of so many histories, one has credentials.
FEWEST_NODES, MOST_NODES = 3, 7


Build = Callable[[Snapshot], Change | Sequence[Change]]


class People:
    """Whoever types commands."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.clock.random
        self._theme = theme_of(world.seed)
        self._weights = [weight * self._theme.acts.get(act.__name__, 1) for act, weight in ACTS.items()]
        self._numbers = 0
        # Of their own, so that histories without credentials are what they were before there were any.
        self._auths = Random(world.seed) if world.seed % AUTHS_IN == 0 else None

    def act(self) -> None:
        """Do something."""
        self.random.choices(tuple(ACTS), self._weights)[0](self)

    @property
    def snap(self) -> Snapshot:
        """The cluster as anybody can read it."""
        return self.world.store.snap

    def write(self, words: str, about: str | Sequence[str], build: Build) -> bool:
        """Send a request; return whether it was done."""

        about = (about,) if isinstance(about, str) else about

        def changes(snap: Snapshot) -> Sequence[Change]:
            made = build(snap)
            self.world.story.tell("somebody", words, *about)
            return made if isinstance(made, tuple | list) else (made,)

        try:
            return self.world.store.submit("somebody", changes)
        except VaultError as refusal:
            self.world.story.tell("somebody", f"{words}: refused ({refusal})", *about)
            return False

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def any_of(self, kind: Kind) -> str | None:
        """Return some object of a kind, if there is one."""
        ids = sorted(self.snap.objects[kind])
        return self.random.choice(ids) if ids else None

    @property
    def has_credentials(self) -> bool:
        """Whether anybody has credentials for registries."""
        return self._auths is not None

    def _with_auth(self, snap: Snapshot, put: Put, credentials: bool | None = None) -> Sequence[Change]:
        """Let a service come with credentials, with none from now on, or with no word of them.

        credentials: which of the first two; None = by chance.
        """
        given = None
        if credentials is not None and self._auths is not None:
            given = Given(id=f"a{self._number()}", value=Plaintext(b"") if credentials else None)
        elif self._auths is not None and (drawn := self._auths.random()) < 0.4:
            value = Plaintext(b"") if drawn < 0.3 else None
            given = Given(id=f"a{self._number()}", value=value)
        return with_credentials(snap, put, given)

    # Services.

    def create_service(self) -> None:
        """Create a service."""
        if len(self.snap.services) < MOST_SERVICES:
            service_id = f"s{self._number()}"
            values = [
                [obj for _, obj in sorted(self.snap.objects[kind].items())] for kind in (Kind.SECRET, Kind.CONFIG)
            ]
            spec = specs.draw(self.random, self._theme, service_id, *values)
            words = f"creates {service_id}: {specs.shown(spec)}"
            self.write(
                words,
                service_id,
                lambda snap: self._with_auth(
                    snap, rules_service.new_service(snap, service_id, spec, now_s=self.world.clock.now_s)
                ),
            )

    def update_service(self) -> None:
        """Give a service another spec; between reading and writing others may have been quicker."""
        if (service_id := self.any_of(Kind.SERVICE)) is not None:
            self._update(service_id)

    def hurry(self) -> None:
        """Change a service, and change it, or a node, again before the cluster has done much about that."""
        if (service_id := self.any_of(Kind.SERVICE)) is not None:
            self._update(service_id, at_once=True)
            soon_s = self.world.clock.between(0.001, 0.03)
            match self.random.randrange(4):
                case 0:
                    self.world.clock.after(soon_s, self.set_label)
                case 1:
                    self.world.clock.after(soon_s, self.set_availability)
                case _:
                    self.world.clock.after(soon_s, self._update, service_id, True)

    def _update(self, service_id: str, at_once: bool = False) -> None:
        if (service := self.snap.services.get(service_id)) is not None:
            spec = specs.edited(self.random, self._theme, service.spec, self.snap)
            self.change(service, spec, at_once=at_once)

    def scale_service(self, service_id: str | None = None, at_once: bool = False) -> None:
        """Change how many tasks a service, or some service, has."""
        service = self.snap.services.get(service_id or self.any_of(Kind.SERVICE) or "")
        if service is not None and service.spec.mode.replicated is not None:
            replicas = self.random.randint(0, specs.MOST_REPLICAS)
            mode = ServiceMode(replicated=Replicated(replicas=replicas))
            self.change(service, replace(service.spec, mode=mode), at_once=at_once)

    def change(
        self, service: Service, spec: ServiceSpec, *, at_once: bool = False, credentials: bool | None = None
    ) -> None:
        """Send a new spec, at once or after a while."""
        words = f"updates {service.id}: {specs.shown(spec)}"

        def send() -> None:
            self.write(
                words,
                service.id,
                lambda snap: self._with_auth(
                    snap,
                    rules_service.updated_service(
                        snap, service.id, spec, version=service.version.index, now_s=self.world.clock.now_s
                    ),
                    credentials,
                ),
            )
            if self.random.random() < 0.15:  # Before its update has begun, or just then.
                self.world.clock.after(self.world.clock.between(0.0, 0.01), self.rebalance_service, service.id)

        self.world.clock.after(0.0 if at_once else self.random.choice((0.0, 0.0, 1.0)), send)

    def roll_back_service(self, service_id: str | None = None) -> None:
        """Go back to what a service, or some service, was."""
        service_id = service_id or self.any_of(Kind.SERVICE)
        if service_id in self.snap.services:
            version = self.snap.services[service_id].version.index
            self.write(
                f"rolls {service_id} back",
                service_id,
                lambda snap: rules_service.rolled_back(snap, service_id, version=version, now_s=self.world.clock.now_s),
            )

    def remove_service(self) -> None:
        """Remove a service."""
        if (service_id := self.any_of(Kind.SERVICE)) is not None:
            self.write(
                f"removes {service_id}",
                service_id,
                lambda snap: rules_service.removed_service(snap, service_id, now_s=self.world.clock.now_s),
            )

    def rebalance_service(self, service_id: str | None = None) -> None:
        """Spread a service, or some service, evenly."""
        service_id = service_id or self.any_of(Kind.SERVICE)
        if service_id in self.snap.services:
            self.rebalance((self.snap.services[service_id],), onto=None, nodes=False)

    def rebalance_nodes(self) -> None:
        """Give all nodes, or one, their share."""
        node_id = self.any_of(Kind.NODE) if self.random.random() < 0.3 else None
        if node_id is None or self.snap.nodes[node_id].ready:
            self.rebalance(self.snap.services.values(), onto=None if node_id is None else {node_id}, nodes=True)

    def rebalance(self, services: Iterable[Service], *, onto: Collection[str] | None, nodes: bool) -> bool:
        """Plan, and begin what was planned, at once or after a while: for services that are still as they were.

        Return whether anything is to move.
        """
        snap = self.snap
        made = plan(snap, services, onto=onto, nodes=nodes, now_s=self.world.clock.now_s)
        self.world.judge.rebalances.planned(snap, made, onto, nodes=nodes)
        moving = sorted({move.task.service_id for move in made.moves})
        shown = ", ".join(f"{slot_of(move.task)} {move.task.node_id} -> {move.to}" for move in made.moves)

        def send() -> None:
            now_s = self.world.clock.now_s
            self.write(f"rebalances: {shown}", moving, lambda snap: begun(snap, made.moves, made.versions, now_s=now_s))

        if made.moves:
            fate = self.random.random() if self.world.faulty else 1.0
            after, soon_s = self.world.clock.after, self.world.clock.between(0.0, 0.9)
            is_scaled = fate < 0.25  # Before what was planned begins: the plan is for another spec then.
            after(1.0 if is_scaled else self.random.choice((0.0, 0.0, 1.0)), send)
            if is_scaled:
                after(soon_s, self.scale_service, moving[0], True)
            elif fate < 0.45:  # Somebody else asks for the same meanwhile.
                after(soon_s, self.rebalance_service, moving[0])
            elif fate < 0.7:  # A node is closed before tasks are to come there, or once the first of them do.
                move = made.moves[-1]
                closed = replace(self.snap.nodes[move.to].spec, availability="pause")

                def close() -> None:
                    self.set_node(lambda _: closed, move.to)

                if fate < 0.6:
                    after(soon_s, close)
                else:
                    once(self, lambda snap: begins(snap, move.task.service_id), close)
        return bool(made.moves)

    # Secrets and configs.

    def create_secret(self, driven: bool | None = None) -> str:
        """Create a secret, some with a driver; return its id, by whose letter the judges know which."""
        driven = self.random.random() < 0.4 if driven is None else driven
        secret_id = f"{'d' if driven else 'k'}{self._number()}"
        spec = SecretSpec(name=secret_id, driver=Driver(name=driver.NAME) if driven else None)
        self.write(f"creates secret {secret_id}", secret_id, lambda snap: rules.new_secret(snap, secret_id, spec))
        return secret_id

    def create_config(self) -> None:
        """Create a config."""
        config_id = f"c{self._number()}"
        self.write(
            f"creates config {config_id}",
            config_id,
            lambda snap: rules.new_config(snap, config_id, ConfigSpec(name=config_id)),
        )

    def remove_value(self) -> None:
        """Remove a secret or config, if nobody uses it."""
        kind = self.random.choice((Kind.SECRET, Kind.CONFIG))
        if (object_id := self.any_of(kind)) is not None:
            self.write(f"removes {kind} {object_id}", object_id, lambda snap: rules.removed(snap, kind, object_id))

    def rotate_secret(self) -> None:
        """Put a new secret in the place of one that a service uses, and try to remove the old one."""
        service_id = self.any_of(Kind.SERVICE)
        used = self.snap.services[service_id].spec.task_template.container_spec.secrets if service_id else ()
        if service_id is None or not used:
            return
        old = self.random.choice(used)
        fresh = self.snap.secrets.get(self.create_secret())
        service = self.snap.services[service_id]
        if isinstance(fresh, Secret):
            self.change(service, specs.with_secret(service.spec, old.secret_id, fresh))
            self.world.clock.after(self.world.clock.between(0.0, 60.0), self._remove_secret, old.secret_id)

    def _remove_secret(self, secret_id: str) -> None:
        if secret_id in self.snap.secrets:
            words = f"removes secret {secret_id}"
            self.write(words, secret_id, lambda snap: rules.removed(snap, Kind.SECRET, secret_id))

    # Nodes.

    def set_availability(self) -> None:
        """Drain, pause or activate a node."""
        availability = self.random.choice(("active", "active", "pause", "drain"))
        if self.set_node(lambda spec: replace(spec, availability=availability)) and availability == "active":
            self._rebalance_later()

    def drain_lost(self) -> None:
        """Drain a node that cannot be reached, if there is one."""
        lost = [node_id for node_id in sorted(self.snap.nodes) if not self.world.machines[node_id].linked]
        if lost:
            self.set_node(lambda spec: replace(spec, availability="drain"), self.random.choice(lost))

    def maintain(self) -> None:
        """Drain a node for a while, and give it its share again."""
        if (node_id := self.any_of(Kind.NODE)) is not None:
            clock = self.world.clock
            drains_s, serves_s = clock.between(2.0, 12.0), clock.between(0.2, 4.0)
            self.set_node(lambda spec: replace(spec, availability="drain"), node_id)
            clock.after(drains_s, self.set_node, lambda spec: replace(spec, availability="active"), node_id)
            clock.after(drains_s + serves_s, self.rebalance_nodes)

    def set_label(self) -> None:
        """Give a node another label."""
        zone = self.random.choice("aabc")
        self.set_node(lambda spec: replace(spec, labels={"zone": zone}))

    def set_node(self, change: Callable[[NodeSpec], NodeSpec], node_id: str | None = None) -> bool:
        """Change what is said of a node, or of some; return whether anything was changed."""
        node_id = node_id or self.any_of(Kind.NODE)
        if node_id in self.snap.nodes:
            node = self.snap.nodes[node_id]
            spec = change(node.spec)
            return spec != node.spec and self.write(
                f"sets {node_id}: {spec.availability}, {spec.labels}",
                node_id,
                lambda snap: rules_cluster.updated_node(
                    snap, node_id, spec, version=node.version.index, now_s=self.world.clock.now_s
                ),
            )
        return False

    def remove_node(self) -> None:
        """Remove a node, mostly one that is down."""
        if (node_id := self.any_of(Kind.NODE)) is not None and len(self.snap.nodes) > FEWEST_NODES:
            force = self.random.random() < 0.6
            words = f"removes node {node_id}"
            self.write(words, node_id, lambda snap: rules_cluster.removed_node(snap, node_id, force=force))

    def add_node(self) -> None:
        """Let a new machine join."""
        if len(self.snap.nodes) < MOST_NODES and self.world.store.leader is not None:
            self.world.add_machine()
            self._rebalance_later()

    def _rebalance_later(self) -> None:
        """Give a node that serves now, or again, its share."""
        if self.random.random() < 0.7:
            self.world.clock.after(self.world.clock.between(0.5, 8.0), self.rebalance_nodes)

    # At the end.

    def level(self) -> bool:
        """Give all nodes their share; return whether anything is to move."""
        return self.rebalance(self.snap.services.values(), onto=None, nodes=True)

    def mend(self) -> None:
        """Give a good image to services whose tasks would otherwise end and be replaced for ever."""
        for service_id, service in sorted(self.snap.services.items()):
            spec = service.spec
            if restless(spec):
                container = replace(spec.task_template.container_spec, image="steady:mended")
                good = replace(spec, task_template=replace(spec.task_template, container_spec=container))
                if not spec.mode.is_job:  # Nothing is to take it back.
                    good = replace(good, update_config=UpdateConfig(failure_action="continue", deadline=0))
                self.write(
                    f"mends {service_id}",
                    service_id,
                    lambda snap, i=service_id, good=good: with_credentials(
                        snap,
                        rules_service.updated_service(
                            snap, i, good, version=snap.services[i].version.index, now_s=self.world.clock.now_s
                        ),
                        None,
                    ),
                )


def begins(snap: Snapshot, service_id: str) -> bool:
    """Whether a rebalance of a service is in progress."""
    service = snap.services.get(service_id)
    return service is not None and service.update_status is not None and bool(service.update_status.moves)


def restless(spec: ServiceSpec) -> bool:
    """Whether tasks of a spec end and are replaced for ever."""
    kind, policy = kind_of(spec.task_template.container_spec.image), spec.task_template.restart_policy
    policy = policy or RestartPolicy()
    if policy.condition == "none" or (policy.max_attempts and not policy.window):
        return False
    return kind in BAD or (kind in DONE and policy.condition != "on-failure" and not spec.mode.is_job)


ACTS: dict[Callable[[People], object], int] = {
    People.create_service: 12,
    People.update_service: 16,
    People.hurry: 3,
    People.scale_service: 8,
    People.roll_back_service: 3,
    People.remove_service: 3,
    People.rebalance_service: 3,
    People.rebalance_nodes: 4,
    People.create_secret: 3,
    People.create_config: 2,
    People.remove_value: 3,
    People.rotate_secret: 4,
    People.set_availability: 6,
    People.maintain: 5,
    People.drain_lost: 3,
    People.set_label: 5,
    People.remove_node: 2,
    People.add_node: 2,
    **PLOTS,
}
