"""`vault service` asks and prints what `docker service` does (transcripts 03 and 04)."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import FakeDaemon, Vault

WEB = "uhwhpxddascti6fgcwyn89rp7"
SECRET = {"ID": "r6zp4hjdxr8ttqnupaakt55nj", "Spec": {"Name": "my_secret_data", "Labels": {}}}
SECOND = {"ID": "kwew43x1nz34osxohfvq8ihhp", "Spec": {"Name": "my_secret_v2", "Labels": {}}}
CREATED = {
    "Name": "web",
    "Labels": {},
    "TaskTemplate": {
        "ContainerSpec": {
            "Image": "busybox:latest",
            "Args": ["sleep", "1000000"],
            "Init": False,
            "DNSConfig": {},
            "Secrets": [
                {
                    "File": {"Name": "my_secret_data", "UID": "0", "GID": "0", "Mode": 292},
                    "SecretID": "r6zp4hjdxr8ttqnupaakt55nj",
                    "SecretName": "my_secret_data",
                }
            ],
        },
        "Resources": {"Limits": {}, "Reservations": {}},
        "Placement": {},
        "ForceUpdate": 0,
    },
    "Mode": {"Replicated": {}},
    "EndpointSpec": {"Mode": "vip"},
}


def service(**changes: Any) -> dict[str, Any]:
    spec = {**CREATED, "Mode": {"Replicated": {"Replicas": 1}}}
    return {"ID": WEB, "Version": {"Index": 34}, "Spec": spec, "Endpoint": {"Spec": {}}, **changes}


@pytest.fixture
def swarm(daemon: FakeDaemon) -> FakeDaemon:
    daemon.on("GET", "/secrets", [SECRET, SECOND])
    daemon.on("POST", "/services/create", {"ID": WEB}, status=201)
    daemon.on("GET", "/services/web", service())
    daemon.on("POST", f"/services/{WEB}/update", {"Warnings": None})
    return daemon


def sent(daemon: FakeDaemon) -> dict[str, Any]:
    """The spec of the last request that made or changed a service."""
    body: dict[str, Any] = [r for r in daemon.requests if r.method == "POST"][-1].body
    return body


def test_create_posts_what_docker_posts(swarm: FakeDaemon, vault: Vault) -> None:
    words = ["--detach", "--name", "web", "--secret", "my_secret_data", "busybox", "sleep", "1000000"]
    result = vault("service", "create", *words)
    assert (result.code, result.out, result.err) == (0, WEB + "\n", "")
    assert sent(swarm) == CREATED


def test_create_leaves_everything_after_the_image_to_the_task(swarm: FakeDaemon, vault: Vault) -> None:
    vault("service", "create", "-d", "busybox", "sh", "-c", "while true; do sleep 3600; done", "--name", "-e")
    assert sent(swarm)["TaskTemplate"]["ContainerSpec"]["Args"] == [
        "sh",
        "-c",
        "while true; do sleep 3600; done",
        "--name",
        "-e",
    ]


def test_create_takes_every_option(swarm: FakeDaemon, vault: Vault, tmp_path: Path) -> None:
    swarm.on("GET", "/configs", [{"ID": "cfg", "Spec": {"Name": "conf"}}])
    swarm.on("GET", "/networks/front", {"Id": "net1"})
    (tmp_path / "env").write_text("A=0\nF=file\n")
    line = (
        "--name x --replicas 3 --label l=1 --container-label cl=1 --env A=1 --constraint node.role==manager "
        "--config source=conf,target=/etc/conf --mount type=tmpfs,target=/t --network front --publish 8080:80 "
        "--limit-cpu .5 --limit-memory 64m --limit-pids 9 --reserve-cpu 1 --reserve-memory 32m "
        "--restart-condition on-failure --restart-delay 1s --restart-max-attempts 3 --restart-window 1m "
        "--update-parallelism 0 --update-delay 1s --update-failure-action continue --update-monitor 500ms "
        "--update-max-failure-ratio 0.5 --update-order stop-first --rollback-parallelism 2 "
        "--host db:10.0.0.1 --dns 1.1.1.1 --dns-search example.com --dns-option ndots:2 --user 33:33 --workdir /w "
        "--placement-pref spread=node.labels.zone --placement-pref spread=engine.labels.rack --replicas-max-per-node 2 "
        "--generic-resource ssd=3 --generic-resource gpu=1 "
        "--hostname h --tty --read-only --init --stop-signal SIGINT --stop-grace-period 1s --cap-add net_admin "
        "--cap-drop ALL --ulimit nofile=1:2 --sysctl net.ipv4.ip_forward=1 --group adm --endpoint-mode dnsrr -d -q "
        "--log-driver syslog --log-opt tag=x --log-opt env=A --memory-swap -1 --memory-swappiness 0 --oom-score-adj -5"
    )
    words = [*line.split(), "--env-file", str(tmp_path / "env"), "--entrypoint", "sh -c", "busybox:1"]
    assert vault("service", "create", *words).err == ""
    spec = sent(swarm)
    container = spec["TaskTemplate"].pop("ContainerSpec")
    assert container == {
        "Image": "busybox:1",
        "Labels": {"cl": "1"},
        "Command": ["sh", "-c"],
        "Hostname": "h",
        "Env": ["F=file", "A=1"],
        "Dir": "/w",
        "User": "33:33",
        "Groups": ["adm"],
        "StopSignal": "SIGINT",
        "TTY": True,
        "ReadOnly": True,
        "Mounts": [{"Type": "tmpfs", "Target": "/t"}],
        "StopGracePeriod": 10**9,
        "Hosts": ["10.0.0.1 db"],
        "Sysctls": {"net.ipv4.ip_forward": "1"},
        "CapabilityAdd": ["CAP_NET_ADMIN"],
        "CapabilityDrop": ["ALL"],
        "Ulimits": [{"Name": "nofile", "Hard": 2, "Soft": 1}],
        "Init": True,
        "OomScoreAdj": -5,
        "DNSConfig": {"Nameservers": ["1.1.1.1"], "Search": ["example.com"], "Options": ["ndots:2"]},
        "Configs": [
            {
                "File": {"Name": "/etc/conf", "UID": "0", "GID": "0", "Mode": 292},
                "ConfigID": "cfg",
                "ConfigName": "conf",
            }
        ],
    }
    assert spec == {
        "Name": "x",
        "Labels": {"l": "1"},
        "TaskTemplate": {
            "Resources": {
                "Limits": {"NanoCPUs": 500_000_000, "MemoryBytes": 64 << 20, "Pids": 9},
                "Reservations": {
                    "NanoCPUs": 10**9,
                    "MemoryBytes": 32 << 20,
                    "GenericResources": [
                        {"DiscreteResourceSpec": {"Kind": "gpu", "Value": 1}},
                        {"DiscreteResourceSpec": {"Kind": "ssd", "Value": 3}},
                    ],
                },
                "SwapBytes": -1,
                "MemorySwappiness": 0,
            },
            "LogDriver": {"Name": "syslog", "Options": {"tag": "x", "env": "A"}},
            "RestartPolicy": {"Condition": "on-failure", "Delay": 10**9, "MaxAttempts": 3, "Window": 60 * 10**9},
            "Placement": {
                "Constraints": ["node.role==manager"],
                "Preferences": [
                    {"Spread": {"SpreadDescriptor": "node.labels.zone"}},
                    {"Spread": {"SpreadDescriptor": "engine.labels.rack"}},
                ],
                "MaxReplicas": 2,
            },
            "Networks": [{"Target": "net1"}],
            "ForceUpdate": 0,
        },
        "Mode": {"Replicated": {"Replicas": 3}},
        "UpdateConfig": {
            "Parallelism": 0,
            "Delay": 10**9,
            "FailureAction": "continue",
            "Monitor": 500_000_000,
            "MaxFailureRatio": 0.5,
            "Order": "stop-first",
        },
        "RollbackConfig": {
            "Parallelism": 2,
            "FailureAction": "pause",
            "Monitor": 5 * 10**9,
            "MaxFailureRatio": 0,
            "Order": "stop-first",
        },
        "EndpointSpec": {
            "Mode": "dnsrr",
            "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishMode": "ingress", "PublishedPort": 8080}],
        },
    }


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["--secret", "nosuch", "busybox"], 1, "secret not found: nosuch\n"),
        (
            ["--secret", "source=my_secret_data,target=x", "--secret", "source=my_secret_v2,target=x", "busybox"],
            1,
            "duplicate secret target for my_secret_v2 not allowed\n",
        ),
        (
            ["--mode", "global", "--replicas", "2", "busybox"],
            1,
            "replicas can only be used with replicated or replicated-job mode\n",
        ),
        (
            ["--mode", "global", "--replicas-max-per-node", "2", "busybox"],
            1,
            "replicas-max-per-node can only be used with replicated or replicated-job mode\n",
        ),
        *[
            (
                ["--placement-pref", preference, "busybox"],
                125,
                f'invalid argument "{preference}" for "--placement-pref" flag: {why}\n'
                "\nUsage:  vault service create [OPTIONS] IMAGE [COMMAND] [ARG...]\n"
                "\nRun 'vault service create --help' for more information\n",
            )
            for preference, why in (
                ("node.labels.a", 'placement preference must be of the format "<strategy>=<arg>"'),
                ("pack=node.labels.a", "unsupported placement preference pack (only spread is supported)"),
            )
        ],
        (
            ["--generic-resource", "gpu=one", "busybox"],
            1,
            "invalid generic-resource request `gpu=one`, Named Generic Resources is not supported for service create "
            "or update\n",
        ),
        (
            ["--generic-resource", "gpu=1", "--generic-resource", "gpu=2", "busybox"],
            1,
            "invalid generic resource specification: could not parse GenericResource: malformed expression "
            "'gpu=[1 2]': give one number, or names that differ\n",
        ),
        (
            ["--credential-spec", "file://x", "busybox"],
            125,
            'invalid argument "file://x" for "--credential-spec" flag: '
            "it needs Windows nodes, and all nodes here run Linux: leave it out\n"
            "\nUsage:  vault service create [OPTIONS] IMAGE [COMMAND] [ARG...]\n"
            "\nRun 'vault service create --help' for more information\n",
        ),
        (["--mode", "x", "busybox"], 1, "unknown mode: x, only replicated and global supported\n"),
        (["--env-file", "/no/such", "busybox"], 1, "open /no/such: no such file or directory\n"),
        (
            ["--secret", "source=my_secret_data,mode=abc", "busybox"],
            125,
            'invalid argument "source=my_secret_data,mode=abc" for "--secret" flag: '
            'invalid mode specified: strconv.ParseUint: parsing "abc": invalid syntax\n'
            "\nUsage:  vault service create [OPTIONS] IMAGE [COMMAND] [ARG...]\n"
            "\nRun 'vault service create --help' for more information\n",
        ),
        (
            ["--replicas", "-1", "busybox"],
            125,
            'invalid argument "-1" for "--replicas" flag: strconv.ParseUint: parsing "-1": invalid syntax\n'
            "\nUsage:  vault service create [OPTIONS] IMAGE [COMMAND] [ARG...]\n"
            "\nRun 'vault service create --help' for more information\n",
        ),
        (
            [],
            1,
            "vault: 'vault service create' requires at least 1 argument\n"
            "\nUsage:  vault service create [OPTIONS] IMAGE [COMMAND] [ARG...]\n"
            "\nSee 'vault service create --help' for more information\n",
        ),
    ],
)  # fmt: skip
def test_create_refuses_bad_options(swarm: FakeDaemon, vault: Vault, words: list[str], code: int, error: str) -> None:
    result = vault("service", "create", "--detach", *words)
    assert (result.code, result.out, result.err) == (code, "", error)
    assert not swarm.asked("POST", "/services/create")


def test_an_error_of_the_daemon_is_passed_on(swarm: FakeDaemon, vault: Vault) -> None:
    text = "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists"
    swarm.refuse("POST", "/services/create", 409, text)
    result = vault("service", "create", "--name", "web", "busybox")
    assert (result.code, result.err) == (1, f"Error response from daemon: {text}\n")


@pytest.mark.parametrize("removed", ["my_secret_data", "r6zp4hjdxr8ttqnupaakt55nj", "r6zp4hjdxr8t"])
def test_rotation_replaces_a_secret_behind_its_target_by_name_or_id(
    swarm: FakeDaemon, vault: Vault, removed: str
) -> None:
    words = ["--secret-rm", removed, "--secret-add", "source=my_secret_v2,target=my_secret_data"]
    result = vault("service", "update", "-d", *words, "web")
    assert (result.code, result.out, result.err) == (0, "web\n", "")
    (request,) = swarm.asked("POST", f"/services/{WEB}/update")
    assert request.query == {"version": "34", "registryAuthFrom": "spec"}
    assert request.body["TaskTemplate"]["ContainerSpec"]["Secrets"] == [
        {
            "File": {"Name": "my_secret_data", "UID": "0", "GID": "0", "Mode": 292},
            "SecretID": "kwew43x1nz34osxohfvq8ihhp",
            "SecretName": "my_secret_v2",
        }
    ]


def test_update_changes_nothing_but_what_was_given(swarm: FakeDaemon, vault: Vault) -> None:
    vault("service", "update", "-d", "web")
    before = service()["Spec"]
    assert sent(swarm) == before
    vault("service", "update", "-d", "--force", "--image", "busybox:v2", "--args", 'sh -c "exit 7"', "web")
    task = sent(swarm)["TaskTemplate"]
    assert task["ForceUpdate"] == 1
    assert (task["ContainerSpec"]["Image"], task["ContainerSpec"]["Args"]) == ("busybox:v2", ["sh", "-c", "exit 7"])
    assert task["ContainerSpec"]["Secrets"] == before["TaskTemplate"]["ContainerSpec"]["Secrets"]


def test_force_counts_on_from_the_last_one(swarm: FakeDaemon, vault: Vault) -> None:
    forced = service()
    forced["Spec"] = {**forced["Spec"], "TaskTemplate": {**forced["Spec"]["TaskTemplate"], "ForceUpdate": 4}}
    swarm.on("GET", "/services/web", forced)
    vault("service", "update", "-d", "--force", "web")
    assert sent(swarm)["TaskTemplate"]["ForceUpdate"] == 5


def test_update_sets_only_the_given_part_of_update_settings(swarm: FakeDaemon, vault: Vault) -> None:
    vault("service", "update", "web", "--update-delay", "0s", "--update-parallelism", "1", "-d")
    assert sent(swarm)["UpdateConfig"] == {
        "Parallelism": 1,
        "Delay": 0,
        "FailureAction": "pause",
        "Monitor": 5 * 10**9,
        "MaxFailureRatio": 0,
        "Order": "stop-first",
    }


def test_update_changes_placement_and_generic_resources(swarm: FakeDaemon, vault: Vault) -> None:
    def placed(*words: str) -> tuple[object, object]:
        assert vault("service", "update", "-d", *words, "web").err == ""
        task = sent(swarm)["TaskTemplate"]
        changed = service()
        changed["Spec"] = {**changed["Spec"], "TaskTemplate": task}
        swarm.on("GET", "/services/web", changed)
        return task.get("Placement"), ((task.get("Resources") or {}).get("Reservations") or {}).get("GenericResources")

    def spread(*labels: str) -> list[object]:
        return [{"Spread": {"SpreadDescriptor": label}} for label in labels]

    def resources(**kinds: int) -> list[object]:
        return [{"DiscreteResourceSpec": {"Kind": kind, "Value": count}} for kind, count in kinds.items()]

    words = ["--placement-pref-add", "spread=node.labels.z", "--placement-pref-add", "spread=node.labels.a"]
    words += ["--replicas-max-per-node", "3", "--generic-resource-add", "gpu=2", "--generic-resource-add", "fpga=1"]
    assert placed(*words) == (
        {"Preferences": spread("node.labels.z", "node.labels.a"), "MaxReplicas": 3},
        resources(fpga=1, gpu=2),
    )
    words = ["--placement-pref-rm", "spread=node.labels.z", "--generic-resource-add", "gpu=4"]
    assert placed(*words) == ({"Preferences": spread("node.labels.a"), "MaxReplicas": 3}, resources(fpga=1, gpu=4))
    words = ["--replicas-max-per-node", "0", "--generic-resource-rm", "fpga", "--generic-resource-rm", "gpu=4"]
    assert placed(*words) == ({"Preferences": spread("node.labels.a"), "MaxReplicas": 0}, [])
    result = vault("service", "update", "-d", "--generic-resource-rm", "gpu", "web")
    assert (result.code, result.err) == (1, "could not remove generic-resource `gpu` it doesn't exist\n")


def test_rollback_is_asked_for_alone(swarm: FakeDaemon, vault: Vault) -> None:
    result = vault("service", "update", "--rollback", "--force", "web")
    assert (result.code, result.err) == (1, "other flags may not be combined with --rollback\n")
    vault("service", "update", "--rollback", "-d", "web")
    assert swarm.asked("POST", f"/services/{WEB}/update")[-1].query == {"version": "34", "rollback": "previous"}
    vault("service", "rollback", "-d", "web")
    assert swarm.asked("POST", f"/services/{WEB}/update")[-1].query == {"version": "34", "rollback": "previous"}


def test_ls_counts_running_tasks_and_joins_ports(daemon: FakeDaemon, vault: Vault) -> None:
    ports = [
        {"Protocol": "tcp", "TargetPort": port, "PublishedPort": 30000 + port, "PublishMode": "ingress"}
        for port in (81, 80)
    ]
    web = service(ServiceStatus={"RunningTasks": 1, "DesiredTasks": 2}, Endpoint={"Ports": ports})
    glob = service(ID="w24u8kcbkeujle77qgrextaeg", ServiceStatus={"RunningTasks": 1, "DesiredTasks": 1})
    glob["Spec"] = {**glob["Spec"], "Name": "glob", "Mode": {"Global": {}}}
    daemon.on("GET", "/services", [web, glob])
    assert vault("service", "ls").out == (
        "ID             NAME      MODE         REPLICAS   IMAGE            PORTS\n"
        "w24u8kcbkeuj   glob      global       1/1        busybox:latest   \n"
        "uhwhpxddasct   web       replicated   1/2        busybox:latest   *:30080-30081->80-81/tcp\n"
    )
    assert daemon.requests[0].query == {"status": "true"}
    assert vault("service", "ls", "--format", "json").out.splitlines()[0] == (
        '{"ID":"w24u8kcbkeuj","Image":"busybox:latest","Mode":"global","Name":"glob","Ports":"","Replicas":"1/1"}'
    )


def task(identifier: str, desired: str, state: str, created: str, error: str = "") -> dict[str, Any]:
    return {
        "ID": identifier,
        "CreatedAt": f"2026-11-22T20:18:{created}.0Z",
        "ServiceID": WEB,
        "NodeID": "n1",
        "Slot": 1,
        "DesiredState": desired,
        "Status": {"State": state, "Timestamp": f"2026-11-22T20:18:{created}.0Z", "Err": error},
        "Spec": {"ContainerSpec": {"Image": "busybox:latest@sha256:00"}},
    }


def test_ps_puts_former_tasks_of_a_slot_below_the_newest(
    daemon: FakeDaemon, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vault.cli.services.tasks.now_s", lambda: 1795378724.5)
    daemon.on("GET", "/services", [service()])
    daemon.on("GET", f"/services/{WEB}", service())
    daemon.on("GET", "/nodes/n1", {"Spec": {}, "Description": {"Hostname": "vm"}})
    old = task("6tqepq76dno9aaaaaaaaaaaaa", "shutdown", "failed", "30", "task: non-zero exit (7) and more words")
    new = task("vaziumhomaxebbbbbbbbbbbbb", "running", "running", "39")
    daemon.on("GET", "/tasks", [old, new])
    lines = [re.split(" {2,}", line.rstrip()) for line in vault("service", "ps", "web").out.splitlines()]
    assert lines == [
        ["ID", "NAME", "IMAGE", "NODE", "DESIRED STATE", "CURRENT STATE", "ERROR", "PORTS"],
        ["vaziumhomaxe", "web.1", "busybox:latest", "vm", "Running", "Running 5 seconds ago"],
        [
            "6tqepq76dno9",
            "\\_ web.1",
            "busybox:latest",
            "vm",
            "Shutdown",
            "Failed 14 seconds ago",
            '"task: non-zero exit (7) and m…"',
        ],
    ]
    assert daemon.asked("GET", "/tasks")[0].filters == {"service": [WEB]}
    assert vault("service", "ps", "-q", "web").out.splitlines()[0] == "vaziumhomaxebbbbbbbbbbbbb"


def test_unknown_services_are_named_as_docker_names_them(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("GET", "/services", [])
    for method, path in (("GET", "/services/nosuch"), ("DELETE", "/services/nosuch")):
        daemon.refuse(method, path, 404, "service nosuch not found")
    assert (vault("service", "ps", "nosuch").err, vault("service", "ps", "nosuch").code) == (
        "no such service: nosuch\n",
        1,
    )
    found = vault("service", "inspect", "nosuch")
    assert (found.code, found.out, found.err) == (1, "[]\n", "Error: no such service: nosuch\n")
    assert vault("service", "rm", "nosuch").err == "Error response from daemon: service nosuch not found\n"
    scaled = vault("service", "scale", "nosuch=1")
    assert (scaled.code, scaled.err) == (1, "nosuch: Error response from daemon: service nosuch not found\n")


def test_scale_names_each_service_and_refuses_what_is_no_number(swarm: FakeDaemon, vault: Vault) -> None:
    result = vault("service", "scale", "--detach", "web=3", "web=abc")
    assert (result.code, result.out) == (1, "web scaled to 3\n")
    assert result.err == 'web: invalid replicas value abc: strconv.ParseUint: parsing "abc": invalid syntax\n'
    assert sent(swarm)["Mode"] == {"Replicated": {"Replicas": 3}}


def test_inspect_pretty_is_dockers(daemon: FakeDaemon, vault: Vault) -> None:
    spec = service()["Spec"] | {"Labels": {"l": "1"}}
    spec["UpdateConfig"] = {
        "Parallelism": 1,
        "FailureAction": "pause",
        "Monitor": 5 * 10**9,
        "MaxFailureRatio": 0,
        "Order": "stop-first",
    }
    daemon.on("GET", "/services/web", service(Spec=spec))
    assert vault("service", "inspect", "--pretty", "web").out == (
        "\n"
        "ID:\t\tuhwhpxddascti6fgcwyn89rp7\n"
        "Name:\t\tweb\n"
        "Labels:\n"
        " l=1\n"
        "Service Mode:\tReplicated\n"
        " Replicas:\t1\n"
        "Placement:\n"
        "UpdateConfig:\n"
        " Parallelism:\t1\n"
        " On failure:\tpause\n"
        " Monitoring Period: 5s\n"
        " Max failure ratio: 0\n"
        " Update order:      stop-first\n"
        "ContainerSpec:\n"
        " Image:\t\tbusybox:latest\n"
        " Args:\t\tsleep 1000000 \n"
        " Init:\t\tfalse\n"
        "Secrets:\n"
        " Target:\tmy_secret_data\n"
        "  Source:\tmy_secret_data\n"
        "Resources:\n"
        "Endpoint Mode:\tvip\n"
        "\n"
    )


def test_an_env_file_that_has_no_end_is_not_read_to_it(swarm: FakeDaemon, vault: Vault) -> None:
    result = vault("service", "create", "-d", "--env-file", "/dev/zero", "busybox")
    assert (result.code, result.err) == (1, "invalid env file (/dev/zero): it has more than 4194304 bytes\n")
    assert swarm.asked("POST", "/services/create") == []
