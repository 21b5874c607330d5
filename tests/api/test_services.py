"""Services, tasks, nodes and networks over HTTP."""

from typing import Any

import msgspec
import pytest

from tests.api.client import Daemon
from tests.api.fakes import NODE_ID
from vault.model.base import Version
from vault.model.names import check_service_name
from vault.model.service import Service
from vault.model.task import ContainerStatus, State, Task, TaskStatus
from vault.store.changes import Put


def spec(name: str = "web", **container: object) -> dict[str, Any]:
    return {
        "Name": name,
        "Labels": {},
        "TaskTemplate": {"ContainerSpec": {"Image": "busybox:latest", **container}, "ForceUpdate": 0},
    }


def create(daemon: Daemon, posted: dict[str, Any]) -> str:
    answer = daemon.post("/services/create", posted)
    assert answer.status == 201, answer.text
    service_id: str = answer.json()["ID"]
    return service_id


def version_of(daemon: Daemon, service: str = "web") -> int:
    index: int = daemon.get(f"/services/{service}").json()["Version"]["Index"]
    return index


def add_task(daemon: Daemon, service_id: str, slot: int, **fields: Any) -> Task:
    store = daemon.manager.store()
    service = store.committed.services[service_id]
    task = Task(
        id=f"t{slot}".ljust(25, "0"),
        service_id=service_id,
        service_name=service.spec.name,
        service_labels=service.spec.labels,
        spec=service.spec.task_template,
        spec_version=service.spec_version,
        slot=slot,
        node_id=NODE_ID,
        status=TaskStatus(state=State.RUNNING, container_status=ContainerStatus(container_id="c" * 64, pid=5)),
    )
    store.write((Put(msgspec.structs.replace(task, **fields)),))
    return store.committed.tasks[task.id]


