"""The other commands, each against Docker's table or text, and what all commands share."""

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import FakeDaemon, Request, Vault
from vault.cli.commands.containers import ports_text
from vault.cli.reference import document
from vault.cli.services.logs import frames, moment
from vault.cli.services.registry_auth import registry_auth

NODE = "hnli2tw5v5k3ngekr5hxjipfc"
TLS = {"TrustRoot": "PEM", "CertIssuerSubject": "s", "CertIssuerPublicKey": "k"}


def node(**spec: Any) -> dict[str, Any]:
    return {
        "ID": NODE,
        "Version": {"Index": 9},
        "CreatedAt": "2026-11-22T20:17:27.891552715Z",
        "Spec": {"Labels": {}, "Role": "manager", "Availability": "active", **spec},
        "Description": {"Hostname": "vm", "Engine": {"EngineVersion": "20.10"}, "TLSInfo": TLS},
        "Status": {"State": "ready", "Addr": "127.0.0.1"},
        "ManagerStatus": {"Leader": True, "Reachability": "reachable", "Addr": "127.0.0.1:2377"},
    }


@pytest.fixture
def swarm(daemon: FakeDaemon) -> FakeDaemon:
    daemon.on("GET", "/info", {"Swarm": {"NodeID": NODE, "ControlAvailable": True, "Cluster": {"TLSInfo": TLS}}})
    daemon.on("GET", "/nodes", [node()])
    daemon.on("GET", f"/nodes/{NODE}", node())
    return daemon


def test_node_ls_marks_this_node(swarm: FakeDaemon, vault: Vault) -> None:
    assert vault("node", "ls").out == (
        "ID                            HOSTNAME   STATUS    AVAILABILITY   MANAGER STATUS   ENGINE VERSION\n"
        "hnli2tw5v5k3ngekr5hxjipfc *   vm         Ready     Active         Leader           20.10\n"
    )
    assert vault("node", "ls", "-q").out == NODE + "\n"
    assert vault("node", "ls", "--format", "{{.Hostname}} {{.Self}} {{.TLSStatus}}").out == "vm true Ready\n"


def test_node_inspect_and_ps_know_self(swarm: FakeDaemon, vault: Vault) -> None:
    assert json.loads(vault("node", "inspect", "self").out)[0]["ID"] == NODE
    swarm.on("GET", "/tasks", [])
    assert vault("node", "ps").code == 0
    assert swarm.asked("GET", "/tasks")[0].filters == {"node": [NODE]}


def test_node_update_changes_labels_and_availability(swarm: FakeDaemon, vault: Vault) -> None:
    swarm.on("GET", "/nodes/vm", node(Labels={"a": "1", "b": "2"}))
    swarm.on("POST", f"/nodes/{NODE}/update", None)
    result = vault("node", "update", "--label-add", "c=3", "--label-rm", "a", "--availability", "Drain", "vm")
    assert (result.code, result.out) == (0, "vm\n")
    (request,) = swarm.asked("POST", f"/nodes/{NODE}/update")
    assert (request.query, request.body["Labels"], request.body["Availability"]) == (
        {"version": "9"},
        {"b": "2", "c": "3"},
        "drain",
    )
    missing = vault("node", "update", "--label-rm", "x", "vm")
    assert (missing.code, missing.err) == (1, "key x doesn't exist in node's labels\n")


