"""What of a stack cannot become objects of a cluster."""

import pytest

from tests.stack.builders import DIRECTORY, service, stack
from vault.model.container import (
    AppArmorOpts,
    HealthConfig,
    Mount,
    Privileges,
    SeccompOpts,
    SELinuxContext,
    TmpfsOptions,
)
from vault.model.generic import discrete
from vault.model.network import IPAMOptions
from vault.model.secret import Driver
from vault.model.service import (
    GlobalJob,
    Placement,
    PlacementPreference,
    ReplicatedJob,
    Reservation,
    Resources,
    ServiceMode,
    SpreadOver,
)
from vault.stack.beyond import SHM
from vault.stack.convert import convert
from vault.stack.errors import NotOffered, StackError

CONTENTS = {"/stack/s": b"\0binary\xff\n", "/stack/empty": b"", "/stack/large": b"x" * 512_000}


WINDOWS = "needs Windows nodes, and all nodes here run Linux: leave it out"
CLUSTER_VOLUMES = "needs cluster volumes (CSI), which are not offered: use a volume of a network file system"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (service("credential_spec: {file: x}"), f"services.web.credential_spec {WINDOWS}"),
        (service("isolation: hyperv"), f"services.web.isolation {WINDOWS}"),
        (
            service("volumes: [{type: npipe, source: a, target: /b}]"),
            f"services.web.volumes.0.type npipe {WINDOWS}",
        ),
        (
            service("volumes: [/a, {type: cluster, source: a, target: /b}]"),
            f"services.web.volumes.1.type cluster {CLUSTER_VOLUMES}",
        ),
        (
            "services: {}\nvolumes: {v: {x-cluster-spec: {}}}",
            f"volumes.v.x-cluster-spec {CLUSTER_VOLUMES}",
        ),
    ],
)
def test_a_key_that_no_node_can_honour_is_refused_with_the_reason(text: str, told: str) -> None:
    with pytest.raises(NotOffered) as raised:
        convert(stack(text), "demo")
    assert str(raised.value).startswith(told)


def test_a_volume_of_the_stack_has_its_driver_and_options() -> None:
    text = service("volumes: ['v:/data', 'own:/own']") + (
        "\nvolumes: {v: {driver: local, driver_opts: {type: nfs, o: 'addr=10.0.0.9', device: ':/x'}}, "
        "own: {external: true}}"
    )
    (spec,) = convert(stack(text), "demo").services
    first, second = spec.task_template.container_spec.mounts
    assert first.volume_options is not None
    assert second.volume_options is not None
    options = {"type": "nfs", "o": "addr=10.0.0.9", "device": ":/x"}
    assert first.volume_options.driver_config == Driver(name="local", options=options)
    assert second.volume_options.driver_config is None


def test_an_image_is_a_mount_too() -> None:
    text = service("volumes: [{type: image, source: 'tools:1', target: /tools, read_only: true}]")
    (spec,) = convert(stack(text), "demo").services
    (mount,) = spec.task_template.container_spec.mounts
    assert (mount.type, mount.source, mount.target, mount.read_only) == ("image", "tools:1", "/tools", True)


def test_options_of_the_overlay_driver_are_passed_on() -> None:
    chosen = "{com.docker.network.driver.mtu: 1200, encrypted: ''}"
    keys = f"services: {{a: {{image: b, networks: [n]}}}}\nnetworks: {{n: {{driver_opts: {chosen}}}}}"
    (network,) = convert(stack(keys), "demo").networks
    options = {"com.docker.network.driver.mtu": "1200", "encrypted": ""}
    assert network.spec().driver_configuration == Driver(name="overlay", options=options)


def test_other_drivers_of_networks_are_passed_on_for_the_manager_to_judge() -> None:
    keys = "services: {a: {image: b, networks: [n]}}\nnetworks: {n: {driver: macvlan, ipam: {driver: x}}}"
    (network,) = convert(stack(keys), "demo").networks
    spec = network.spec()
    assert spec.driver_configuration == Driver(name="macvlan")
    assert spec.ipam_options == IPAMOptions(driver=Driver(name="x"))


def test_options_of_a_service_s_place_on_a_network_are_passed_on() -> None:
    keys = "networks: {default: {driver_opts: {com.docker.network.endpoint.ifname: db0}}}"
    (spec,) = convert(stack(service(keys)), "demo").services
    (attachment,) = spec.task_template.networks
    assert attachment.driver_opts == {"com.docker.network.endpoint.ifname": "db0"}