def test_a_service_is_shown_as_posted_plus_documented_defaults() -> None:
    daemon = Daemon().with_swarm()
    posted = spec(Env=["A=1"], Labels={"l": "1"}, Init=False, StopGracePeriod=1) | {"UpdateConfig": {"Parallelism": 0}}
    create(daemon, posted)
    shown = daemon.get("/services/web").json()
    assert shown["Spec"] == {
        "Name": "web",
        "Labels": {},
        "TaskTemplate": {
            "ContainerSpec": posted["TaskTemplate"]["ContainerSpec"] | {"Isolation": "default"},
            "ForceUpdate": 0,
            "Runtime": "container",
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "UpdateConfig": {"Parallelism": 0, "MaxFailureRatio": 0.0, "Order": "stop-first"},
        "EndpointSpec": {"Mode": "vip"},
    }
    assert "ServiceStatus" not in shown
    assert "SpecVersion" not in shown


def test_a_service_with_templates_that_can_be_filled_in_is_kept_as_posted() -> None:
    daemon = Daemon().with_swarm()
    mount = {"Type": "volume", "Source": "data-{{.Task.Slot}}", "Target": "/{{.Service.Name}}"}
    posted = spec(Hostname="{{.Node.Hostname}}", Env=["T={{.Service.Labels.tier}}"], Mounts=[mount])
    create(daemon, posted | {"Labels": {"tier": "front"}})
    shown = daemon.get("/services/web").json()["Spec"]["TaskTemplate"]["ContainerSpec"]
    assert {name: shown[name] for name in ("Hostname", "Env", "Mounts")} == {
        name: posted["TaskTemplate"]["ContainerSpec"][name] for name in ("Hostname", "Env", "Mounts")
    }


def test_a_service_without_a_name_is_given_one() -> None:
    daemon = Daemon().with_swarm()
    create(daemon, spec(""))
    create(daemon, spec(""))
    names = {service["Spec"]["Name"] for service in daemon.get("/services").json()}
    assert len(names) == 2
    assert all(check_service_name(name) is None for name in names)


def test_defaults_are_inserted_where_they_are_asked_for() -> None:
    daemon = Daemon().with_swarm()
    create(daemon, spec())
    shown = daemon.get("/services/web?insertDefaults=true").json()["Spec"]
    update = {
        "Parallelism": 1,
        "FailureAction": "pause",
        "Monitor": 5_000_000_000,
        "MaxFailureRatio": 0,
        "Order": "stop-first",
    }
    assert shown["UpdateConfig"] == shown["RollbackConfig"] == update
    assert shown["TaskTemplate"]["RestartPolicy"] == {"Condition": "any", "Delay": 5_000_000_000, "MaxAttempts": 0}
    assert shown["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"] == 10_000_000_000
    assert "UpdateConfig" not in daemon.get("/services/web?insertDefaults=false").json()["Spec"]


def test_counts_come_with_status_and_from_1_41_on() -> None:
    daemon = Daemon().with_swarm()
    service_id = create(daemon, spec() | {"Mode": {"Replicated": {"Replicas": 3}}})
    add_task(daemon, service_id, 1)
    counted = daemon.get("/services?status=true").json()[0]["ServiceStatus"]
    assert counted == {"RunningTasks": 1, "DesiredTasks": 3, "CompletedTasks": 0}
    assert "ServiceStatus" not in daemon.get("/services").json()[0]
    assert "ServiceStatus" not in daemon.get("/v1.40/services?status=true").json()[0]


def test_a_task_on_a_node_that_is_down_does_not_count_as_running() -> None:
    daemon = Daemon().with_swarm()
    service_id = create(daemon, spec())
    add_task(daemon, service_id, 1)
    store = daemon.manager.store()
    node = store.committed.nodes[NODE_ID]
    store.write((Put(msgspec.structs.replace(node, status=msgspec.structs.replace(node.status, state="down"))),))
    assert daemon.get("/services?status=true").json()[0]["ServiceStatus"]["RunningTasks"] == 0


def test_fields_that_a_version_did_not_have_are_neither_taken_nor_shown() -> None:
    daemon = Daemon().with_swarm()
    posted = spec(CapabilityAdd=["NET_ADMIN"], OomScoreAdj=5)
    assert daemon.post("/v1.40/services/create", posted).status == 201
    assert "CapabilityAdd" not in daemon.get("/services/web").json()["Spec"]["TaskTemplate"]["ContainerSpec"]
    tmpfs = {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"Options": [["exec"]]}}
    full = spec(
        "new",
        CapabilityAdd=["NET_ADMIN"],
        OomScoreAdj=5,
        Privileges={"Seccomp": {"Mode": "unconfined"}, "NoNewPrivileges": True},
        Mounts=[tmpfs],
    )
    full["TaskTemplate"]["Resources"] = {"Limits": {"MemoryBytes": 1 << 26}, "SwapBytes": 0}
    create(daemon, full)
    tasks = {
        version: daemon.get(f"/v{version}/services/new").json()["Spec"]["TaskTemplate"]
        for version in ("1.40", "1.41", "1.44", "1.46")
    }
    by_version = {version: task["ContainerSpec"] for version, task in tasks.items()}
    assert by_version["1.41"]["Privileges"] == {"NoNewPrivileges": False}
    assert by_version["1.44"]["Privileges"] == {"Seccomp": {"Mode": "unconfined"}, "NoNewPrivileges": True}
    assert by_version["1.44"]["Mounts"] == [tmpfs | {"TmpfsOptions": {}}]
    assert by_version["1.46"]["Mounts"] == [tmpfs]
    assert tasks["1.46"]["Resources"]["SwapBytes"] == 0  # Docker's since 1.52, taken and shown from the first.
    assert "CapabilityAdd" not in by_version["1.40"]
    assert "CapabilityAdd" in by_version["1.41"]
    assert "OomScoreAdj" not in by_version["1.41"]
    assert "OomScoreAdj" in by_version["1.46"]


def test_the_clusters_own_writes_do_not_refuse_an_update() -> None:
    daemon = Daemon().with_swarm()
    service_id = create(daemon, spec())
    read = version_of(daemon)
    store = daemon.manager.store()
    store.write((Put(store.committed.services[service_id]),))  # The allocator, say.
    assert daemon.post(f"/services/web/update?version={read}", spec(Env=["A=1"])).status == 200
    stale = daemon.post(f"/services/web/update?version={read}", spec(Env=["A=2"]))
    assert (stale.status, stale.message) == (500, "rpc error: code = Unknown desc = update out of sequence")
    future = daemon.post(f"/services/web/update?version={read + 100}", spec(Env=["A=2"]))
    assert future.status == 500