def test_swarm_init_leave_and_update(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("POST", "/swarm/init", NODE)
    daemon.on("POST", "/swarm/leave", None)
    daemon.on("GET", f"/nodes/{NODE}", node())
    daemon.on("GET", "/swarm", {"JoinTokens": {"Worker": "SWMTKN-1-w", "Manager": "SWMTKN-1-m"}})
    daemon.on("GET", "/swarm/unlockkey", {"UnlockKey": ""})
    result = vault("swarm", "init", "--advertise-addr", "127.0.0.1")
    assert result.out == (
        f"Swarm initialized: current node ({NODE}) is now a manager.\n\n"
        "To add a worker to this swarm, run the following command:\n\n"
        "    vault swarm join --token SWMTKN-1-w 127.0.0.1:2377\n\n"
        "To add a manager to this swarm, run 'vault swarm join-token manager' and follow the instructions.\n"
        "\nAutolock is off: the key that opens the store lies on the same disk as the store.\n"
    )
    body = daemon.asked("POST", "/swarm/init")[0].body
    assert (body["AdvertiseAddr"], body["ListenAddr"], body["SubnetSize"]) == ("127.0.0.1", "0.0.0.0:2377", 24)
    assert vault("swarm", "leave", "--force").out == "Node left the swarm.\n"
    assert daemon.asked("POST", "/swarm/leave")[0].query == {"force": "1"}
    daemon.on("GET", "/swarm", {"Version": {"Index": 4}, "Spec": {"Name": "default", "Labels": {}}})
    daemon.on("POST", "/swarm/update", None)
    assert vault("swarm", "update", "--task-history-limit", "3").out == "Swarm updated.\n"
    (request,) = daemon.asked("POST", "/swarm/update")
    assert request.body["Orchestration"] == {"TaskHistoryRetentionLimit": 3}


def test_several_addresses_are_told_how_to_choose(daemon: FakeDaemon, vault: Vault) -> None:
    text = "could not choose an IP address to advertise since this system has multiple addresses"
    daemon.refuse("POST", "/swarm/init", 400, text)
    assert vault("swarm", "init").err == f"Error response from daemon: {text} - specify one with --advertise-addr\n"


def container(**changes: Any) -> dict[str, Any]:
    found = {
        "Id": "2d99ed99ebb63f14f22d9fe6d893493a5582aaf2c618e78bc6c603627b1213d7",
        "Names": ["/web.1.llcskc2g8fyywlxb5krn1hyfw"],
        "Image": "busybox:latest",
        "ImageID": "sha256:a698f355e9d85d6dcd148a064dd03e35504ec604597b6189b3d920c22e98602b",
        "Command": "sh -c 'while true; do sleep 1; done'",
        "Created": 1795378700,
        "Ports": [],
        "State": "running",
        "Status": "Up 4 seconds",
        "Labels": {"com.docker.swarm.task": ""},
    }
    return {**found, **changes}


def test_ps_lists_containers(daemon: FakeDaemon, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.cli.commands.containers.now_s", lambda: 1795378705.0)
    daemon.on("GET", "/containers/json", [container()])
    assert vault("ps").out == (
        "CONTAINER ID   IMAGE            COMMAND                  CREATED         STATUS         PORTS     NAMES\n"
        '2d99ed99ebb6   busybox:latest   "sh -c \'while true; …"   5 seconds ago   Up 4 seconds             '
        "web.1.llcskc2g8fyywlxb5krn1hyfw\n"
    )
    assert vault("ps", "-q", "--no-trunc").out == container()["Id"] + "\n"
    vault("ps", "-a", "-n", "3", "--filter", "name=web")
    assert daemon.requests[-1].query == {"all": "1", "limit": "3", "filters": '{"name":{"web":true}}'}


def test_a_container_is_listed_and_shown_under_dockers_longer_names_too(daemon: FakeDaemon, vault: Vault) -> None:
    health = {"Status": "healthy", "FailingStreak": 0, "Log": [{"ExitCode": 0, "Output": "well"}]}
    daemon.on("GET", "/containers/json", [container()])
    daemon.on("GET", "/containers/web/json", {"Id": "1", "State": {"Health": health}})
    assert vault("container", "ls").out == vault("ps").out == vault("container", "list").out
    assert vault("container", "inspect", "--format", "{{.State.Health.Status}}", "web").out == "healthy\n"
    missing = vault("container", "inspect", "web", "nosuch")
    assert missing.code == 1
    assert json.loads(missing.out)[0]["State"]["Health"] == health


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ([], ""),
        ([{"PrivatePort": 3306, "Type": "tcp"}, {"PrivatePort": 33060, "Type": "tcp"}], "3306/tcp, 33060/tcp"),
        ([{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}], "0.0.0.0:8080->80/tcp"),
        (
            [{"IP": "::", "PrivatePort": port, "PublicPort": port, "Type": "tcp"} for port in (80, 81)],
            "[::]:80-81->80-81/tcp",
        ),
    ],
)
def test_ports_of_containers(ports: list[dict[str, Any]], text: str) -> None:
    assert ports_text(ports) == text