@pytest.mark.parametrize("kind", ["secret", "config"])
def test_a_secret_or_config_can_be_a_template(kind: str) -> None:
    text = f"services: {{}}\n{kind}s: {{s: {{file: s, template_driver: golang}}}}"
    made = convert(stack(text, contents=CONTENTS), "demo")
    (new,) = (*made.secrets, *made.configs)
    assert new.spec.templating == Driver(name="golang")


def test_placement_and_generic_resources_are_passed_on() -> None:
    keys = """
        deploy:
          placement:
            constraints: [node.role == worker]
            preferences: [{spread: node.labels.zone}, {spread: engine.labels.rack}]
            max_replicas_per_node: 2
          resources:
            reservations:
              generic_resources: [{discrete_resource_spec: {kind: gpu, value: 2}}]
    """
    (made,) = convert(stack(service(keys)), "demo").services
    assert made.task_template.placement == Placement(
        constraints=("node.role == worker",),
        preferences=tuple(
            PlacementPreference(spread=SpreadOver(spread_descriptor=label))
            for label in ("node.labels.zone", "engine.labels.rack")
        ),
        max_replicas=2,
    )
    assert made.task_template.resources == Resources(reservations=Reservation(generic_resources=(discrete("gpu", 2),)))


@pytest.mark.parametrize(
    "keys",
    [
        "healthcheck: {disable: true}",
        "isolation: default",
        "logging: {driver: json-file, options: {max-size: 1m, max-file: 3}}",
        "logging: {driver: none}",
        "logging: {driver: syslog, options: {syslog-address: 'udp://logs:514'}}",
        "logging: {driver: awslogs, options: {awslogs-group: x}}",
    ],
)
def test_a_key_that_asks_for_nothing_new_is_accepted(keys: str) -> None:
    assert convert(stack(service(keys)), "demo").services


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ("secrets: [nope]", 'undefined secret "nope"'),
        ("configs: [nope]", 'undefined config "nope"'),
        ("networks: [nope]", 'undefined network "nope"'),
        ("volumes: ['nope:/x']", 'undefined volume "nope"'),
        ("secrets: [s, s]", "duplicate secret target for demo_s not allowed"),
        ("configs: [{source: c, target: x}, {source: d, target: x}]", "duplicate config target for demo_d not allowed"),
        ("deploy: {mode: foo}", "unknown mode: foo"),
        (
            "deploy: {mode: global-job, replicas: 2}",
            "replicas can only be used with replicated or replicated-job mode",
        ),
        (
            "deploy: {mode: global, replicas: 2}",
            "replicas can only be used with replicated or replicated-job mode",
        ),
        ("deploy: {resources: {limits: {cpus: x}}}", "failed to parse x as a rational number"),
        ("deploy: {resources: {limits: {cpus: '0.0000000001'}}}", "value is too precise"),
        (
            "restart: sometimes",
            "invalid restart policy: unknown policy 'sometimes' (must be one of 'no', 'always', "
            "'on-failure', or 'unless-stopped')",
        ),
        ("restart: 'on-failure:x'", "invalid restart policy format: maximum retry count must be an integer"),
        ("restart: 'on-failure:-1'", "invalid restart policy: maximum retry count cannot be negative"),
        ("restart: ':1'", "invalid restart policy format: no policy provided before colon"),
        ("healthcheck: {disable: true, test: x}", "test and disable can't be set at the same time"),
        ("volumes: [{type: tmpfs, source: a, target: /b}]", "invalid tmpfs source, source must be empty"),
        (
            "volumes: [{type: tmpfs, target: /b, bind: {propagation: shared}}]",
            "bind options are incompatible with type tmpfs",
        ),
        ("volumes: [{type: volume, target: /b, tmpfs: {size: 1}}]", "tmpfs options are incompatible with type volume"),
        ("volumes: [{type: foo, target: /b}]", "volume type must be volume, bind, tmpfs, npipe, or cluster"),
    ],
)
def test_a_service_that_cannot_be_is_named_with_the_reason(keys: str, error: str) -> None:
    text = service(keys, rest="secrets: {s: {file: s}}\nconfigs: {c: {file: s}, d: {file: s}}")
    with pytest.raises(StackError) as raised:
        convert(stack(text, contents=CONTENTS), "demo")
    assert str(raised.value) == f"service web: {error}"