def test_a_rollback_swaps_the_specs_and_can_be_swapped_back() -> None:
    daemon = Daemon().with_swarm()
    create(daemon, spec())
    none = daemon.post(f"/services/web/update?version={version_of(daemon)}&rollback=previous", spec())
    assert none.status == 400
    assert none.message.endswith("service web does not have a previous spec")
    daemon.post(f"/services/web/update?version={version_of(daemon)}", spec(Env=["A=1"]))
    for expected in ({}, {"Env": ["A=1"]}):
        answer = daemon.post(f"/services/web/update?version={version_of(daemon)}&rollback=previous", spec())
        assert answer.json() == {"Warnings": None}
        shown = daemon.get("/services/web").json()
        found = shown["Spec"]["TaskTemplate"]["ContainerSpec"]
        assert found.get("Env") == expected.get("Env")
        assert shown["UpdateStatus"]["State"] == "rollback_started"
        assert shown["UpdateStatus"]["Message"] == "manually requested rollback"


def test_removing_a_service_asks_its_tasks_to_go_in_the_same_commit() -> None:
    daemon = Daemon().with_swarm()
    service_id = create(daemon, spec())
    add_task(daemon, service_id, 1)
    assert daemon.delete("/services/web").status == 200
    (task,) = daemon.get("/tasks").json()
    assert task["DesiredState"] == "remove"


def test_a_task_is_shown_without_what_is_ours() -> None:
    daemon = Daemon().with_swarm()
    add_task(daemon, create(daemon, spec()), 1)
    (task,) = daemon.get("/tasks").json()
    docker = {"ID", "Version", "CreatedAt", "UpdatedAt", "Labels", "Spec", "ServiceID", "Slot", "NodeID", "Status"}
    assert set(task) == docker | {"DesiredState"}
    assert task["Status"]["ContainerStatus"] == {"ContainerID": "c" * 64, "PID": 5, "ExitCode": 0}
    assert daemon.get(f"/tasks/{task['ID'][:5]}").json() == task
    assert daemon.get(f"/tasks/web.1.{task['ID']}").json() == task


@pytest.mark.parametrize(
    ("filters", "slots"),
    [
        ({"service": ["web"]}, [1, 2]),
        ({"service": {"web": True}, "_up-to-date": {"true": True}}, [1]),
        ({"node": ["self"]}, [1, 2]),
        ({"node": ["vm"], "desired-state": ["shutdown"]}, [2]),
        ({"desired-state": ["running"]}, [1]),
        ({"name": ["web.2"]}, [2]),
        ({"label": ["stack=a"]}, [1, 2]),
        ({"label": ["stack=b"]}, []),
        ({"id": ["t1"]}, [1]),
    ],
)
def test_tasks_are_filtered(filters: object, slots: list[int]) -> None:
    daemon = Daemon().with_swarm()
    service_id = create(daemon, spec() | {"Labels": {"stack": "a"}})
    add_task(daemon, service_id, 1)
    old = daemon.manager.store().committed.services[service_id].spec.task_template
    add_task(
        daemon,
        service_id,
        2,
        desired_state=State.SHUTDOWN,
        spec_version=Version(index=1),
        spec=type(old)(container_spec=type(old.container_spec)(image="older")),
    )
    assert [task["Slot"] for task in daemon.filtered("/tasks", filters)] == slots


@pytest.mark.parametrize(("key", "value"), [("service", "nosuch"), ("node", "nosuch")])
def test_a_filter_for_what_does_not_exist_is_not_found(key: str, value: str) -> None:
    answer = Daemon().with_swarm().get(f'/tasks?filters={{"{key}":["{value}"]}}')
    assert (answer.status, answer.message) == (404, f"{key} {value} not found")


