"""Specs of services, drawn by chance: whatever a spec can say that the orchestration core acts on."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from msgspec.structs import replace

from tests.sim.themes import Theme
from vault.model.base import SECOND_NS
from vault.model.container import ContainerSpec, HealthConfig
from vault.model.depends import DEPENDS_LABEL, Condition
from vault.model.generic import discrete
from vault.model.secret import Config, ConfigReference, FileTarget, Secret, SecretReference
from vault.model.service import (
    EndpointSpec,
    Global,
    GlobalJob,
    NetworkAttachmentConfig,
    Placement,
    PlacementPreference,
    PortConfig,
    Replicated,
    ReplicatedJob,
    Reservation,
    Resources,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    SpreadOver,
    TaskSpec,
    UpdateConfig,
)
from vault.store.snapshot import Snapshot

MOST_REPLICAS = 6
CONSTRAINTS = (
    "node.labels.zone==a", "node.labels.zone!=c", "node.labels.zone == B", "node.role!=manager",
    "node.platform.os==linux", "node.hostname!=h1", "engine.labels.disk==ssd", "node.id!=n0", "node.ip!=10.0.0.2",
)  # fmt: skip
ORDERS = ("stop-first", "start-first")
ACTIONS = ("pause", "continue", "rollback")


def draw(
    random: Random,
    theme: Theme,
    name: str,
    secrets: Sequence[Secret],
    configs: Sequence[Config],
    *,
    mode: ServiceMode | None = None,
) -> ServiceSpec:
    """Return a spec drawn by chance."""
    mode = new_mode(random, theme) if mode is None else mode
    container_spec = container(random, theme, secrets, configs)
    if mode.is_job and random.random() < 0.7:
        container_spec = replace(container_spec, image=image(random, ("finishes", "lingers")))
    return ServiceSpec(
        name=name,
        labels=depends(random, name),
        task_template=TaskSpec(
            container_spec=container_spec,
            networks=(NetworkAttachmentConfig(target=random.choice(("small", "large"))),) * (random.random() < 0.4),
            placement=placement(random, theme),
            resources=resources(random, theme),
            restart_policy=restart_policy(random, theme),
        ),
        mode=mode,
        update_config=update_config(random) if not mode.is_job and random.random() < 0.8 else None,
        rollback_config=update_config(random, rollback=True) if not mode.is_job and random.random() < 0.3 else None,
        endpoint_spec=endpoint(random),
    )


def depends(random: Random, name: str) -> dict[str, str]:
    """Return what a service waits for: another one, which may be there or not, or wait for this one."""
    if random.random() > 0.2:
        return {}
    other = f"s{random.randint(4, 9)}"
    return {} if other == name else {DEPENDS_LABEL: f"{other}={random.choice(list(Condition)).value}"}


def new_mode(random: Random, theme: Theme) -> ServiceMode:
    """Return whether a service has replicas, one task a node, or is a job of either kind."""
    match random.choices(range(4), theme.modes)[0]:
        case 0:
            return ServiceMode(replicated=Replicated(replicas=random.randint(0, MOST_REPLICAS)))
        case 1:
            return ServiceMode(global_=Global())
        case 2:
            return ServiceMode(
                replicated_job=ReplicatedJob(
                    max_concurrent=random.randint(0, 3), total_completions=random.randint(0, 5)
                )
            )
        case _:
            return ServiceMode(global_job=GlobalJob())


def container(random: Random, theme: Theme, secrets: Sequence[Secret], configs: Sequence[Config]) -> ContainerSpec:
    """Return what a task runs, and which secrets and configs it reads."""
    return ContainerSpec(
        image=image(random, theme.images),
        stop_grace_period=random.choice((None, None, 0, SECOND_NS, 10 * SECOND_NS)),
        secrets=tuple(map(secret_reference, chosen(random, secrets))),
        configs=tuple(map(config_reference, chosen(random, configs))),
        healthcheck=healthcheck(random) if random.random() < theme.checked else None,
    )


def healthcheck(random: Random) -> HealthConfig:
    """Return how a container is asked whether it is well."""
    return HealthConfig(
        test=("CMD", "true"),
        interval=random.choice((1, 3)) * SECOND_NS,
        retries=random.choice((1, 2)),
        start_period=random.choice((0, 0, 4)) * SECOND_NS,
        start_interval=SECOND_NS,
    )


def image(random: Random, kinds: Sequence[str]) -> str:
    """Return an image."""
    return f"{random.choice(kinds)}:v{random.randint(1, 5)}"


def chosen(random: Random, values: Sequence[Secret] | Sequence[Config]) -> list:
    """Return some of what there is, mostly none or one."""
    return random.sample(list(values), min(len(values), random.choice((0, 0, 1, 1, 2))))


def secret_reference(secret: Secret) -> SecretReference:
    """Return a claim on a secret."""
    return SecretReference(file=FileTarget(name=secret.id), secret_id=secret.id, secret_name=secret.spec.name)


def config_reference(config: Config) -> ConfigReference:
    """Return a claim on a config."""
    return ConfigReference(file=FileTarget(name=f"/{config.id}"), config_id=config.id, config_name=config.spec.name)


def placement(random: Random, theme: Theme) -> Placement | None:
    """Return where tasks may run."""
    if random.random() >= theme.placed:
        return None
    constraints = tuple(random.sample(CONSTRAINTS, random.choice((0, 1, 1, 2))))
    platforms = ({"OS": "linux", "Architecture": random.choice(("amd64", "arm64"))},) if random.random() < 0.1 else ()
    preferences = (PlacementPreference(spread=SpreadOver(spread_descriptor="node.labels.zone")),)
    return Placement(
        constraints=constraints,
        platforms=platforms,
        preferences=preferences if random.random() < 0.3 else (),
        max_replicas=random.choice((1, 2)) if random.random() < 0.15 else 0,
    )


def resources(random: Random, theme: Theme) -> Resources | None:
    """Return what a task reserves: nodes have 4 CPUs and 4 GiB."""
    if random.random() >= theme.reserves:
        return None
    cpus, memory = random.choice((0, 1, 1.5, 2)), random.choice((0, 1, 2))
    generic = random.choice(((), (), (discrete("disk", 1),), (discrete("gpu", random.choice((1, 2))),)))
    return Resources(
        reservations=Reservation(nano_cpus=int(cpus * 1e9), memory_bytes=memory << 30, generic_resources=generic)
    )


def restart_policy(random: Random, theme: Theme) -> RestartPolicy | None:
    """Return when an ended task is replaced."""
    if random.random() < 0.2:
        return None
    limited = random.random() < theme.limited
    return RestartPolicy(
        condition=random.choice(theme.conditions),
        delay=int(random.choice((0, 0.5, 1, 5)) * SECOND_NS),
        max_attempts=random.choice((1, 2, 3)) if limited else None,
        window=random.choice((5, 30)) * SECOND_NS if limited and random.random() < 0.4 else None,
    )


def update_config(random: Random, *, rollback: bool = False) -> UpdateConfig:
    """Return how tasks are exchanged."""
    actions = ACTIONS[:2] if rollback else ACTIONS
    return UpdateConfig(
        parallelism=random.choice((0, 1, 1, 2)),
        delay=int(random.choice((0, 0, 0.5, 3)) * SECOND_NS),
        failure_action=random.choice(actions),
        monitor=int(random.choice((0, 0.5, 2)) * SECOND_NS),
        max_failure_ratio=random.choice((0.0, 0.0, 0.3, 1.0)),
        order=random.choice(ORDERS),
        deadline=random.choice((20, 60)) * SECOND_NS if random.random() < 0.3 else None,
    )


def endpoint(random: Random) -> EndpointSpec | None:
    """Return the ports of a service: on its nodes, or in the mesh."""
    kind = random.random()
    if kind < 0.12:
        ports = (PortConfig(target_port=80, published_port=random.choice((80, 81)), publish_mode="host"),)
        return EndpointSpec(ports=ports)
    if kind < 0.2:
        return EndpointSpec(ports=(PortConfig(target_port=80),))
    return None


def edited(random: Random, theme: Theme, spec: ServiceSpec, snap: Snapshot) -> ServiceSpec:
    """Return a spec with one thing changed, or drawn anew."""
    task = spec.task_template
    secrets = [secret for _, secret in sorted(snap.secrets.items())]
    configs = [config for _, config in sorted(snap.configs.items())]
    match random.choice(theme.edits):
        case "image":
            return replace(spec, task_template=with_image(task, image(random, theme.images)))
        case "placement":
            return replace(spec, task_template=replace(task, placement=placement(random, theme)))
        case "limit":
            limited = replace(task.placement or Placement(), max_replicas=random.choice((0, 1, 1, 2)))
            return replace(spec, task_template=replace(task, placement=limited))
        case "resources":
            return replace(spec, task_template=replace(task, resources=resources(random, theme)))
        case "values":
            fresh = container(random, theme, secrets, configs)
            old = replace(task.container_spec, secrets=fresh.secrets, configs=fresh.configs)
            return replace(spec, task_template=replace(task, container_spec=old))
        case "force":
            return replace(spec, task_template=replace(task, force_update=task.force_update + 1))
        case "how":
            how = None if spec.mode.is_job else update_config(random)
            return replace(spec, update_config=how, task_template=with_image(task, image(random, theme.images)))
        case "ports":
            return replace(spec, endpoint_spec=endpoint(random))
        case _:
            return draw(random, theme, spec.name, secrets, configs, mode=spec.mode)


def with_image(task: TaskSpec, name: str) -> TaskSpec:
    """Return a task with another image."""
    return replace(task, container_spec=replace(task.container_spec, image=name))


def with_secret(spec: ServiceSpec, old_id: str, new: Secret) -> ServiceSpec:
    """Return a spec with one secret in the place of another."""
    container_spec = spec.task_template.container_spec
    secrets = tuple(secret_reference(new) if one.secret_id == old_id else one for one in container_spec.secrets)
    task = replace(spec.task_template, container_spec=replace(container_spec, secrets=secrets))
    return replace(spec, task_template=task)


def shown_mode(mode: ServiceMode) -> str:
    """Return in a few words how many tasks there are."""
    if mode.replicated is not None:
        return f"{mode.replicated.replicas} x"
    if mode.replicated_job is not None:
        return f"job {mode.replicated_job.total_completions}, {mode.replicated_job.max_concurrent} at a time"
    return mode.name


def shown(spec: ServiceSpec) -> str:
    """Return in a few words what a spec says."""
    task = spec.task_template
    policy, how, place = task.restart_policy, spec.update_config, task.placement
    words = [
        shown_mode(spec.mode),
        task.container_spec.image,
    ]
    if policy:
        tries = f" {policy.max_attempts}/{(policy.window or 0) / 1e9:g}s" if policy.max_attempts else ""
        words.append(f"restart {policy.condition or 'any'} after {(policy.delay or 0) / 1e9:g}s{tries}")
    if how:
        limit = f" within {how.deadline / 1e9:g}s" if how.deadline else ""
        words.append(f"update {how.parallelism} {how.order} {how.failure_action} > {how.max_failure_ratio:g}{limit}")
    if task.container_spec.healthcheck:
        words.append("probed")
    if place:
        words.append(" ".join((*place.constraints, *(["spread"] if place.preferences else []))))
    if spec.endpoint_spec and spec.endpoint_spec.ports:
        words.append(f"{spec.endpoint_spec.ports[0].publish_mode} port")
    words.extend(f"waits for {value}" for value in spec.labels.values())
    words.extend(reference.secret_id for reference in task.container_spec.secrets)
    return ", ".join(filter(None, words))