@pytest.mark.parametrize(
    ("section", "error"),
    [
        ("secrets: {s: {file: nope}}", "open /stack/nope: no such file or directory"),
        (
            "secrets: {s: {file: empty}}",
            "failed to create secret demo_s: rpc error: code = InvalidArgument desc = "
            "secret data must be larger than 0 and less than 512000 bytes",
        ),
        (
            "secrets: {s: {file: large}}",
            "failed to create secret demo_s: rpc error: code = InvalidArgument desc = "
            "secret data must be larger than 0 and less than 512000 bytes",
        ),
        (
            "configs: {s: {file: s, name: 'a b'}}",
            "failed to create config a b: rpc error: code = InvalidArgument desc = invalid name, "
            "only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]",
        ),
        (
            "configs: {s: {file: s, template_driver: jinja}}",
            "failed to create config demo_s: rpc error: code = InvalidArgument desc = "
            'template driver "jinja" is not supported: use golang',
        ),
    ],
)
def test_a_file_that_cannot_be_a_secret_or_config_is_an_error(section: str, error: str) -> None:
    with pytest.raises(StackError) as raised:
        convert(stack(f"services: {{}}\n{section}", contents=CONTENTS), "demo")
    assert str(raised.value) == error


def test_a_secret_keeps_its_bytes_and_does_not_print_them() -> None:
    deployment = convert(stack("services: {}\nsecrets: {s: {file: s}}", contents=CONTENTS), "demo")
    assert deployment.secrets[0].value.reveal() == CONTENTS["/stack/s"]
    assert "binary" not in repr(deployment)


def test_a_secret_of_a_driver_has_no_value() -> None:
    text = "services: {}\nsecrets: {s: {driver: safe, driver_opts: {a: b}, labels: {path: db}}}"
    (new,) = convert(stack(text), "demo").secrets
    assert new.spec.driver == Driver(name="safe", options={"a": "b"})
    assert new.spec.labels["path"] == "db"
    assert len(new.value) == 0


def test_a_config_does_not_print_its_bytes_either() -> None:
    deployment = convert(stack("services: {}\nconfigs: {c: {file: s}}", contents=CONTENTS), "demo")
    assert deployment.configs[0].value.reveal() == CONTENTS["/stack/s"]
    assert "binary" not in repr(deployment)


@pytest.mark.parametrize("name", ["", " ", "'\"", "\t"])
def test_a_stack_needs_a_name(name: str) -> None:
    with pytest.raises(StackError, match=r"^invalid stack name: "):
        convert(stack("services: {}"), name)


def test_a_stack_whose_name_makes_no_service_name_is_refused() -> None:
    with pytest.raises(StackError, match=r"^failed to create service a b_web: .*DNS name component"):
        convert(stack("services: {web: {image: x}}"), "a b")


@pytest.mark.parametrize(
    ("restart", "condition", "attempts"),
    [
        ("always", "any", None),
        ("unless-stopped", "any", None),
        ("on-failure", "on-failure", None),
        ("on-failure:3", "on-failure", 3),
    ],
)
def test_restart_stands_in_for_a_missing_restart_policy(restart: str, condition: str, attempts: int | None) -> None:
    policy = convert(stack(service(f"restart: {restart}")), "demo").services[0].task_template.restart_policy
    assert policy is not None
    assert (policy.condition, policy.max_attempts) == (condition, attempts)


def test_restart_no_says_nothing_as_in_docker() -> None:
    spec = convert(stack(service("restart: 'no'")), "demo").services[0]
    assert spec.task_template.restart_policy is None


def test_adding_a_capability_wins_over_dropping_it() -> None:
    keys = "cap_add: [net_admin, CAP_SYS_TIME, RESET]\ncap_drop: [NET_ADMIN, mknod]"
    container = convert(stack(service(keys)), "demo").services[0].task_template.container_spec
    assert container.capability_add == ("CAP_NET_ADMIN", "CAP_SYS_TIME")
    assert container.capability_drop == ("CAP_MKNOD",)


@pytest.mark.parametrize(
    ("deploy", "mode"),
    [
        ("mode: replicated-job", ServiceMode(replicated_job=ReplicatedJob())),
        (
            "mode: replicated-job, replicas: 3",
            ServiceMode(replicated_job=ReplicatedJob(max_concurrent=3, total_completions=3)),
        ),
        ("mode: global-job", ServiceMode(global_job=GlobalJob())),
    ],
)
def test_a_job_s_replicas_are_how_many_there_are_and_how_many_run_at_a_time(deploy: str, mode: ServiceMode) -> None:
    (spec,) = convert(stack(service(f"deploy: {{{deploy}}}")), "demo").services
    assert spec.mode == mode