def test_network_ls_and_create(daemon: FakeDaemon, vault: Vault) -> None:
    found = [
        {"Id": "ie54b4xgy6ufea30qt69mhkeo", "Name": "ingress", "Driver": "overlay", "Scope": "swarm", "Created": ""},
        {"Id": "3a8f7b7e6f835d079358f139", "Name": "bridge", "Driver": "bridge", "Scope": "local", "Created": ""},
    ]
    daemon.on("GET", "/networks", found)
    assert vault("network", "ls").out == (
        "NETWORK ID     NAME      DRIVER    SCOPE\n"
        "3a8f7b7e6f83   bridge    bridge    local\n"
        "ie54b4xgy6uf   ingress   overlay   swarm\n"
    )
    daemon.on("POST", "/networks/create", {"Id": "net", "Warning": ""}, status=201)
    words = ["--subnet", "10.9.0.0/24,10.10.0.0/24", "--gateway", "10.10.0.1", "--attachable", "--label", "a=b"]
    assert vault("network", "create", *words, "n").out == "net\n"
    body = daemon.asked("POST", "/networks/create")[0].body
    pools = [{"Subnet": "10.9.0.0/24"}, {"Subnet": "10.10.0.0/24", "Gateway": "10.10.0.1"}]
    assert (body["IPAM"]["Config"], body["Driver"], body["Attachable"]) == (pools, "overlay", True)
    assert vault("network", "create", "--ipv6", "--ingress", "--internal", "--opt", "a=b", "m").out == "net\n"
    more = daemon.asked("POST", "/networks/create")[1].body
    assert [more[key] for key in ("EnableIPv6", "Ingress", "Internal", "Options")] == [True, True, True, {"a": "b"}]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--gateway", "1.1.1.1"), "no matching subnet for gateway 1.1.1.1"),
        (("--gateway", "x"), "no matching subnet for gateway x"),
        (("--ip-range", "10.8.0.0/24"), "no matching subnet for range 10.8.0.0/24"),
        (("--aux-address", "a=10.8.0.1"), "no matching subnet for aux-address 10.8.0.1"),
        (("--aux-address", "a"), "no matching subnet for aux-address "),
        (("--subnet", "x"), "invalid subnet x: invalid CIDR block notation"),
    ],
)
def test_network_create_names_the_address_that_is_none(
    daemon: FakeDaemon, vault: Vault, words: tuple[str, ...], told: str
) -> None:
    wrong = vault("network", "create", "--subnet", "10.9.0.0/24", *words, "n")
    assert (wrong.code, wrong.err) == (1, f"{told}\n")


def test_network_rm_by_force_is_silent_of_what_was_not_there(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.refuse("DELETE", "/networks/gone", 404, "network gone not found")
    daemon.on("DELETE", "/networks/here", None)
    result = vault("network", "rm", "--force", "gone", "here")
    assert (result.code, result.out, result.err) == (0, "here\n", "")


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("service", "inspect"), "/services/web"),
        (("node", "inspect"), "/nodes/web"),
        (("secret", "inspect"), "/secrets/web"),
        (("config", "inspect"), "/configs/web"),
    ],
)
def test_a_field_that_no_object_of_its_kind_has_is_a_mistake(
    daemon: FakeDaemon, vault: Vault, words: tuple[str, ...], path: str
) -> None:
    daemon.on("GET", path, {"ID": "x", "Spec": {"Name": "web", "Labels": {"a": "b"}}})
    assert vault(*words, "--format", "{{.Spec.Name}} {{.Spec.Labels.a}}", "web").out == "web b\n"
    assert vault(*words, "--format", "{{.Version}} {{.Spec.Labels.none}}", "web").out == "<no value> <no value>\n"
    for field in (".Nope", ".Spec.Nope", ".spec"):
        result = vault(*words, "--format", f"{{{{{field}}}}}", "web")
        told = f'template parsing error: template: :1: executing "" at <{field}>: '
        name = field.rpartition(".")[2]
        assert (result.code, result.out, result.err) == (1, "", f'{told}map has no entry for key "{name}"\n')


