"""What the command line says, and its exit code, when the cluster or a stack file refuses; against the real API."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.api.served import served
from tests.api.validation import EXISTS, INVALID, OBJECT_NAME, PRECONDITION, World
from tests.cli.conftest import Result, Vault
from vault.cli.main import run

DAEMON = "Error response from daemon: "


@dataclass(frozen=True)
class Place:
    """A directory with files, and the socket of a cluster in which something of each kind is in use."""

    path: Path
    world: World

    def filled(self, text: str) -> str:
        """Return a text with ids, and this directory, where it names them."""
        return self.world.filled(text).replace("{place}", str(self.path))


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="vv-", dir="/tmp") as made:
        place = Place(Path(made), World())
        for name, content in (("value", b"x"), ("other", b"y"), ("empty", b"")):
            (place.path / name).write_bytes(content)
        with served(place.world.daemon.app, place.path / "s"):
            yield place


@pytest.fixture
def vault(place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Vault:
    """Run `vault WORDS…` against that cluster, in that directory."""
    monkeypatch.chdir(place.path)

    def call(*words: str) -> Result:
        code = run(["-H", f"unix://{place.path}/s", *words])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


CREATE = "service create --detach --no-resolve-image --name new "
COMMANDS = [
    (CREATE + "--name a.b busybox", f"{DAEMON}{INVALID}name must be valid as a DNS name component"),
    (CREATE + f"--name {'a' * 64} busybox", f"{DAEMON}{INVALID}name must be 63 characters or fewer"),
    (
        CREATE + "--name WEB busybox",
        f"{DAEMON}{EXISTS}name conflicts with an existing object: service WEB already exists",
    ),
    (CREATE + "--limit-cpu 0.0001 busybox", f"{DAEMON}{INVALID}invalid cpu value 0.0001: Must be at least 0.001"),
    (CREATE + "--limit-memory 1m busybox", f"{DAEMON}{INVALID}invalid memory value 1048576: Must be at least 4MiB"),
    (
        CREATE + "--mount type=tmpfs,target=/a --mount type=tmpfs,target=/a busybox",
        f"{DAEMON}{INVALID}ContainerSpec: duplicate mount point: /a",
    ),
    (CREATE + "--restart-condition maybe busybox", f'{DAEMON}invalid RestartCondition: "maybe"'),
    (CREATE + "--update-order x busybox", f"{DAEMON}unrecognized update order x"),
    (CREATE + "--endpoint-mode anycast busybox", f'{DAEMON}invalid resolution mode: "anycast"'),
    (
        CREATE + "--health-cmd true --health-interval 1us busybox",
        f"{DAEMON}{INVALID}ContainerSpec: Interval in HealthConfig cannot be less than 1ms",
    ),
    (
        CREATE + "--endpoint-mode dnsrr -p 80:80 busybox",
        f"{DAEMON}{INVALID}EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
    ),
    (
        CREATE + "-p 80:80 -p 80:81 busybox",
        f"{DAEMON}{INVALID}EndpointSpec: duplicate published ports provided",
    ),
    (
        CREATE + "-p 8080:80 busybox",
        DAEMON + INVALID + "port '8080' is already in use by service 'web' ({web}) as an ingress port",
    ),
    (
        CREATE + "--secret source=secret,target=t --secret source=secret,target=t busybox",
        "duplicate secret target for secret not allowed",
    ),
    (CREATE + "--secret nosuch busybox", "secret not found: nosuch"),
    (CREATE + "--config nosuch busybox", "config not found: nosuch"),
    (
        CREATE + "--network ingress busybox",
        f'{DAEMON}{INVALID}Service cannot be explicitly attached to the ingress network "ingress"',
    ),
    (CREATE + "--mode global --replicas 2 busybox", "replicas can only be used with replicated or replicated-job mode"),
    (CREATE + "--mode sometimes busybox", "unknown mode: sometimes, only replicated and global supported"),
    (CREATE + "--constraint node.id busybox", f"{DAEMON}{INVALID}constraint expected one operator from ==, !="),
    ("service update --detach --rollback two", f"{DAEMON}{PRECONDITION}service two does not have a previous spec"),
    ("service rollback --detach two", f"{DAEMON}{PRECONDITION}service two does not have a previous spec"),
    ("secret create secret value", f"{DAEMON}{EXISTS}secret secret already exists"),
    ("secret create a/b value", DAEMON + OBJECT_NAME),
    ("secret create new empty", "error reading from empty: data is empty"),
    ("secret rm secret", f"{DAEMON}{INVALID}secret 'secret' is in use by the following services: two, web"),
    ("config rm config", f"{DAEMON}{INVALID}config 'config' is in use by the following services: two, web"),
    ("network create --driver overlay back", f"{DAEMON}network with name back already exists"),
    ("network rm back", f"{DAEMON}{PRECONDITION}network back is in use by service web"),
    ("network rm left", f"{DAEMON}{PRECONDITION}network left is in use by task " + "t" * 25),
    (
        "node demote vm",
        f"{DAEMON}{PRECONDITION}can't remove member from the raft: this would result in a loss of quorum",
    ),
    ("node rm w", f"{DAEMON}{PRECONDITION}node {'w' * 25} is not down and can't be removed"),
    (
        "node rm --force away",
        f"{DAEMON}{PRECONDITION}node {'a' * 25} is a cluster manager and is a member of the raft cluster. "
        "It must be demoted to worker before removal",
    ),
]


@pytest.mark.parametrize(("words", "told"), COMMANDS)
def test_a_command_that_is_refused_says_so_and_exits_with_1(vault: Vault, place: Place, words: str, told: str) -> None:
    said = vault(*words.split())
    assert (said.code, said.err) == (1, place.filled(told) + "\n")


FORBIDDEN = "Compose file contains unsupported options:\n\n"
UNREADABLE = 'invalid interpolation format for services.a.image: "{}"; you may need to escape any $ with another $'
ONLY_LABELS = f"{INVALID}only updates to Labels are allowed; "


def one(keys: str, rest: str = "") -> str:
    """Return a stack file with one service that has these keys, too."""
    return f"services: {{a: {{image: b, {keys}}}}}\n{rest}"


STACKS = [
    ("version: '2'\nservices: {}", "unsupported Compose file version: 2"),
    ("web: {image: b}", "(root) Additional property web is not allowed"),
    ("[]", "top-level object must be a mapping"),
    ("name: x\nservices: {}", "(root) Additional property name is not allowed"),
    (one("bogus: 1"), "services.a Additional property bogus is not allowed"),
    (one("extends: x"), f"{FORBIDDEN}extends: Support for `extends` is not implemented yet.\n"),
    (
        one("volume_driver: x"),
        FORBIDDEN + "volume_driver: Instead of setting the volume driver on the service, define a volume using the "
        "top-level `volumes` option and specify the driver there.\n",
    ),
    (
        one("volumes_from: x"),
        FORBIDDEN + "volumes_from: To share a volume between services, define it using the top-level `volumes` option "
        "and reference it from each service that shares it using the service-level `volumes` option.\n",
    ),
    *(
        (one(f"{key}: 1"), f"{FORBIDDEN}{key}: Set resource limits using deploy.resources\n")
        for key in ("cpu_quota", "cpu_shares", "cpuset", "mem_limit", "memswap_limit")
    ),
    (one("deploy: {restart_policy: {condition: x}}"), 'failed to create service demo_a: invalid RestartCondition: "x"'),
    (one("deploy: {mode: sometimes}"), "service a: unknown mode: sometimes"),
    *(
        (
            one(f"deploy: {{mode: {mode}, replicas: 2}}"),
            "service a: replicas can only be used with replicated or replicated-job mode",
        )
        for mode in ("global", "global-job")
    ),
    (
        one("healthcheck: {disable: true, test: x}"),
        "service a: test and disable can't be set at the same time",
    ),
    (one("secrets: [nope]"), 'service a: undefined secret "nope"'),
    (one("configs: [nope]"), 'service a: undefined config "nope"'),
    (one("networks: [nope]"), 'service a: undefined network "nope"'),
    (one("volumes: ['nope:/x']"), 'service a: undefined volume "nope"'),
    (
        one("secrets: [s, {source: t, target: s}]", "secrets: {s: {file: value}, t: {file: value}}"),
        "service a: duplicate secret target for demo_t not allowed",
    ),
    (one("secrets: [s]", "secrets: {s: {external: true}}"), "service a: secret not found: s"),
    (one("configs: [s]", "configs: {s: {external: true}}"), "service a: config not found: s"),
    (
        one("networks: [n]", "networks: {n: {external: true}}"),
        'network "n" is declared as external, but could not be found. '
        "You need to create a swarm-scoped network before the stack is deployed",
    ),
    (
        "services: {}\nsecrets: {s: {file: value, external: true}}",
        "secret s: secret.external and secret.file conflict; only use one of them",
    ),
    (
        "services: {}\nsecrets: {s: {file: value, driver: safe}}",
        "secret s: secret.driver and secret.file conflict; only use secret.driver",
    ),
    (
        "services: {}\nsecrets: {s: {}}",
        "secret s: neither secret.file nor secret.external is given: name a file, or say external",
    ),
    ("services: {}\nsecrets: {s: {file: nosuch}}", "open {place}/nosuch: no such file or directory"),
    (
        "services: {}\nsecrets: {s: {file: empty}}",
        f"failed to create secret demo_s: {INVALID}secret data must be larger than 0 and less than 512000 bytes",
    ),
    (
        "services: {}\nsecrets: {s: {file: value, name: a b}}",
        f"failed to create secret a b: {OBJECT_NAME}",
    ),
    (
        "services: {}\nsecrets: {s: {driver: nosuch}}",
        'failed to create secret demo_s: plugin "nosuch" not found: there is only safe',
    ),
    *(
        (
            f"services: {{}}\n{kind}s: {{s: {{file: other, name: {kind}}}}}",
            f"failed to update {kind} {kind}: {ONLY_LABELS}its file has other bytes than the {kind}: "
            f"with --rotate-changed they become a new {kind}",
        )
        for kind in ("secret", "config")
    ),
    *(
        (
            f"services: {{a: {{image: '${{NOPE{how}need it}}'}}}}",
            UNREADABLE.format("required variable NOPE is missing a value: need it"),
        )
        for how in ("?", ":?")
    ),
    ("services: {a: {image: '${}'}}", UNREADABLE.format("${}")),
    ("services: {a: {}}", "invalid image reference for service a: no image specified"),
    (
        one("ports: ['8080:80']"),
        f"failed to create service demo_a: {INVALID}port '8080' is already in use by service 'web' ({{web}}) "
        "as an ingress port",
    ),
    (one("deploy: {resources: {limits: {cpus: x}}}"), "service a: failed to parse x as a rational number"),
]


@pytest.mark.parametrize(("text", "told"), STACKS)
def test_a_stack_that_is_refused_says_so_exits_with_1_and_leaves_nothing(
    vault: Vault, place: Place, text: str, told: str
) -> None:
    (place.path / "s.yml").write_text(text)
    said = vault("stack", "deploy", "-d", "-c", "s.yml", "demo")
    assert (said.code, said.err) == (1, place.filled(told) + "\n")
    assert vault("stack", "ls", "--format", "{{.Name}}").out == ""


@pytest.mark.parametrize("name", ["", " ", "'"])
def test_a_stack_has_a_name(vault: Vault, place: Place, name: str) -> None:
    (place.path / "s.yml").write_text("services: {}")
    said = vault("stack", "deploy", "-c", "s.yml", name)
    assert (said.code, said.err) == (1, f'invalid stack name: "{name}"\n')


def test_files_of_one_stack_are_of_one_version(vault: Vault, place: Place) -> None:
    for number in (1, 2):
        (place.path / f"{number}.yml").write_text(f"version: '3.{number}'\nservices: {{}}")
    said = vault("stack", "deploy", "-c", "1.yml", "-c", "2.yml", "demo")
    assert (said.code, said.err) == (1, "version mismatched between two composefiles : 3.1 and 3.2\n")


def test_what_is_ignored_is_named_and_hinders_nothing(vault: Vault, place: Place) -> None:
    (place.path / "s.yml").write_text(one("build: ., links: [x], restart: always, container_name: x, expose: [80]"))
    said = vault("stack", "deploy", "-d", "-c", "s.yml", "ignoring")
    assert said.code == 0
    assert said.err == (
        "Ignoring unsupported options: build, links, restart\n\n"
        "Ignoring deprecated options:\n\n"
        "container_name: Setting the container name is not supported.\n\n"
        "expose: Exposing ports is unnecessary - services on the same network can access each other's containers "
        "on any port.\n\n"
    )
    assert vault("stack", "rm", "-d", "ignoring").code == 0
