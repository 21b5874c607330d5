"""What each version of the format brought, and every key that is ignored or refused, in the words of Docker's client.

Source: `docker stack config` and `docker stack deploy` of 28.2.2, run with the same documents; but for what is ours,
which `docs/stack-files.md` says.
"""

import pytest

from tests.stack.builders import stack
from vault.cli.stacks.shown import lines_of
from vault.stack.errors import StackError


def one(keys: str) -> str:
    """Return a document with one service that has these keys."""
    return f"services: {{a: {{image: b, {keys}}}}}"


DEPLOY = "services.a.deploy"
SINCE = [
    (1, "services: {}\nsecrets: {s: {file: x}}", "(root)", "secrets"),
    (1, one("secrets: [s]"), "services.a", "secrets"),
    (2, one("deploy: {endpoint_mode: vip}"), DEPLOY, "endpoint_mode"),
    (2, "services: {}\nnetworks: {n: {attachable: true}}", "networks.n", "attachable"),
    (3, "services: {}\nconfigs: {c: {file: x}}", "(root)", "configs"),
    (3, one("configs: [c]"), "services.a", "configs"),
    (3, one("credential_spec: {file: x}"), "services.a", "credential_spec"),
    (3, one("deploy: {placement: {preferences: [{spread: node.labels.a}]}}"), f"{DEPLOY}.placement", "preferences"),
    (4, one("deploy: {update_config: {order: stop-first}}"), f"{DEPLOY}.update_config", "order"),
    (4, one("healthcheck: {start_period: 5s}"), "services.a.healthcheck", "start_period"),
    (4, "services: {}\nvolumes: {v: {name: x}}", "volumes.v", "name"),
    (4, "services: {}\nx-a: 1", "(root)", "x-a"),
    (5, "services: {}\nnetworks: {n: {name: x}}", "networks.n", "name"),
    (5, "services: {}\nsecrets: {s: {file: x, name: x}}", "secrets.s", "name"),
    (5, "services: {}\nconfigs: {c: {file: x, name: x}}", "configs.c", "name"),
    (5, one("isolation: default"), "services.a", "isolation"),
    (
        5,
        one(
            "deploy: {resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: g, value: 1}}]}}}"
        ),
        f"{DEPLOY}.resources.reservations",
        "generic_resources",
    ),
    (6, one("volumes: [{type: tmpfs, target: /x, tmpfs: {size: 5}}]"), "services.a.volumes.0", "tmpfs"),
    (7, one("deploy: {rollback_config: {parallelism: 1}}"), DEPLOY, "rollback_config"),
    (7, one("init: true"), "services.a", "init"),
    (7, one("x-a: 1"), "services.a", "x-a"),
    (8, "services: {}\nsecrets: {s: {file: x, template_driver: golang}}", "secrets.s", "template_driver"),
    (8, "services: {}\nconfigs: {c: {file: x, template_driver: golang}}", "configs.c", "template_driver"),
    (8, "services: {}\nsecrets: {s: {driver: x, driver_opts: {a: b}}}", "secrets.s", "driver"),
    (8, one("deploy: {placement: {max_replicas_per_node: 1}}"), f"{DEPLOY}.placement", "max_replicas_per_node"),
    (8, one("credential_spec: {config: x}"), "services.a.credential_spec", "config"),
    (9, one("deploy: {resources: {limits: {pids: 5}}}"), f"{DEPLOY}.resources.limits", "pids"),
    (9, one("cgroupns_mode: host"), "services.a", "cgroupns_mode"),
    (12, one("healthcheck: {start_interval: 5s}"), "services.a.healthcheck", "start_interval"),
    (13, one("networks: {n: {driver_opts: {a: b}}}"), "services.a.networks.n", "driver_opts"),
    (13, one("oom_score_adj: 5"), "services.a", "oom_score_adj"),
]


@pytest.mark.parametrize(("since", "text", "where", "key"), SINCE)
def test_a_key_is_taken_since_its_version_and_refused_before(since: int, text: str, where: str, key: str) -> None:
    stack(f'version: "3.{since}"\n{text}')
    stack(f'version: "3"\n{text}')
    stack(text)
    with pytest.raises(StackError) as raised:
        stack(f'version: "3.{since - 1}"\n{text}')
    assert str(raised.value) == f"{where} Additional property {key} is not allowed"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        *(
            (f'version: "{version}"\nservices: {{}}', f"unsupported Compose file version: {version}")
            for version in ("1", "2", "2.4", "3.14", "4", "x")
        ),
        *(
            (f"services: {{}}\n{key}: x", f"(root) Additional property {key} is not allowed")
            for key in ("name", "include", "models")
        ),
        *(
            (one(f"{key}: x"), f"services.a Additional property {key} is not allowed")
            for key in ("develop", "profiles", "replicas", "deploys")
        ),
        ("web: {image: b}", "(root) Additional property web is not allowed"),
        ("services: {}\nsecrets: {s: {environment: X}}", "secrets.s Additional property environment is not allowed"),
        ("services: {}\nconfigs: {c: {content: X}}", "configs.c Additional property content is not allowed"),
        (one("env_file: [{path: x}]"), "services.a.env_file.0 must be a string"),
    ],
)
def test_what_the_format_does_not_have_is_named(text: str, told: str) -> None:
    with pytest.raises(StackError) as raised:
        stack(text)
    assert str(raised.value) == told


IGNORED = {
    "build": ".",
    "cgroup_parent": "x",
    "cgroupns_mode": "host",
    "devices": "[x]",
    "domainname": "x",
    "external_links": "[x]",
    "ipc": "host",
    "links": "[x]",
    "mac_address": "x",
    "network_mode": "host",
    "pid": "host",
    "privileged": "true",
    "restart": "always",
    "userns_mode": "host",
}


def test_every_key_that_is_ignored_is_named() -> None:
    warnings = stack(one(", ".join(f"{key}: {value}" for key, value in IGNORED.items()))).warnings
    assert warnings == (f"Ignoring unsupported options: {', '.join(sorted(IGNORED))}\n",)


@pytest.mark.parametrize(("key", "value"), IGNORED.items())
def test_a_key_is_ignored_by_itself(key: str, value: str) -> None:
    assert stack(one(f"{key}: {value}")).warnings == (f"Ignoring unsupported options: {key}\n",)


def test_what_a_command_says_of_each_object() -> None:
    kinds = ("network", "secret", "config", "service")
    changes = [
        {"action": action, "kind": kind, "name": f"demo_{kind}", "id": "1"}
        for action in ("create", "update", "keep", "remove")
        for kind in kinds
    ]
    assert list(lines_of(changes)) == [
        *(f"Creating {kind} demo_{kind}" for kind in kinds),
        "Updating service demo_service (id: 1)",
        "Updating service demo_service (id: 1)",
        *(f"Removing {kind} demo_{kind}" for kind in kinds),
    ]