def test_network_create_with_settings_of_another_or_for_others(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("POST", "/networks/create", {"Id": "net", "Warning": ""}, status=201)
    words = ["--subnet", "10.9.0.0/24", "--subnet", "fd00::/64", "--aux-address", "a=10.9.0.7", "--aux-address"]
    assert vault("network", "create", "--config-only", *words, "b=fd00::7", "--ipam-opt", "k=v", "s").out == "net\n"
    assert vault("network", "create", "--config-from", "s", "--ipam-driver", "mine", "--ipv4=false", "n").out == "net\n"
    only, taken = (one.body for one in daemon.asked("POST", "/networks/create"))
    pools = [
        {"Subnet": "10.9.0.0/24", "AuxiliaryAddresses": {"a": "10.9.0.7"}},
        {"Subnet": "fd00::/64", "AuxiliaryAddresses": {"b": "fd00::7"}},
    ]
    assert only["IPAM"] == {"Driver": "default", "Options": {"k": "v"}, "Config": pools}
    assert (only["ConfigOnly"], only["ConfigFrom"], "EnableIPv4" in only) == (True, None, False)
    assert (taken["ConfigOnly"], taken["ConfigFrom"], taken["EnableIPv4"]) == (False, {"Network": "s"}, False)
    assert taken["IPAM"]["Driver"] == "mine"
    for aside in ("a=10.8.0.1", "a=nowhere", "a"):
        assert vault("network", "create", "--subnet", "10.9.0.0/24", "--aux-address", aside, "n").code == 1


def test_a_network_is_inspected_with_the_endpoints_of_all_nodes_when_asked(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("GET", "/networks/back", {"Name": "back"})
    assert vault("network", "inspect", "--format", "{{.Name}}", "back").out == "back\n"
    assert vault("network", "inspect", "-v", "--format", "{{.Name}}", "back").out == "back\n"
    plain, verbose = daemon.asked("GET", "/networks/back")
    assert (plain.query, verbose.query) == ({}, {"verbose": "true"})


def test_volume_commands(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("GET", "/volumes", {"Volumes": [{"Name": "data", "Driver": "local"}], "Warnings": None})
    daemon.on("POST", "/volumes/create", {"Name": "data"}, status=201)
    daemon.on("DELETE", "/volumes/data", None, status=204)
    assert vault("volume", "ls").out == "DRIVER    VOLUME NAME\nlocal     data\n"
    assert vault("volume", "ls", "-q").out == "data\n"
    assert vault("volume", "create", "data").out == "data\n"
    assert vault("volume", "rm", "data").out == "data\n"


def test_config_create_says_where_it_read(daemon: FakeDaemon, vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    file = str(tmp_path / "empty")
    result = vault("config", "create", "c", file)
    assert result.err == f'error reading content from "{file}": error reading from {file}: data is empty\n'
    (tmp_path / "big").write_bytes(b"x" * 1_024_000)
    assert (
        "config data must be larger than 0 and less than 1024000 bytes"
        in vault("config", "create", "c", str(tmp_path / "big")).err
    )
    daemon.on("GET", "/configs", [])
    assert vault("config", "ls").out == "ID        NAME      CREATED   UPDATED\n"


def test_image_load_sends_the_file_and_prints_what_was_loaded(daemon: FakeDaemon, vault: Vault, tmp_path: Path) -> None:
    got: list[bytes] = []

    def load(request: Request) -> bytes:
        got.append(request.body)
        return b'{"stream":"Loaded image: busybox:latest\\n"}\r\n'

    daemon.on("POST", "/images/load", load)
    (tmp_path / "a.tar").write_bytes(b"archive" * 100_000)
    assert vault("image", "load", "-i", str(tmp_path / "a.tar")).out == "Loaded image: busybox:latest\n"
    assert got == [b"archive" * 100_000]
    missing = vault("image", "load", "-i", "/no/such")
    assert (missing.code, missing.err) == (1, "open /no/such: no such file or directory\n")


def test_image_pull_prints_steps_once_and_fails_with_the_registrys_sentence(daemon: FakeDaemon, vault: Vault) -> None:
    steps: list[dict[str, Any]] = [
        {"status": "Pulling from library/busybox", "id": "latest"},
        {"status": "Downloading", "id": "a1", "progressDetail": {"current": 1, "total": 2}},
        {"status": "Pull complete", "id": "a1"},
        {"status": "Status: Downloaded newer image"},
    ]
    daemon.on("POST", "/images/create", "\r\n".join(map(json.dumps, steps)).encode())
    assert vault("image", "pull", "busybox").out == (
        "Using default tag: latest\n"
        "latest: Pulling from library/busybox\n"
        "a1: Pull complete\n"
        "Status: Downloaded newer image\n"
        "docker.io/library/busybox:latest\n"
    )
    assert daemon.requests[0].query == {"fromImage": "busybox:latest"}
    daemon.on("POST", "/images/create", b'{"error":"manifest unknown","errorDetail":{"message":"manifest unknown"}}')
    failed = vault("image", "pull", "-q", "localhost:5000/x:1")
    assert (failed.code, failed.out, failed.err) == (1, "", "manifest unknown\n")


def test_image_ls_has_a_row_for_each_name(daemon: FakeDaemon, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.cli.commands.image.now_s", lambda: 1795378705.0)
    image = {
        "Id": "sha256:a698f355e9d85d6dcd148a06",
        "RepoTags": ["docker.io/library/busybox:v1", "localhost:5000/b:2"],
        "RepoDigests": [],
        "Created": 1795378700,
        "Size": 1_980_000,
    }
    daemon.on("GET", "/images/json", [image, {**image, "Id": "sha256:ffffffffffff0", "RepoTags": []}])
    assert vault("image", "ls").out == (
        "REPOSITORY         TAG       IMAGE ID       CREATED         SIZE\n"
        "<none>             <none>    ffffffffffff   5 seconds ago   1.98MB\n"
        "busybox            v1        a698f355e9d8   5 seconds ago   1.98MB\n"
        "localhost:5000/b   2         a698f355e9d8   5 seconds ago   1.98MB\n"
    )
    assert vault("image", "ls", "-q").out == "ffffffffffff\na698f355e9d8\n"


def frame(stream: int, text: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(text)) + text


def test_logs_go_to_the_stream_they_were_written_to(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("GET", "/containers/c/json", {"Id": "cid", "Config": {"Tty": False}})
    daemon.on("GET", "/containers/cid/logs", frame(1, b"out\n") + frame(2, b"err\n"))
    result = vault("logs", "--tail", "2", "-t", "c")
    assert (result.out, result.err) == ("out\n", "err\n")
    assert daemon.requests[-1].query == {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": "2"}


def test_service_logs_name_the_task_and_the_node(swarm: FakeDaemon, vault: Vault) -> None:
    task = "ma7buepglaoa8js9r0mnpcruk"
    swarm.on("GET", "/services/st", {"ID": "sid", "Spec": {"Name": "st", "Mode": {}, "TaskTemplate": {}}})
    swarm.on("GET", "/services/sid", {"ID": "sid", "Spec": {"Name": "st", "Mode": {}, "TaskTemplate": {}}})
    swarm.on("GET", f"/tasks/{task}", {"ID": task, "Slot": 1})
    about = f"com.docker.swarm.node.id={NODE},com.docker.swarm.service.id=sid,com.docker.swarm.task.id={task} "
    time = "2026-11-22T20:25:11.108041673Z "
    swarm.on("GET", "/services/sid/logs", frame(1, (about + "a b\n").encode()) + frame(2, (about + "e\n").encode()))
    result = vault("service", "logs", "st")
    assert (result.out, result.err) == ("st.1.ma7buepglaoa@vm    | a b\n", "st.1.ma7buepglaoa@vm    | e\n")
    swarm.on("GET", "/services/sid/logs", frame(1, (time + about + "x\n").encode()))
    assert vault("service", "logs", "-t", "--no-task-ids", "st").out == time + "st.1@vm    | x\n"
    assert vault("service", "logs", "--no-trunc", "-t", "st").out == f"{time}st.1.{task}@vm    | x\n"
    for path in ("/services/nosuch", "/tasks/nosuch"):
        swarm.refuse("GET", path, 404, "not found")
    assert vault("service", "logs", "nosuch").err == "no such task or service: nosuch\n"


@pytest.mark.parametrize("size", [1, 3, 8, 9, 100])
def test_frames_come_out_whole_however_they_are_cut(size: int) -> None:
    data = frame(1, b"one\n") + frame(2, b"") + frame(1, b"three\n")
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert list(frames(pieces)) == [(1, b"one\n"), (2, b""), (1, b"three\n")]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1795378704", "1795378704"),
        ("1795378704.5", "1795378704.5"),
        ("42m", "1795376184.000000000"),
        ("2026-11-22T20:18:24Z", "1795378704.000000000"),
        ("2026-11-22T20:18:24.123Z", "1795378704.123000000"),
        ("2026-11-22T21:18:24+01:00", "1795378704.000000000"),
    ],
)
def test_since_takes_times_and_durations(text: str, seconds: str) -> None:
    assert moment(text, 1795378704.0) == seconds


def test_credentials_come_from_dockers_configuration_and_only_for_the_registry(tmp_path: Path) -> None:
    (tmp_path / "c").write_text('{"auths": {"reg.example:5000": {"auth": "dTpwOng="}}}')
    from base64 import urlsafe_b64decode

    found = registry_auth("reg.example:5000/a/b:1", str(tmp_path / "c"))
    assert found is not None
    assert json.loads(urlsafe_b64decode(found)) == {
        "username": "u",
        "password": "p:x",
        "serveraddress": "reg.example:5000",
    }
    assert registry_auth("busybox", str(tmp_path / "c")) is None
    assert registry_auth("busybox", "/no/such") is None


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["bogus"], 1, "vault: unknown command: vault bogus\n\nRun 'vault --help' for more information\n"),
        (
            ["secret", "bogus"],
            1,
            "vault: unknown command: vault secret bogus\n\nUsage:  vault secret\n\n"
            "Run 'vault secret --help' for more information\n",
        ),
        (
            ["secret", "ls", "--bogus"],
            125,
            "unknown flag: --bogus\n\nUsage:  vault secret ls [OPTIONS]\n\n"
            "Run 'vault secret ls --help' for more information\n",
        ),
        (
            ["secret", "ls", "extra"],
            1,
            "vault: 'vault secret ls' accepts no arguments\n\nUsage:  vault secret ls [OPTIONS]\n\n"
            "Run 'vault secret ls --help' for more information\n",
        ),
        (
            ["service", "ls", "-f"],
            125,
            "flag needs an argument: 'f' in -f\n\nUsage:  vault service ls [OPTIONS]\n\n"
            "Run 'vault service ls --help' for more information\n",
        ),
        (
            ["secret", "ls", "-q=maybe"],
            125,
            'invalid argument "maybe" for "-q, --quiet" flag: strconv.ParseBool: parsing "maybe": invalid syntax\n\n'
            "Usage:  vault secret ls [OPTIONS]\n\nRun 'vault secret ls --help' for more information\n",
        ),
        (
            ["volume", "create", "a", "b"],
            1,
            "vault: 'vault volume create' requires at most 1 argument\n\n"
            "Usage:  vault volume create [OPTIONS] [VOLUME]\n\n"
            "Run 'vault volume create --help' for more information\n",
        ),
        (["help", "nosuch"], 1, "unknown help topic: nosuch\n"),
        (
            ["service", "scale", "a"],
            1,
            "invalid scale specifier 'a'.\nSee 'vault service scale --help'.\n\n"
            "Usage:  vault service scale SERVICE=REPLICAS [SERVICE=REPLICAS...]\n\n"
            "Scale one or multiple replicated services\n",
        ),
    ],
)
def test_usage_errors_are_dockers(vault: Vault, words: list[str], code: int, error: str) -> None:
    result = vault(*words)
    assert (result.code, result.out, result.err) == (code, "", error)


def test_help_is_dockers(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert vault("secret", "create", "--help").out == (
        "Usage:  vault secret create [OPTIONS] SECRET [file|-]\n"
        "\n"
        "Create a secret from a file or STDIN as content\n"
        "\n"
        "Options:\n"
        "  -d, --driver string            Secret driver\n"
        "  -l, --label list               Secret labels\n"
        "      --template-driver string   Template driver\n"
    )
    assert vault("help", "secret", "rm").out == vault("secret", "rm", "--help").out
    assert vault("secret").err == vault("secret", "--help").out
    assert vault("secret", "list", "--help").out == vault("secret", "ls", "--help").out


def test_the_document_of_commands_is_what_help_says() -> None:
    file = Path(__file__).parents[2] / "docs" / "commands.md"
    assert file.read_text() == document(), "run: python -m vault.cli.reference > docs/commands.md"


HEAVY = ("asyncio", "fastapi", "starlette", "uvicorn", "cryptography", "nacl", "msgspec", "yaml", "websockets", "ssl",
         "http.client", "email", "vault.model", "vault.stack")  # fmt: skip


def test_a_plain_command_imports_nothing_heavy(daemon: FakeDaemon) -> None:
    daemon.on("GET", "/secrets", [])
    program = (
        "import sys; from vault.cli.main import run; code = run(sys.argv[1:]); "
        f"found = [name for name in {HEAVY!r} if name in sys.modules]; print(found, file=sys.stderr); sys.exit(code)"
    )
    words = ["-H", f"unix://{daemon.socket}", "secret", "ls"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    assert (done.stdout.split()[0], done.stderr) == ("ID", "[]\n")


def test_no_traceback_reaches_a_user(daemon: FakeDaemon) -> None:
    """An answer in a shape that no daemon of ours sends is a bug somewhere, and still a sentence."""
    daemon.on("GET", "/secrets", [{"Spec": None}])
    program = "from vault.cli.main import main; main()"
    words = ["-H", f"unix://{daemon.socket}", "secret", "ls"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("vault: internal error (TypeError)")
    assert "Traceback" not in done.stderr


def test_shell_completion_knows_commands_and_options() -> None:
    program = "from vault.cli.main import main; main()"
    for words, found in (("vault sec", "secret"), ("vault secret cr", "create"), ("vault secret ls --q", "--quiet")):
        environment = {"_VAULT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        command = [sys.executable, "-c", "import sys; sys.argv[0] = 'vault'; " + program]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert found in done.stdout, done


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("network", "inspect"), "/networks/n"),
        (("volume", "inspect"), "/volumes/n"),
        (("container", "inspect"), "/containers/n/json"),
    ],
)
def test_so_is_one_that_an_object_shown_in_full_lacks(
    daemon: FakeDaemon, vault: Vault, words: tuple[str, ...], path: str
) -> None:
    daemon.on("GET", path, {"Name": "n", "Labels": {}})
    assert vault(*words, "--format", "{{.Name}} {{.Labels.x}}", "n").out == "n <no value>\n"
    assert vault(*words, "--format", "{{.Nope}}", "n").code == 1
