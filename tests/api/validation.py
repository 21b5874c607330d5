"""What Docker's swarm refuses, as one table: what is asked of a cluster, and the status and sentence of the answer.

The sentences are SwarmKit's and the Engine's, but for those marked as ours.
"""

import json
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from tests.api.client import Daemon
from tests.api.fakes import NODE_ID
from vault.model.ids import Kind
from vault.model.network import NetworkAttachment
from vault.model.node import ManagerStatus, Node, NodeDescription, NodeSpec, NodeStatus
from vault.model.task import State, Task, TaskStatus
from vault.store.changes import Put
from vault.store.snapshot import Snapshot

INVALID = "rpc error: code = InvalidArgument desc = "
PRECONDITION = "rpc error: code = FailedPrecondition desc = "
EXISTS = "rpc error: code = AlreadyExists desc = "
UNIMPLEMENTED = "rpc error: code = Unimplemented desc = "
DNS = INVALID + "name must be valid as a DNS name component"
OBJECT_NAME = (
    INVALID
    + "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row."""

    asked: str  # Method and path, with `{web}` and the like for ids.
    posted: Any
    status: int
    message: str

    def __str__(self) -> str:
        return self.message.removeprefix(INVALID)[:80]


def service(name: str = "new", *, mode: Any = None, endpoint: Any = None, **container: Any) -> dict[str, Any]:
    """Return a service; what is None is not posted."""
    posted = {"Name": name, "TaskTemplate": {"ContainerSpec": {"Image": "busybox", **container}}}
    return posted | {key: one for key, one in (("Mode", mode), ("EndpointSpec", endpoint)) if one is not None}


def task(**parts: Any) -> dict[str, Any]:
    """Return a service with such a task template."""
    return {"Name": "new", "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}, **parts}}


def port(number: int = 80, **more: Any) -> dict[str, Any]:
    """Return a port that is published under its own number."""
    return {"TargetPort": number, "PublishedPort": number, **more}


def reference(kind: str, name: str, object_id: str = "1", file: Any = "f") -> dict[str, Any]:
    """Return a claim on a secret or config (`kind`), with a file of that name, or with none."""
    return {f"{kind}ID": object_id, f"{kind}Name": name} | ({"File": {"Name": file}} if file is not None else {})


def created(posted: dict[str, Any], message: str, status: int = 400) -> Refusal:
    """Refuse to create a service."""
    return Refusal("POST /services/create", posted, status, message)


def health(**words: Any) -> dict[str, Any]:
    """Return a service with such a health check."""
    return service(Healthcheck={"Test": ["CMD", "true"], **words})


SERVICES = [
    *(created(service(name), DNS) for name in ("a b", "-a", "a-", "a.b", "ü", "a" * 70 + "!")),
    created(service("a" * 64), INVALID + "name must be 63 characters or fewer"),
    created(task(Resources={"Limits": {"NanoCPUs": 1}}), INVALID + "invalid cpu value 1e-09: Must be at least 0.001"),
    created(
        task(Resources={"Reservations": {"NanoCPUs": 999_999}}),
        INVALID + "invalid cpu value 0.000999999: Must be at least 0.001",
    ),
    created(
        task(Resources={"Limits": {"MemoryBytes": 4_194_303}}),
        INVALID + "invalid memory value 4194303: Must be at least 4MiB",
    ),
    created(task(RestartPolicy={"Delay": -1}), INVALID + "TaskSpec: restart-delay cannot be negative"),
    created(task(RestartPolicy={"Window": -1}), INVALID + "TaskSpec: restart-window cannot be negative"),
    created(task(RestartPolicy={"Condition": "maybe"}), 'invalid RestartCondition: "maybe"'),
    created(task(Placement={"Constraints": ["node.role"]}), INVALID + "constraint expected one operator from ==, !="),
    created(task(Placement={"Constraints": ["no!de==a"]}), INVALID + "key 'no!de' is invalid"),
    created(task(Placement={"Constraints": ["node.role==§"]}), INVALID + "value '§' is invalid"),
    created(service() | {"UpdateConfig": {"Delay": -1}}, INVALID + "TaskSpec: update-delay cannot be negative"),
    created(service() | {"UpdateConfig": {"Monitor": -1}}, INVALID + "TaskSpec: update-monitor cannot be negative"),
    created(
        service() | {"UpdateConfig": {"MaxFailureRatio": 1.5}},
        INVALID + "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
    ),
    created(service() | {"UpdateConfig": {"FailureAction": "x"}}, "unrecognized update failure action x"),
    created(service() | {"RollbackConfig": {"Order": "x"}}, "unrecognized update order x"),
    created(
        service() | {"RollbackConfig": {"Delay": -1}}, INVALID + "TaskSpec: rollback-delay cannot be negative"
    ),  # Ours, as the next: Docker takes any rollback.
    created(
        service() | {"RollbackConfig": {"MaxFailureRatio": -0.5}},
        INVALID + "TaskSpec: rollback-maxfailureratio cannot be less than 0 or bigger than 1",
    ),
    created(service(Image=""), INVALID + "ContainerSpec: image reference must be provided"),
    *(
        created(service(Image=image), f'{INVALID}ContainerSpec: "{image}" is not a valid repository/tag')
        for image in ("BusyBox", "busybox:", "busybox@sha256:12", "/busybox", "a//b", "a:b:c", "-a", "a" * 513)
    ),
    created(service(Image="a b"), INVALID + 'ContainerSpec: "a b" is not a valid repository/tag'),
    created(
        service(Mounts=[{"Type": "tmpfs", "Target": "/a"}, {"Type": "tmpfs", "Target": "/a"}]),
        INVALID + "ContainerSpec: duplicate mount point: /a",
    ),
    created(service(Mounts=[{"Type": "floppy", "Target": "/a"}]), 'invalid MountType: "floppy"'),
    created(
        service(Mounts=[{"Type": "bind", "Source": "/a", "Target": "/a", "BindOptions": {"Propagation": "x"}}]),
        'invalid MountPropagation: "x"',
    ),
    *(
        created(
            health(**{word: 999_999}),
            f"{INVALID}ContainerSpec: {word} in HealthConfig cannot be less than 1ms",
        )
        for word in ("Interval", "Timeout", "StartPeriod", "StartInterval")
    ),
    created(health(Retries=-1), INVALID + "ContainerSpec: Retries in HealthConfig cannot be negative"),
    created(
        service(mode={"Replicated": {"Replicas": -1}}), INVALID + "Replicas must be between 0 and 1000000"
    ),  # Ours: a negative number is none of Docker's type, and a million is beyond what fits.
    created(
        service(mode={"ReplicatedJob": {"MaxConcurrent": -1}}),
        INVALID + "Maximum concurrent jobs must not be negative",
    ),
    created(
        service(mode={"ReplicatedJob": {"TotalCompletions": -1}}),
        INVALID + "Total completed jobs must not be negative",
    ),
    created(service(mode={"Global": {}, "GlobalJob": {}}), "must specify only one service mode"),
    created(service(mode={"GlobalJob": {}}) | {"UpdateConfig": {}}, INVALID + "Jobs may not have an update config"),
    created(service(endpoint={"Mode": "anycast"}), 'invalid resolution mode: "anycast"'),
    created(
        service(endpoint={"Mode": "dnsrr", "Ports": [port()]}),
        INVALID + "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
    ),
    created(
        service(endpoint={"Ports": [port(), port()]}), INVALID + "EndpointSpec: duplicate published ports provided"
    ),
    created(
        service(endpoint={"Ports": [port(8080)]}),
        INVALID + "port '8080' is already in use by service 'web' ({web}) as an ingress port",
    ),
    created(
        service(endpoint={"Ports": [port(8081)]}),
        INVALID + "port '8081' is already in use by service 'web' ({web}) as a host-published port",
    ),
    created(
        service(endpoint={"Ports": [port(8080, PublishMode="host")]}),
        INVALID + "port '8080' is already in use by service 'web' ({web}) as an ingress port",
    ),
    created(
        task(Networks=[{"Target": "ingress"}]),
        INVALID + 'Service cannot be explicitly attached to the ingress network "ingress"',
    ),
    created(task(Networks=[{"Target": "nosuch"}]), "network nosuch not found", 404),
    created(task(Resources={"SwapBytes": 1}), "memory swap provided, but no memory-limit was set"),
    created(service("WEB"), EXISTS + "name conflicts with an existing object: service WEB already exists", 409),
]

REFERENCES = [
    row
    for kind, word in (("Secret", "secret"), ("Config", "config"))
    for row in (
        created(service(**{f"{kind}s": [reference(kind, "")]}), f"{INVALID}malformed {word} reference"),
        created(service(**{f"{kind}s": [reference(kind, "a", "")]}), f"{INVALID}malformed {word} reference"),
        created(
            service(**{f"{kind}s": [reference(kind, "a", file="")]}),
            f"{INVALID}malformed file {word} reference, invalid target file name provided",
        ),
        created(
            service(**{f"{kind}s": [reference(kind, "a"), reference(kind, "b")]}),
            f"{INVALID}{word} references 'a' and 'b' have a conflicting target: 'f'",
        ),
        created(service(**{f"{kind}s": [reference(kind, "a")]}), f"{INVALID}{word} not found: a"),
        created(
            service(**{f"{kind}s": [reference(kind, "a"), reference(kind, "b", file="g")]}),
            f"{INVALID}{word}s not found: a, b",
        ),
        created(
            service(**{f"{kind}s": [reference(kind, "other", f"{{{word}}}")]}), f"{INVALID}{word} not found: other"
        ),
    )
] + [
    created(
        service(Secrets=[reference("Secret", "a", file=None)]),
        INVALID + "malformed secret reference, no target provided",
    ),
    created(
        service(Configs=[reference("Config", "a", file=None)]), "invalid Config: either File or Runtime should be set"
    ),
]

VALUES = [
    row
    for kind, word, largest in (("secrets", "secret", 512_000), ("configs", "config", 1_024_000))
    for row in (
        Refusal(f"POST /{kind}/create", {"Data": "eA=="}, 400, INVALID + "name must be provided"),
        *(
            Refusal(f"POST /{kind}/create", {"Name": name, "Data": "eA=="}, 400, OBJECT_NAME)
            for name in ("a b", "_a", "a_", ".a", "a" * 65, "ü")
        ),
        *(
            Refusal(
                f"POST /{kind}/create",
                {"Name": "new", "Data": b64encode(data).decode()},
                400,
                f"{INVALID}{word} data must be larger than 0 and less than {largest} bytes",
            )
            for data in (b"", bytes(largest))
        ),
        Refusal(
            f"POST /{kind}/create",
            {"Name": word.upper(), "Data": "eA=="},
            409,
            f"{EXISTS}{word} {word.upper()} already exists",
        ),
        Refusal(
            f"POST /{kind}/{word}/update?version={{{word}@}}",
            {"Name": word, "Data": "eQ=="},
            400,
            INVALID + "only updates to Labels are allowed",
        ),
        Refusal(f"POST /{kind}/nosuch/update?version=1", {"Name": "x"}, 404, f"{word} nosuch not found"),
        Refusal(f"DELETE /{kind}/nosuch", None, 404, f"{word} nosuch not found"),
        Refusal(
            f"DELETE /{kind}/{word}",
            None,
            400,
            f"{INVALID}{word} '{word}' is in use by the following services: two, web",
        ),
    )
] + [Refusal("POST /secrets/create", {"Name": "x", "Driver": {}}, 400, INVALID + "secret driver must have a name")]

UPDATES = [
    Refusal(
        "POST /services/web/update?version={web@}",
        service("other"),
        501,
        UNIMPLEMENTED + "renaming services is not supported",
    ),
    Refusal(
        "POST /services/web/update?version={web@}",
        service("web", mode={"Global": {}}),
        501,
        UNIMPLEMENTED + "service mode change is not allowed",
    ),
    Refusal(
        "POST /services/two/update?version={two@}&rollback=previous",
        service("two"),
        400,
        PRECONDITION + "service two does not have a previous spec",
    ),
    Refusal(
        "POST /services/web/update?version=1",
        service("web"),
        500,
        "rpc error: code = Unknown desc = update out of sequence",
    ),
    Refusal("POST /services/nosuch/update?version=1", service("nosuch"), 404, "service nosuch not found"),
    Refusal("DELETE /services/nosuch", None, 404, "service nosuch not found"),
]

NETWORKS = [
    Refusal("POST /networks/create", {"Name": ""}, 400, INVALID + "meta: name must be provided"),
    Refusal("POST /networks/create", {"Name": "a b"}, 400, DNS),
    Refusal("POST /networks/create", {"Name": "a" * 64}, 400, INVALID + "name must be 63 characters or fewer"),
    Refusal(
        "POST /networks/create",
        {"Name": "x", "Labels": {"com.docker.swarm.predefined": ""}},
        403,
        "rpc error: code = PermissionDenied desc = label com.docker.swarm.predefined is for internally created "
        "predefined networks and cannot be applied by users",
    ),
    Refusal(
        "POST /networks/create",
        {"Name": "x", "Ingress": True, "Attachable": True},
        400,
        INVALID + "ingress network cannot be attachable",
    ),
    Refusal(
        "POST /networks/create",
        {"Name": "x", "Ingress": True},
        409,
        EXISTS + "ingress network ({ingress}) is already present",
    ),
    Refusal("POST /networks/create", {"Name": "back"}, 409, "network with name back already exists"),
    Refusal("DELETE /networks/nosuch", None, 404, "network nosuch not found"),
    Refusal("DELETE /networks/back", None, 400, PRECONDITION + "network back is in use by service web"),
    Refusal("DELETE /networks/left", None, 400, PRECONDITION + "network left is in use by task {task}"),
    Refusal(
        "DELETE /networks/ingress",
        None,
        400,
        PRECONDITION + "ingress network cannot be removed because service {web} depends on it",
    ),
    *(
        Refusal(
            f"DELETE /networks/{name}",
            None,
            403,
            f"{name} is a pre-defined network and cannot be removed",
        )
        for name in ("host", "bridge")
    ),
]

NODES = [
    Refusal(
        "POST /nodes/{first}/update?version={first@}",
        {"Role": "worker", "Availability": "active"},
        400,
        PRECONDITION + "can't remove member from the raft: this would result in a loss of quorum",
    ),
    Refusal(
        "DELETE /nodes/{first}?force=1",
        None,
        400,
        PRECONDITION + "node {first} is a cluster manager and is a member of the raft cluster. "
        "It must be demoted to worker before removal",
    ),
    Refusal("DELETE /nodes/{worker}", None, 400, PRECONDITION + "node {worker} is not down and can't be removed"),
    Refusal("POST /nodes/{worker}/update?version={worker@}", {"Role": "king"}, 400, 'invalid Role: "king"'),
    Refusal("POST /nodes/{away}/update?version={away@}", {"Availability": "drain"}, 400, 'invalid Role: ""'),
    Refusal("POST /nodes/{away}/update?version={away@}", {"Role": "manager"}, 400, 'invalid Availability: ""'),
    Refusal(
        "POST /nodes/{worker}/update?version={worker@}",
        {"Role": "worker", "Availability": "off"},
        400,
        'invalid Availability: "off"',
    ),
    Refusal("DELETE /nodes/nosuch", None, 404, "node nosuch not found"),
    Refusal(
        "POST /swarm/update?version={cluster@}",
        {"Name": "default", "CAConfig": {"NodeCertExpiry": 5}},
        400,
        INVALID + "minimum certificate expiry time is: 1h0m0s",
    ),
    *(
        Refusal(
            f"POST /swarm/update?version={{cluster@}}&{switch}=maybe",
            {"Name": "default"},
            400,
            f"invalid value for {switch}: maybe: use true or false",
        )
        for switch in ("rotateWorkerToken", "rotateManagerToken", "rotateManagerUnlockKey")
    ),
    Refusal(
        "POST /swarm/update?version={cluster@}",
        {"Name": "other"},
        400,
        'swarm spec must be named "default"',
    ),
    Refusal(
        "POST /swarm/update?version={cluster@}",
        {"Name": "default", "Dispatcher": {"HeartbeatPeriod": -1}},
        400,
        INVALID + "heartbeat time period cannot be a negative duration",
    ),
]

SWITCHES = [
    Refusal(f"GET {path}?{switch}=maybe", None, 400, f"invalid value for {switch}: maybe: use true or false")
    for path, switch in (
        ("/services", "status"),
        ("/services/web", "insertDefaults"),
        ("/networks/back", "verbose"),
    )
]

LOGS = [
    *(
        Refusal(
            f"GET /services/web/logs?stdout=1&tail={tail}", None, 400, 'tail value must be a positive integer or "all"'
        )
        for tail in ("x", "-1", "1.5")
    ),
    Refusal("GET /services/web/logs?tail=1", None, 400, "must specify at least one of 'stdout' or 'stderr'"),
]

TABLE = [*SERVICES, *REFERENCES, *VALUES, *UPDATES, *NETWORKS, *NODES, *SWITCHES, *LOGS]


class World:
    """A cluster of two managers, one of them away, and a worker; with something of each kind, all of it in use."""

    def __init__(self) -> None:
        self.daemon = Daemon().with_swarm()
        self.names: dict[str, str] = {}
        store = self.daemon.manager.store()
        away = Node(
            id="a" * 25, spec=NodeSpec(role="manager"), description=NodeDescription(hostname="away"),
            status=NodeStatus(state="down"), manager_status=ManagerStatus(reachability="unreachable"),
        )  # fmt: skip
        worker = Node(id="w" * 25, description=NodeDescription(hostname="w"), status=NodeStatus(state="ready"))
        store.write((Put(away), Put(worker)))
        cluster = store.committed.cluster
        assert cluster is not None
        self.names |= {"first": NODE_ID, "worker": worker.id, "away": away.id, "cluster": cluster.id}
        for name in ("ingress", "host", "bridge"):
            self.names[name] = self._id(f"/networks/{name}", "Id")
        for name in ("back", "left"):
            self.names[name] = self._made("/networks/create", {"Name": name}, "Id")
        for kind in ("secret", "config"):
            self.names[kind] = self._made(f"/{kind}s/create", {"Name": kind, "Data": "eA=="})
        uses = {
            "Secrets": [reference("Secret", "secret", self.names["secret"])],
            "Configs": [reference("Config", "config", self.names["config"])],
        }
        ports = [port(8080), port(8081, PublishMode="host")]
        web = service("web", endpoint={"Ports": ports}, **uses)
        web["TaskTemplate"]["Networks"] = [{"Target": "back"}]
        self.names["web"] = self._made("/services/create", web)
        self.names["two"] = self._made("/services/create", service("two", **uses))
        self._leave_a_task()

    def filled(self, text: str) -> str:
        """Return a text with ids for `{names}` and indexes for `{names@}`."""
        for name, object_id in self.names.items():
            text = text.replace(f"{{{name}}}", object_id)
            if f"{{{name}@}}" in text:
                text = text.replace(f"{{{name}@}}", str(self._index(object_id)))
        return text

    def body(self, posted: Any) -> bytes:
        """Return a request's body."""
        return b"" if posted is None else self.filled(json.dumps(posted)).encode()

    def snapshot(self) -> Snapshot:
        """Return what the cluster has."""
        return self.daemon.manager.store().committed

    def _leave_a_task(self) -> None:
        """Have a task on a network that its service is no longer on."""
        network = self.snapshot().networks[self.names["left"]]
        left = Task(
            id="t" * 25,
            service_id=self.names["two"],
            spec=self.snapshot().services[self.names["two"]].spec.task_template,
            status=TaskStatus(state=State.RUNNING),
            networks_attachments=(NetworkAttachment(network=network),),
        )
        self.daemon.manager.store().write((Put(left),))
        self.names["task"] = left.id

    def _index(self, object_id: str) -> int:
        kinds = (Kind.SERVICE, Kind.SECRET, Kind.CONFIG, Kind.NODE, Kind.CLUSTER)
        return next(found.version.index for kind in kinds if (found := self.snapshot().get(kind, object_id)))

    def _made(self, path: str, posted: dict[str, Any], key: str = "ID") -> str:
        answer = self.daemon.post(path, posted)
        assert answer.status == 201, answer.text
        made: str = answer.json()[key]
        return made

    def _id(self, path: str, key: str) -> str:
        found: str = self.daemon.get(path).json()[key]
        return found
