"""Bad input: each case with its status and its sentence."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.client import Daemon

BAD = "rpc error: code = InvalidArgument desc = "
NAME_RULE = (
    BAD + "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"
)
SIZE_RULE = BAD + "secret data must be larger than 0 and less than 512000 bytes"
CONFIG_SIZE_RULE = BAD + "config data must be larger than 0 and less than 1024000 bytes"
DNS_RULE = BAD + "name must be valid as a DNS name component"
SEQUENCE = "rpc error: code = Unknown desc = update out of sequence"
SECRET_ID = "0006" + "z" * 21  # The secret that every case finds, "taken".


@pytest.fixture(scope="module")
def daemon() -> Daemon:
    daemon = Daemon().with_swarm()
    daemon.post("/secrets/create", {"Name": "taken", "Data": "eA=="})
    daemon.post("/services/create", service(Secrets=[reference("taken")]) | {"EndpointSpec": {"Ports": [PORT]}})
    daemon.post("/configs/create", {"Name": "conf", "Data": "eA=="})
    return daemon


PORT = {"TargetPort": 80, "PublishedPort": 8080}


def secret(name: str, data: str = "eA==") -> dict[str, Any]:
    return {"Name": name, "Data": data}


def reference(name: str, target: str | None = None, **file: object) -> dict[str, Any]:
    return {"SecretID": SECRET_ID, "SecretName": name, "File": {"Name": target or name, **file}}


def service(name: str = "web", **container: object) -> dict[str, Any]:
    return {"Name": name, "TaskTemplate": {"ContainerSpec": {"Image": "busybox:latest", **container}}}


def task(**parts: object) -> dict[str, Any]:
    return {"Name": "new", "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}, **parts}}


def reserving(*resources: dict[str, Any]) -> dict[str, Any]:
    return task(Resources={"Reservations": {"GenericResources": list(resources)}})


def endpoint(*ports: dict[str, Any], mode: str = "vip") -> dict[str, Any]:
    return service("new") | {"EndpointSpec": {"Mode": mode, "Ports": list(ports)}}


SECRETS = [
    *[
        (secret(name), 400, NAME_RULE)
        for name in ("bad name", "a/b", "..", ".", "a!", ".a", "-a", "_a", "a_", "a" * 65, "a\0b", "а", "a%2Fb", "a\n")
    ],
    (secret("taken"), 409, "rpc error: code = AlreadyExists desc = secret taken already exists"),
    (secret("TAKEN"), 409, "rpc error: code = AlreadyExists desc = secret TAKEN already exists"),
    (secret("x", "not base64!"), 400, "illegal base64 data at input byte 3"),
    (secret("x", "eA"), 400, "illegal base64 data at input byte 0"),
    (secret("x", "eA==eA=="), 400, "illegal base64 data at input byte 4"),
    ({"Name": "x", "Data": 5}, 400, "invalid request body: expected base64 at $.Data"),
    ({"Name": 5}, 400, "invalid request body: Expected str, got int at $.Name"),
    ({"Name": "x", "Labels": {"a": 1}}, 400, "invalid request body: Expected str, got int at $.Labels[...]"),
    ([], 400, "invalid request body: Expected object, got array at $"),
    ({"Name": "x", "Driver": {"Name": "vault"}}, 400, 'plugin "vault" not found: there is only safe'),
    (
        {"Name": "x", "Driver": {"Name": "safe"}, "Data": "eA=="},
        400,
        BAD + "when using secret driver secret data must be empty",
    ),
]


@pytest.mark.parametrize(("posted", "status", "message"), SECRETS)
def test_a_secret_that_breaks_a_rule_is_refused(daemon: Daemon, posted: object, status: int, message: str) -> None:
    answer = daemon.post("/secrets/create", posted)
    assert (answer.status, answer.message) == (status, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "got EOF while reading request body"),
        (b"garbage", "invalid character 'g' looking for beginning of value"),
        (b"{", "unexpected end of JSON input"),
        (b'{"Name" "x"}', "invalid character '\"' after object key"),
        (b'{"Name":"x",}', "invalid character '}' looking for beginning of object key string"),
        (b'{"Name":"x"} {}', "invalid character '{' after top-level value"),
        (b'{"Name":"\x01"}', "invalid character '\\x01' in string literal"),
        (b"[" * 100_000, "exceeded max depth"),
        (b'{"A":' * 2000 + b"1" + b"}" * 2000, "invalid request body: it is nested too deeply"),
        (b'{"Name":"\xff"}', "the request body is not valid JSON"),
        (b'{"Name":"\\ud800"}', "the request body is not valid JSON"),
    ],
)
def test_a_body_that_is_no_json_is_refused_in_gos_words(daemon: Daemon, body: bytes, message: str) -> None:
    for path in ("/secrets/create", "/services/create", "/networks/create"):
        answer = daemon.request("POST", path, body)
        assert (answer.status, answer.message) == (400, message)


SERVICES = [
    (
        service("web"),
        409,
        "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists",
    ),
    (
        service("new", Env=["A={{.Service.Labels.tier}}"]),
        400,
        BAD + 'expanding env failed: expanding env "A": template: expansion:1:10: executing "expansion" at '
        '<.Service.Labels.tier>: map has no entry for key "tier"',
    ),
    (
        service("new", Hostname="{{.Task.Slot"),
        *(400, BAD + "expanding hostname failed: template: expansion:1: unclosed action"),
    ),
    (
        service("new", Mounts=[{"Type": "bind", "Source": "data/{{.Task.Slot}}", "Target": "/{{.Service.Name}}"}]),
        *(400, BAD + "invalid bind mount source, must be an absolute path: data/1"),
    ),
    (
        service("new") | {"Mode": {"Replicated": {"Replicas": 2**64}}},
        400,
        "invalid request body: a number is out of range",
    ),
    (task(Resources={"Limits": {"MemoryBytes": 5}}), 400, BAD + "invalid memory value 5: Must be at least 4MiB"),
    (
        task(Resources={"Limits": {"MemoryBytes": 1 << 23}, "Reservations": {"MemoryBytes": 1 << 24}}),
        400,
        BAD + "a memory reservation of 16777216 bytes is more than the limit of 8388608: "
        "lower the one or raise the other",
    ),
    (
        task(Resources={"Limits": {"MemoryBytes": 1 << 23}, "SwapBytes": -2}),
        400,
        BAD + "invalid memory swap value -2: Must be at least -1",
    ),
    (
        task(Resources={"MemorySwappiness": 101}),
        400,
        BAD + "invalid memory swappiness value 101: valid range is 0-100",
    ),
    (task(Placement={"Constraints": ["no de==x"]}), 400, BAD + "key 'no de' is invalid"),
    *[
        (
            task(Placement={"Preferences": [{"Spread": {"SpreadDescriptor": over}}]}),
            400,
            BAD + f"placement preference '{over}' is invalid: spread over node.labels.NAME or engine.labels.NAME",
        )
        for over in ("node.id", "node.labels.", "zone", "")
    ],
    (task(Placement={"MaxReplicas": -1}), 400, BAD + "Placement: max replicas per node cannot be negative"),
    (
        reserving({"NamedResourceSpec": {"Kind": "gpu", "Value": "a"}}),
        400,
        BAD + "invalid argument for resource gpu: reserve a number of a kind",
    ),
    (reserving({}), 400, BAD + "invalid argument for resource : reserve a number of a kind"),
    (
        reserving({"DiscreteResourceSpec": {"Kind": "gpu", "Value": -1}}),
        400,
        BAD + "invalid argument for resource gpu: its number must not be negative",
    ),
    (
        reserving({"DiscreteResourceSpec": {"Kind": "gpu"}}, {"DiscreteResourceSpec": {"Kind": "gpu"}}),
        400,
        BAD + "duplicate generic-resource `gpu` for service task",
    ),
    (
        service("new", Mounts=[{"Type": "tmpfs", "Target": "/a"}, {"Type": "volume", "Target": "/a/"}]),
        400,
        BAD + "ContainerSpec: duplicate mount point: /a/",
    ),
    (
        service("new", Mounts=[{"Type": "bind", "Source": "rel", "Target": "/a"}]),
        400,
        BAD + "invalid bind mount source, must be an absolute path: rel",
    ),
    (
        task(LogDriver={"Name": "json-file", "Options": {"colour": "red"}}),
        400,
        BAD + "unknown log opt 'colour' for json-file log driver",
    ),
    (task(LogDriver={"Options": {"max-file": "0"}}), 400, BAD + "max-file cannot be less than 1"),
    (
        task(Resources={"Limits": {"NanoCPUs": 10**9}, "Reservations": {"NanoCPUs": 2 * 10**9}}),
        400,
        BAD + "a reservation of 2 CPUs is more than the limit of 1: lower the one or raise the other",
    ),
    *[
        (
            service("new", Secrets=[reference("taken")], Mounts=[{"Type": "tmpfs", "Target": target}]),
            400,
            BAD + f"mount target {target} is in the way of {what}",
        )
        for target, what in (
            ("/run/secrets/taken", "'taken' at /run/secrets/taken: move one of them"),
            ("/run/secrets/taken/x", "'taken' at /run/secrets/taken: move one of them"),
            ("/run/secrets", "the secrets in /run/secrets: choose another"),
            ("/run/secrets/other", "the secrets in /run/secrets: choose another"),
        )
    ],
    (
        service("new", Secrets=[reference("taken"), reference("taken", "taken/x")]),
        400,
        BAD + "'taken' cannot be at /run/secrets/taken/x: 'taken' is a file at /run/secrets/taken",
    ),
    (
        task(Networks=[{"Target": "host"}, {"Target": "none"}]),
        400,
        BAD + "a task on network host can be on no other: leave one of them out",
    ),
    *[
        (
            task(Networks=[{"Target": network}]) | {"EndpointSpec": {"Ports": [port]}},
            400,
            BAD + f"port 80 cannot be published for a task on network {network}: leave it out, "
            "or choose another network",
        )
        for network, port in (
            ("host", {"TargetPort": 80}),
            ("host", {"TargetPort": 80, "PublishedPort": 81, "PublishMode": "host"}),
            ("none", {"TargetPort": 80, "PublishMode": "host"}),
        )
    ],
    (
        {
            "Name": "new",
            "TaskTemplate": {
                "ContainerSpec": {"Image": "busybox", "Sysctls": {"net.core.somaxconn": "1"}},
                "Networks": [{"Target": "host"}],
            },
        },
        400,
        BAD + "sysctl 'net.core.somaxconn' is not allowed on network host: it is the node's",
    ),
    (endpoint({"TargetPort": 70_000}), 400, BAD + "EndpointSpec: a port must be between 1 and 65535"),
    (
        endpoint(PORT),
        400,
        BAD + f"port '8080' is already in use by service 'web' ({'0007' + 'z' * 21}) as an ingress port",
    ),
    (
        service("new") | {"UpdateConfig": {"Deadline": -1}},
        400,
        BAD + "TaskSpec: update-deadline cannot be negative",
    ),
    (
        service("new") | {"RollbackConfig": {"Delay": 5 * 10**9, "Deadline": 6 * 10**9}},
        400,
        BAD + "TaskSpec: rollback-deadline must be longer than the 6s for which rollback-monitor and rollback-delay "
        "have the last task watched",
    ),
    (
        endpoint(PORT | {"PublishMode": "host", "PublishedPort": 9})
        | {"Mode": {"Global": {}}, "UpdateConfig": {"Order": "start-first"}},
        400,
        BAD + "EndpointSpec: the old task of each node holds host port 9, so no new one could start before it has "
        "stopped: use update-order stop-first, or publish the port in ingress mode",
    ),
    (
        service("new", Secrets=[reference("taken"), reference("taken")]),
        400,
        BAD + "secret references 'taken' and 'taken' have a conflicting target: 'taken'",
    ),
    (
        service("new", Secrets=[reference("taken"), reference("taken", "/run/secrets/./taken")]),
        400,
        BAD + "secret references 'taken' and 'taken' have a conflicting target: '/run/secrets/./taken'",
    ),
    (service("new", Secrets=[reference("nosuch")]), 400, BAD + "secret not found: nosuch"),
    (
        service("new", Secrets=[reference("no1"), reference("no2")]),
        400,
        BAD + "secrets not found: no1, no2",
    ),
    *[
        (
            service("new", Secrets=[reference("taken", target)]),
            400,
            BAD + "secret 'taken': the target must be the path of a file, without '..'",
        )
        for target in ("../x", "a/../../x", "a/", ".", "/", "a\0b", "x" * 5000)
    ],
    (
        service("new", Secrets=[reference("taken", UID="root")]),
        400,
        BAD + "secret 'taken': the uid must be a number, not a user or group name",
    ),
    (
        service("new", Secrets=[reference("taken", Mode=0o10000)]),
        400,
        BAD + "secret 'taken': the mode must be permission bits, at most 07777",
    ),
    (
        task(Networks=[{"Target": "ingress", "DriverOpts": {"a": "b"}}]),
        400,
        BAD + "invalid endpoint settings:\noption a means nothing to a task's place on a network: "
        "use com.docker.network.endpoint.ifname or com.docker.network.endpoint.sysctls",
    ),
]


@pytest.mark.parametrize(("posted", "status", "message"), SERVICES)
def test_a_service_that_breaks_a_rule_is_refused(daemon: Daemon, posted: object, status: int, message: str) -> None:
    answer = daemon.post("/services/create", posted)
    assert (answer.status, answer.message) == (status, message)


WINDOWS = " needs Windows nodes, and all nodes here run Linux: leave it out"
CLUSTER_VOLUMES = (
    " needs cluster volumes (CSI), which are not offered: use a volume of a network file system, "
    "as driver_opts of the driver local say it"
)
RUNTIME = " is not offered: a service runs containers, leave the runtime out or use container"


@pytest.mark.parametrize(
    ("posted", "sentence"),
    [
        (task(Runtime="plugin"), "TaskTemplate.Runtime plugin" + RUNTIME),
        (
            service("new", Privileges={"CredentialSpec": {"File": "x"}}),
            "ContainerSpec.Privileges.CredentialSpec" + WINDOWS,
        ),
        (
            service("new", Configs=[{"ConfigID": "c", "ConfigName": "c", "Runtime": {}}]),
            "ContainerSpec.Configs.Runtime" + WINDOWS,
        ),
        (service("new", Isolation="hyperv"), "ContainerSpec.Isolation hyperv" + WINDOWS),
        (
            service("new", Mounts=[{"Type": "npipe", "Source": "v", "Target": "/a"}]),
            "ContainerSpec.Mounts type npipe" + WINDOWS,
        ),
        (
            service("new", Mounts=[{"Type": "cluster", "Source": "v", "Target": "/a"}]),
            "ContainerSpec.Mounts type cluster" + CLUSTER_VOLUMES,
        ),
    ],
)
def test_what_no_node_can_do_is_refused_with_the_reason(daemon: Daemon, posted: object, sentence: str) -> None:
    answer = daemon.post("/services/create", posted)
    assert (answer.status, answer.message) == (501, f"rpc error: code = Unimplemented desc = {sentence}")


def test_an_update_may_not_rename_or_change_the_mode(daemon: Daemon) -> None:
    index = daemon.get("/services/web").json()["Version"]["Index"]
    renamed = daemon.post(f"/services/web/update?version={index}", service("other"))
    unimplemented = "rpc error: code = Unimplemented desc = "
    assert (renamed.status, renamed.message) == (501, unimplemented + "renaming services is not supported")
    switched = daemon.post(f"/services/web/update?version={index}", service() | {"Mode": {"Global": {}}})
    assert (switched.status, switched.message) == (501, unimplemented + "service mode change is not allowed")


@pytest.mark.parametrize(
    ("method", "url", "posted", "status", "message"),
    [
        ("DELETE", "/secrets/taken", None, 400, BAD + "secret 'taken' is in use by the following service: web"),
        (
            "POST",
            "/secrets/taken/update?version=x",
            secret("taken"),
            400,
            "invalid secret version 'x': strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
        (
            "POST",
            "/services/web/update",
            {},
            400,
            "invalid service version '': strconv.ParseUint: parsing \"\": invalid syntax",
        ),
        ("GET", "/tasks/nosuch", None, 404, "task nosuch not found"),
        ("GET", "/nodes/self", None, 404, "node self not found"),
        ("POST", "/networks/create", {"Name": "ingress"}, 409, "network with name ingress already exists"),
        (
            "POST",
            "/networks/create",
            {"Name": "n", "Driver": "macvlan"},
            400,
            BAD + 'network driver "macvlan" is not supported: use overlay',
        ),
        (
            "POST",
            "/networks/create",
            {"Name": "n", "Options": {"encrypted": ""}},
            400,
            "rpc error: code = FailedPrecondition desc = network n cannot be encrypted: no node has WireGuard. "
            "Load the kernel module wireguard on the nodes, or install the package wireguard-go there",
        ),
        (
            "POST",
            "/networks/create",
            {"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.1/8"}]}},
            400,
            "invalid network config:\ninvalid subnet 10.0.0.1/8: it should be 10.0.0.0/8",
        ),
        (
            "POST",
            "/networks/create",
            {"Name": "n", "Options": {"com.docker.network.driver.mtu": "huge"}},
            400,
            BAD + "invalid MTU value: huge: com.docker.network.driver.mtu is a number from 68 to 65535",
        ),
        (
            "POST",
            "/networks/create",
            {"Name": "n", "Options": {"com.docker.network.bridge.name": "br0"}},
            400,
            BAD + "network option com.docker.network.bridge.name means nothing to the overlay driver: leave it out",
        ),
        (
            "POST",
            "/secrets/create",
            secret("x") | {"Templating": {"Name": "jinja"}},
            400,
            BAD + 'template driver "jinja" is not supported: use golang',
        ),
        ("POST", "/networks/create", {"Name": "host"}, 403, "operation is not permitted on predefined host network"),
        ("POST", "/swarm/init", {"Availability": "lazy"}, 400, 'invalid Availability: "lazy"'),
        ("POST", "/swarm/init", {"Spec": {"Name": "x"}}, 400, 'swarm spec must be named "default"'),
        ("POST", "/swarm/init", {"ListenAddr": "a b:1"}, 400, 'invalid ListenAddr "a b:1": use <ip|interface>[:port]'),
        (
            "POST",
            "/swarm/init",
            {"AdvertiseAddr": "x:0"},
            400,
            'invalid AdvertiseAddr "x:0": use <ip|interface>[:port]',
        ),
        (
            "POST",
            "/swarm/init",
            {"AdvertiseAddr": "x:\n"},
            400,
            'invalid AdvertiseAddr "x:?": use <ip|interface>[:port]',
        ),
        (
            "POST",
            "/swarm/init",
            {"DataPathPort": 80},
            400,
            BAD + "invalid DataPathPort 80: use a port from 1024 to 49151",
        ),
        (
            "POST",
            "/swarm/init",
            {"DefaultAddrPool": ["10.0.0.1/8"]},
            400,
            BAD + 'invalid default address pool "10.0.0.1/8": use IPv4 CIDR, as 10.0.0.0/8',
        ),
        (
            "POST",
            "/swarm/init",
            {"DefaultAddrPool": ["10.1.0.0/16"], "SubnetSize": 8},
            400,
            BAD + "invalid SubnetSize 8: use 16 to 29 for the pool 10.1.0.0/16",
        ),
        ("POST", "/swarm/join", {}, 400, "at least 1 RemoteAddr is required to join"),
        ("POST", "/swarm/join", {"RemoteAddrs": ["a"] * 65}, 400, "too many RemoteAddrs: send at most 64"),
        ("POST", "/swarm/join", {"Availability": "lazy", "RemoteAddrs": ["a"]}, 400, 'invalid Availability: "lazy"'),
        (
            "POST",
            "/swarm/join",
            {"RemoteAddrs": ["http://10.0.0.1:2377"]},
            400,
            'invalid remote address "http://10.0.0.1:2377": use HOST:PORT of a manager',
        ),
        (
            "POST",
            "/swarm/join",
            {"RemoteAddrs": ["10.0.0.1:99999"]},
            400,
            'invalid remote address "10.0.0.1:99999": use HOST:PORT of a manager',
        ),
        (
            "POST",
            "/swarm/update",
            {"Name": "default"},
            400,
            "invalid swarm version '': strconv.ParseUint: parsing \"\": invalid syntax",
        ),
        (
            "POST",
            "/nodes/vm/update?version=1",
            {"Role": "worker", "Availability": "active"},
            400,
            "rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm",
        ),
        ("GET", "/services/web/logs", None, 400, "must specify at least one of 'stdout' or 'stderr'"),
        (
            "GET",
            "/services/web/logs?stdout=1&since=yesterday",
            None,
            400,
            "invalid time: use seconds since 1970, or 2006-01-02T15:04:05Z",
        ),
        ("GET", "/containers/nosuch/json", None, 404, "No such container: nosuch"),
        ("GET", "/images/nosuch/json", None, 404, "No such image: nosuch"),
        ("GET", "/exec/nosuch/json", None, 404, "No such exec instance: nosuch"),
        ("POST", "/containers/nosuch/exec", {}, 400, "No exec command specified"),
        ("POST", "/images/create", None, 400, 'fromSrc must be "-": send the archive as the body of the request'),
        ("GET", "/distribution/busybox:latest/json", None, 404, "manifest of busybox:latest not found"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(
    daemon: Daemon, method: str, url: str, posted: object, status: int, message: str
) -> None:
    answer = daemon.request(method, url, b"" if posted is None else json.dumps(posted).encode())
    assert (answer.status, answer.message) == (status, message)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ('{"bogus":{"1":true}}', "Invalid filter 'bogus'"),
        ('{"bogus":["1"]}', "Invalid filter 'bogus'"),
        ("{bad", "invalid character 'b' looking for beginning of object key string"),
        ("[]", "the filters must be a JSON object of lists"),
        ('{"name":[["x"]]}', "Invalid filter 'name': its values must be strings"),
        ("[" * 50_000, "exceeded max depth"),
        ("x" * 70_000, "the filters are too long: send at most 65536 bytes"),
    ],
)
def test_bad_filters_are_refused_everywhere(daemon: Daemon, filters: str, message: str) -> None:
    for path in ("/secrets", "/configs", "/services", "/tasks", "/nodes", "/networks", "/images/json", "/volumes"):
        answer = daemon.get(f"{path}?filters={quote(filters)}")
        assert (answer.status, answer.message) == (400, message)
