"""What a deploy does, in which order, and what stops it before it does anything."""

import msgspec
import pytest

from tests.stack.builders import stack
from vault.model.base import Version
from vault.model.secret import Config, ConfigSpec, Secret, SecretSpec
from vault.model.service import (
    Endpoint,
    EndpointSpec,
    PortConfig,
    Service,
    ServiceSpec,
)
from vault.stack.convert import Deployment, convert
from vault.stack.errors import NotDeployable, StackError
from vault.stack.existing import Existing, ExistingNetwork
from vault.stack.plan import (
    CreateConfig,
    CreateNetwork,
    CreateSecret,
    CreateService,
    RemoveService,
    Step,
    UpdateConfig,
    UpdateSecret,
    UpdateService,
    plan,
)
from vault.stack.references import with_ids

FILES = {"/stack/s": b"value", "/stack/c": b"text"}
STACK = """
    services:
      web:
        image: nginx
        secrets: [s, outside]
        configs: [c]
        networks: [default, other]
      db: {image: mysql}
    networks: {other: }
    secrets: {s: {file: s}, outside: {external: true, name: real}}
    configs: {c: {file: c}}
"""
LABELS = {"com.docker.stack.namespace": "demo"}


def deployment(*texts: str) -> Deployment:
    return convert(stack(*(texts or (STACK,)), contents=FILES), "demo")


def secret(name: str) -> Secret:
    return Secret(id=f"id-{name}", version=Version(index=7), spec=SecretSpec(name=name))


def config(name: str) -> Config:
    return Config(id=f"id-{name}", version=Version(index=8), spec=ConfigSpec(name=name))


def running(spec: ServiceSpec, *, ports: tuple[PortConfig, ...] = ()) -> Service:
    return Service(id=f"id-{spec.name}", version=Version(index=9), spec=spec, endpoint=Endpoint(ports=ports))


def foreign(name: str, *, port: PortConfig | None = None) -> Service:
    endpoint = EndpointSpec(ports=(port,) if port else ())
    return running(ServiceSpec(name=name, endpoint_spec=endpoint))


def existing(*services: Service, secrets: tuple[str, ...] = ("real",), configs: tuple[str, ...] = ()) -> Existing:
    return Existing(
        secrets={name: secret(name) for name in secrets},
        configs={name: config(name) for name in configs},
        services={service.spec.name: service for service in services},
    )


def told(steps: tuple[Step, ...]) -> list[str]:
    """Return a line per step."""
    lines = []
    for step in steps:
        match step:
            case RemoveService():
                lines.append(f"remove service {step.name}")
            case CreateNetwork():
                lines.append(f"create network {step.network.name}")
            case CreateSecret() | UpdateSecret():
                lines.append(f"{type(step).__name__[:6].lower()} secret {step.secret.spec.name}")
            case CreateConfig() | UpdateConfig():
                lines.append(f"{type(step).__name__[:6].lower()} config {step.config.spec.name}")
            case CreateService() | UpdateService():
                lines.append(f"{type(step).__name__[:6].lower()} service {step.spec.name}")
    return lines


def test_a_first_deploy_makes_networks_then_secrets_then_configs_then_services() -> None:
    assert told(plan(deployment(), existing())) == [
        "create network demo_default",
        "create network demo_other",
        "create secret demo_s",
        "create config demo_c",
        "create service demo_web",
        "create service demo_db",
    ]


def test_a_second_deploy_asks_for_what_may_be_refused_before_it_makes_anything() -> None:
    made = deployment()
    world = Existing(
        networks={"demo_default": ExistingNetwork(id="n", scope="swarm", labels=LABELS)},
        secrets={"real": secret("real"), "demo_s": secret("demo_s")},
        configs={"demo_c": config("demo_c")},
        services={"demo_web": running(made.services[0])},
    )
    steps = plan(made, world)
    assert told(steps) == [
        "update secret demo_s",
        "update config demo_c",
        "create network demo_other",
        "update service demo_web",
        "create service demo_db",
    ]
    assert steps[0] == UpdateSecret(id="id-demo_s", version=7, secret=made.secrets[0])
    assert steps[3] == UpdateService(id="id-demo_web", version=9, spec=made.services[0])