@pytest.mark.parametrize(
    ("keys", "check"),
    [
        ("{test: curl -f x || exit 1}", HealthConfig(test=("CMD-SHELL", "curl -f x || exit 1"))),
        ("{test: [CMD, curl, -f]}", HealthConfig(test=("CMD", "curl", "-f"))),
        ("{test: [CMD-SHELL, a b]}", HealthConfig(test=("CMD-SHELL", "a b"))),
        ("{test: [NONE]}", HealthConfig(test=("NONE",))),
        ("{disable: true}", HealthConfig(test=("NONE",))),
        ("{interval: 5s}", HealthConfig(interval=5_000_000_000)),
        (
            "{test: x, interval: 1m, timeout: 1500ms, retries: 5, start_period: 2s, start_interval: 1s}",
            HealthConfig(
                test=("CMD-SHELL", "x"), interval=60_000_000_000, timeout=1_500_000_000, retries=5,
                start_period=2_000_000_000, start_interval=1_000_000_000,
            ),
        ),
    ],
)  # fmt: skip
def test_a_healthcheck_is_the_tasks(keys: str, check: HealthConfig) -> None:
    (spec,) = convert(stack(service(f"healthcheck: {keys}")), "demo").services
    assert spec.task_template.container_spec.healthcheck == check


def test_memory_that_a_service_asks_for_is_mounted() -> None:
    keys = "shm_size: 1gb\ntmpfs: [/run, '/tmp:size=64m,mode=1770,exec', '/ro:ro,nosuid,rw']\nvolumes: [/v]"
    (spec,) = convert(stack(service(keys)), "demo").services
    anonymous, *memory = spec.task_template.container_spec.mounts
    assert anonymous.target == "/v"
    assert memory == [
        Mount(type="tmpfs", target="/run"),
        Mount(
            type="tmpfs",
            target="/tmp",
            tmpfs_options=TmpfsOptions(size_bytes=64 << 20, mode=0o1770, options=(("exec",),)),
        ),
        Mount(type="tmpfs", target="/ro", read_only=True),
        Mount(type="tmpfs", target=SHM, tmpfs_options=TmpfsOptions(size_bytes=1 << 30, mode=0o1777)),
    ]


def test_what_confines_a_service_is_as_its_file_says() -> None:
    keys = (
        "security_opt: ['no-new-privileges', 'seccomp:unconfined', 'apparmor=unconfined', 'label:user:u', "
        "'label=level:s0:c1,c2']"
    )
    (spec,) = convert(stack(service(keys)), "demo").services
    assert spec.task_template.container_spec.privileges == Privileges(
        no_new_privileges=True,
        seccomp=SeccompOpts(mode="unconfined"),
        apparmor=AppArmorOpts(mode="disabled"),
        selinux_context=SELinuxContext(user="u", level="s0:c1,c2"),
    )
    keys = "security_opt: ['no-new-privileges:false', 'seccomp=builtin', 'apparmor:docker-default', 'label:disable']"
    (spec,) = convert(stack(service(keys)), "demo").services
    assert spec.task_template.container_spec.privileges == Privileges(
        seccomp=SeccompOpts(mode="default"),
        apparmor=AppArmorOpts(mode="default"),
        selinux_context=SELinuxContext(disable=True),
    )


def test_a_service_brings_the_seccomp_profile_whose_file_it_names() -> None:
    contents = {f"{DIRECTORY}/p.json": b'{"defaultAction":"SCMP_ACT_ALLOW"}'}
    for option in ("seccomp:./p.json", f"seccomp={DIRECTORY}/p.json"):
        (spec,) = convert(stack(service(f"security_opt: ['{option}']"), contents=contents), "demo").services
        assert spec.task_template.container_spec.privileges == Privileges(
            seccomp=SeccompOpts(mode="custom", profile="eyJkZWZhdWx0QWN0aW9uIjoiU0NNUF9BQ1RfQUxMT1cifQ==")
        )
    missing = stack(service("security_opt: ['seccomp:p.json']"))
    with pytest.raises(StackError, match=r"^service web: open /stack/p.json: no such file or directory$"):
        convert(missing, "demo")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("tmpfs: '/t:uid=5'", "tmpfs option 'uid=5' cannot be honoured: use size, mode, exec, noexec or ro"),
        ("tmpfs: '/t:mode=9'", "tmpfs option 'mode=9' cannot be honoured: use size, mode, exec, noexec or ro"),
        ("tmpfs: '/t:size=much'", "invalid size: 'much'"),
        ("shm_size: much", "invalid size: 'much'"),
        ("security_opt: ['seccomp:']", 'invalid security_opt: "seccomp:"'),
        ("security_opt: ['apparmor:mine']", "security_opt apparmor:mine: use docker-default or unconfined"),
        *(
            (f"security_opt: ['{option}']", f'invalid security_opt: "{option}"')
            for option in ("x", "label:x:y", "label:user:")
        ),
    ],
)
def test_what_cannot_be_honoured_of_them_is_refused(keys: str, told: str) -> None:
    with pytest.raises(StackError) as raised:
        convert(stack(service(keys)), "demo")
    assert str(raised.value) == f"service web: {told}"