def test_a_network_is_named_in_a_spec_and_stored_by_id() -> None:
    daemon = Daemon().with_swarm()
    made = daemon.post("/networks/create", {"Name": "front", "Driver": "overlay", "CheckDuplicate": True})
    assert made.json() == {"Id": made.json()["Id"], "Warning": ""}
    posted = spec()
    posted["TaskTemplate"]["Networks"] = [{"Target": "front", "Aliases": ["web"]}]
    posted["EndpointSpec"] = {"Ports": [{"TargetPort": 80, "PublishedPort": 8080}]}
    answer = daemon.post("/services/create", posted)
    assert "Warnings" not in answer.json()
    (attached,) = daemon.get("/services/web").json()["Spec"]["TaskTemplate"]["Networks"]
    assert attached == {"Target": made.json()["Id"], "Aliases": ["web"]}
    busy = daemon.delete("/networks/front")
    assert busy.message == "rpc error: code = FailedPrecondition desc = network front is in use by service web"
    daemon.delete("/services/web")
    assert daemon.delete("/networks/front").status == 204


def test_a_nodes_own_networks_are_shown_everywhere_and_never_removed() -> None:
    outside, inside = Daemon(), Daemon().with_swarm()
    assert [network["Name"] for network in outside.get("/networks").json()] == ["bridge", "host", "none"]
    assert [network["Name"] for network in inside.get("/networks").json()] == ["ingress", "bridge", "host", "none"]
    assert outside.delete("/networks/host").status == 403
    assert inside.get("/networks/host").json()["Scope"] == "local"
    assert inside.get("/networks/ingress?scope=swarm").json()["Ingress"] is True
    assert inside.filtered("/networks", {"driver": ["host"]})[0]["Name"] == "host"
    assert inside.filtered("/networks", {"name": {"ingr": True}})[0]["Name"] == "ingress"


def test_a_service_may_use_a_nodes_own_network_by_name_or_shown_id() -> None:
    daemon = Daemon().with_swarm()
    shown = daemon.get("/networks/host").json()["Id"]
    for n, target in enumerate(("host", shown)):
        posted = spec(f"web{n}")
        posted["TaskTemplate"]["Networks"] = [{"Target": target}]
        create(daemon, posted)
    targets = {service["Spec"]["TaskTemplate"]["Networks"][0]["Target"] for service in daemon.get("/services").json()}
    assert len(targets) == 1


def test_a_node_is_shown_without_its_seal_key_and_updated() -> None:
    daemon = Daemon().with_swarm()
    (node,) = daemon.get("/nodes").json()
    assert "SealKey" not in node
    assert daemon.get("/nodes/vm").json() == node
    posted = {"Labels": {"zone": "a"}, "Role": "manager", "Availability": "drain"}
    assert daemon.post(f"/nodes/vm/update?version={node['Version']['Index']}", posted).status == 200
    assert daemon.filtered("/nodes", {"node.label": ["zone=a"]})[0]["Spec"]["Availability"] == "drain"
    assert daemon.filtered("/nodes", {"role": {"worker": True}}) == []
    removal = daemon.delete("/nodes/vm?force=1")
    assert "is a cluster manager" in removal.message


def test_the_swarm_is_shown_without_its_keys() -> None:
    daemon = Daemon().with_swarm()
    for url in ("/swarm", "/info"):
        body = daemon.get(url).body
        assert b"RootKey" not in body
        assert b"UnlockKey" not in body
    assert daemon.get("/swarm").json()["JoinTokens"] == {"Worker": "SWMTKN-1-w", "Manager": "SWMTKN-1-m"}
    assert "JoinTokens" not in daemon.get("/info").json()["Swarm"]["Cluster"]


def test_what_an_object_hides_is_everything_docker_does_not_have() -> None:
    """A field added to a stored object stays inside until somebody shows it."""
    from vault.api import shown

    assert "restarts" in shown._HIDDEN_OF_TASK
    assert set(shown._HIDDEN_OF_SERVICE) == set(Service.__struct_fields__) - set(shown.SERVICE_FIELDS)