def test_prune_removes_the_services_that_the_stack_lost_and_no_others() -> None:
    labelled = msgspec.structs.replace(foreign("demo_old").spec, labels=LABELS)
    world = existing(running(labelled), foreign("demo_lookalike"))
    assert told(plan(deployment(), world, prune=True))[0] == "remove service demo_old"
    assert not [line for line in told(plan(deployment(), world)) if line.startswith("remove")]


def test_an_update_keeps_the_force_count_so_that_an_unchanged_service_is_left_alone() -> None:
    made = deployment()
    old = msgspec.structs.replace(
        made.services[0], task_template=msgspec.structs.replace(made.services[0].task_template, force_update=3)
    )
    steps = plan(made, existing(running(old)))
    update = next(step for step in steps if isinstance(step, UpdateService))
    assert update.spec == old


def test_an_image_that_the_file_did_not_change_can_stay_pinned() -> None:
    made = deployment()
    pinned = "nginx:latest@sha256:" + "a" * 64
    task = msgspec.structs.replace(
        made.services[0].task_template,
        container_spec=msgspec.structs.replace(made.services[0].task_template.container_spec, image=pinned),
    )
    old = running(msgspec.structs.replace(made.services[0], task_template=task))
    images = [
        next(
            step for step in plan(made, existing(old), keep_images=keep) if isinstance(step, UpdateService)
        ).spec.task_template.container_spec.image
        for keep in (True, False)
    ]
    assert images == [pinned, "nginx:latest"]


def test_ids_are_filled_in_by_name() -> None:
    spec = with_ids(deployment().services[0], {"demo_s": "1", "real": "2"}, {"demo_c": "3"})
    container = spec.task_template.container_spec
    assert [(reference.secret_name, reference.secret_id) for reference in container.secrets] == [
        ("demo_s", "1"),
        ("real", "2"),
    ]
    assert [reference.config_id for reference in container.configs] == ["3"]


EXTERNAL_NETWORK = "services: {a: {image: b, networks: [n]}}\nnetworks: {n: {external: true, name: shared}}"


@pytest.mark.parametrize(
    ("scope", "error"),
    [
        (
            None,
            'network "shared" is declared as external, but could not be found. '
            "You need to create a swarm-scoped network before the stack is deployed",
        ),
        (
            "local",
            'network "shared" is declared as external, but it is not in the right scope: "local" instead of "swarm"',
        ),
    ],
)
def test_an_external_network_must_be_there_and_reach_all_nodes(scope: str | None, error: str) -> None:
    world = Existing(networks={"shared": ExistingNetwork(id="n", scope=scope)} if scope else {})
    with pytest.raises(NotDeployable) as raised:
        plan(deployment(EXTERNAL_NETWORK), world)
    assert str(raised.value) == error


def test_a_nodes_own_network_needs_no_looking_up() -> None:
    text = EXTERNAL_NETWORK.replace("shared", "host")
    assert told(plan(deployment(text), Existing())) == ["create service demo_a"]


@pytest.mark.parametrize(
    ("text", "world", "error"),
    [
        (STACK, Existing(), "service web: secret not found: real"),
        (
            "services: {a: {image: b, configs: [x]}}\nconfigs: {x: {external: true}}",
            Existing(),
            "service a: config not found: x",
        ),
        (
            STACK,
            existing(foreign("demo_web")),
            "failed to create service demo_web: rpc error: code = AlreadyExists desc = "
            "name conflicts with an existing object: service demo_web already exists",
        ),
        (
            "services: {a: {image: b}}",
            Existing(networks={"demo_default": ExistingNetwork(id="n", scope="swarm")}),
            "failed to create network demo_default: network with name demo_default already exists",
        ),
        (
            STACK,
            existing(secrets=("real", "DEMO_S")),
            "failed to create secret demo_s: rpc error: code = AlreadyExists desc = secret demo_s already exists",
        ),
        (
            "services: {}\nsecrets: {a: {file: s, name: X}, b: {file: s, name: x}}",
            Existing(),
            "the stack defines two secrets with the name x: give one of them another name",
        ),
    ],
)
def test_what_stands_in_the_way_is_said_before_the_first_step(text: str, world: Existing, error: str) -> None:
    with pytest.raises(StackError) as raised:
        plan(deployment(text), world)
    assert str(raised.value) == error
