"""The real deciders in a simulated cluster.

A seed that fails prints what happened last; `pytest tests/sim -k '[17]'` plays seed 17 again, exactly as it was.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.sim.cluster import Cluster
from tests.sim.invariants import check_pace, check_settled
from vault.model.container import ContainerSpec
from vault.model.service import (
    EndpointSpec,
    Global,
    NetworkAttachmentConfig,
    Placement,
    PortConfig,
    Replicated,
    Reservation,
    Resources,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)

SECOND = 10**9


def spec(
    replicas: int | None = 1,
    *,
    image: str = "v1",
    constraints: tuple[str, ...] = (),
    cpus: float = 0,
    delay_s: float = 1.0,
    parallelism: int = 1,
    condition: str = "any",
    attempts: int = 0,
    host_port: int = 0,
    action: str = "pause",
) -> ServiceSpec:
    """Return the spec of a service; replicas None = global."""
    mode = ServiceMode(global_=Global()) if replicas is None else ServiceMode(replicated=Replicated(replicas=replicas))
    ports = (PortConfig(target_port=80, published_port=host_port, publish_mode="host"),) if host_port else ()
    return ServiceSpec(
        name="web",
        task_template=TaskSpec(
            container_spec=ContainerSpec(image=image),
            networks=(NetworkAttachmentConfig(target="net"),),
            placement=Placement(constraints=constraints) if constraints else None,
            resources=Resources(reservations=Reservation(nano_cpus=int(cpus * 1e9))) if cpus else None,
            restart_policy=RestartPolicy(
                condition=condition, delay=int(delay_s * SECOND), max_attempts=attempts or None
            ),
        ),
        mode=mode,
        update_config=UpdateConfig(parallelism=parallelism, monitor=SECOND, failure_action=action),
        endpoint_spec=EndpointSpec(ports=ports) if ports else None,
    )


def image(name: str) -> Callable[[ServiceSpec], ServiceSpec]:
    """Return what changes the image of a spec."""

    def change(old: ServiceSpec) -> ServiceSpec:
        template = old.task_template
        return replace(
            old, task_template=replace(template, container_spec=replace(template.container_spec, image=name))
        )

    return change


def replicas(count: int) -> Callable[[ServiceSpec], ServiceSpec]:
    """Return what changes the number of replicas of a spec."""
    return lambda old: replace(old, mode=ServiceMode(replicated=Replicated(replicas=count)))


LASTING = {"web", "fat", "zone", "all"}  # Services that are never removed.
SEEDS = int(os.environ.get("VAULT_SIM_SEEDS", "60"))  # More of them in the night: VAULT_SIM_SEEDS=5000.


@pytest.mark.parametrize("seed", range(SEEDS))
def test_services_come_to_what_their_specs_say_once_faults_stop(seed: int) -> None:
    """Crashing tasks, lost nodes and messages, and new leaders may delay a service, never lose or double it."""
    cluster = play(seed)
    check_settled(cluster)
    assert {key: cluster.running(key) for key in LASTING} == {
        "web": 5,
        "fat": cluster.snap.services["fat"].replicas,
        "zone": min(2, zone_nodes(cluster, "a")),
        "all": len(cluster.snap.nodes) - zone_nodes(cluster, "c"),
    }, cluster.story()
    assert {task.service_id for task in cluster.snap.tasks.values()} <= LASTING
    settled = cluster.snap
    cluster.change_leader()
    cluster.run(10)
    assert cluster.snap is settled, f"a new leader sees something to do\n{cluster.story()}"


def play(seed: int) -> Cluster:
    """Return the cluster of a seed after a time of mischief and a time of peace."""
    cluster = Cluster(seed=seed, nodes=4)
    clock = cluster.clock
    cluster.create("web", spec(3, parallelism=clock.random.choice((0, 1, 2))))
    cluster.create("fat", spec(4, cpus=1.5, action="continue"))
    cluster.create("zone", spec(2, constraints=("node.labels.zone == a",), host_port=80))
    cluster.create("all", spec(None, parallelism=2, constraints=("node.labels.zone != c",)))
    cluster.create("gone", spec(2, condition="on-failure", attempts=2))
    cluster.faulty = True
    for step in range(10):
        cluster.run(clock.between(0.0, 5.0))
        mischief(cluster, step)
        check_pace(cluster, cluster.snap)
    cluster.heal()
    for service_id in sorted({*cluster.snap.services} - LASTING):
        cluster.remove(service_id)
    for service_id in sorted(LASTING):
        cluster.update(service_id, image("last"))
    cluster.update("web", replicas(5), "scale")
    cluster.run(120)
    return cluster


def zone_nodes(cluster: Cluster, zone: str) -> int:
    """Return how many nodes are in a zone."""
    return sum(1 for node in cluster.snap.nodes.values() if node.spec.labels["zone"] == zone)


DEEDS = (
    "leader", "crash", "cut", "back", "back", "image", "scale", "drain", "active", "pause", "zone", "slow", "create",
    "remove", "remove node",
)  # fmt: skip


def mischief(cluster: Cluster, step: int) -> None:
    """Do one thing that an operator or an accident may do."""
    random = cluster.clock.random
    node_id = random.choice(sorted(cluster.snap.nodes))
    service_id = random.choice(sorted(cluster.snap.services))
    match random.choice(DEEDS):
        case "leader":
            cluster.change_leader()
        case "crash" | "cut" as how if cluster.agents[node_id].connected:
            cluster.cut(node_id, crash=how == "crash")
        case "back":
            cluster.join_again(node_id)
        case "image":
            cluster.update(service_id, image(f"v{step}"))
        case "scale" if service_id in ("web", "fat"):
            cluster.update(service_id, replicas(random.randint(0, 6)), "scale")
        case "drain" | "active" | "pause" as availability:
            cluster.set_node(node_id, availability=availability)
        case "zone":
            cluster.set_node(node_id, zone=random.choice("abc"))
        case "create":
            cluster.create(f"s{step}", spec(2, parallelism=0, delay_s=0.0), exits=(1.0, 10.0))
        case "remove" if service_id not in LASTING:
            cluster.remove(service_id)
        case "remove node" if len(cluster.snap.nodes) > 3:
            cluster.remove_node(node_id)
        case "slow":
            cluster.agents[node_id].slow = random.choice((1.0, 10.0))


def test_a_seed_plays_the_same_in_every_process() -> None:
    """Python orders sets anew in each process: nothing decided may depend on that."""
    program = "from tests.sim.test_sim import play; print(play(7).told())"
    stories = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert stories[0] == stories[1]
    assert stories[0].count(b"\n") > 10
