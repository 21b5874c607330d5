"""A deploy is one proposal: it says what it does, does all of it or nothing, and finds out what is done already."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.stack.builders import service
from tests.stack.cluster import Cluster
from vault.model.ids import Kind
from vault.model.service import UpdateState, UpdateStatus
from vault.model.task import State
from vault.stack.carry import StepRefused
from vault.stack.errors import NotDeployable
from vault.store.changes import Put, PutValue

STACK = """
    services:
      web: {image: nginx, secrets: [s], networks: [default, other]}
      db: {image: mysql, configs: [c]}
    networks: {other: }
    secrets: {s: {file: s}}
    configs: {c: {file: c}}
"""
FILES = {"/stack/s": b"value", "/stack/c": b"text"}
CREATED = [
    "create network demo_default",
    "create network demo_other",
    "create secret demo_s",
    "create config demo_c",
    "create service demo_web",
    "create service demo_db",
]


def deployed(text: str = STACK) -> Cluster:
    cluster = Cluster()
    cluster.deploy(text, contents=FILES)
    return cluster


def test_a_first_deploy_makes_everything_in_one_commit() -> None:
    cluster = Cluster()
    before = cluster.snap.index
    assert cluster.deploy(STACK, contents=FILES) == CREATED
    assert cluster.snap.index == before + 1
    web = cluster.service("demo_web").spec.task_template
    secret, network = cluster.snap.by_name(Kind.SECRET, "demo_s"), cluster.snap.by_name(Kind.NETWORK, "demo_default")
    assert secret is not None
    assert network is not None
    assert [one.secret_id for one in web.container_spec.secrets] == [secret.id]
    assert network.id in {one.target for one in web.networks}
    assert cluster.values[Kind.SECRET, secret.id].reveal() == b"value"


def test_a_second_deploy_of_the_same_files_changes_nothing_at_all() -> None:
    cluster = deployed()
    before = cluster.snap
    assert cluster.deploy(STACK, contents=FILES) == [
        "unchanged secret demo_s",
        "unchanged config demo_c",
        "unchanged service demo_web",
        "unchanged service demo_db",
    ]
    assert cluster.snap is before


def test_only_the_service_that_is_different_changes_and_can_go_back() -> None:
    cluster = deployed()
    old = cluster.service("demo_web")
    proposal = cluster.propose(STACK.replace("nginx", "nginx:2"), contents=FILES)
    done = {one.name: one for one in proposal.done}
    assert done["demo_db"].action == "unchanged"
    assert [(one.field, one.old, one.new) for one in done["demo_web"].fields] == [
        ("Labels.com.docker.stack.image", "nginx", "nginx:2"),
        ("Image", "nginx:latest", "nginx:2"),
    ]
    cluster.write(*proposal.changes)
    assert cluster.service("demo_web").previous_spec == old.spec


def test_an_unchanged_service_whose_update_is_stuck_is_set_going_again() -> None:
    cluster = deployed()
    web = cluster.service("demo_web")
    cluster.write(Put(replace(web, update_status=UpdateStatus(state=UpdateState.PAUSED))))
    assert "update service demo_web" in cluster.deploy(STACK, contents=FILES)
    assert cluster.service("demo_web").update_status is None
    cluster.write(Put(replace(cluster.service("demo_web"), update_status=UpdateStatus(state=UpdateState.UPDATING))))
    assert "unchanged service demo_web" in cluster.deploy(STACK, contents=FILES), "one that goes on is left alone"


def test_a_job_runs_again_with_each_deploy() -> None:
    text = "services: {a: {image: b, deploy: {mode: replicated-job}}}"
    cluster = deployed(text)
    revision = cluster.revision()
    proposal = cluster.propose(text)
    assert [(one.field, one.old, one.new) for one in proposal.done[0].fields] == [("JobStatus.JobIteration", "0", "1")]
    assert cluster.deploy(text) == ["update service demo_a"]
    assert cluster.revision() == revision, "it is still what the file says"


def test_labels_of_a_secret_are_brought_up_to_date() -> None:
    cluster = deployed()
    proposal = cluster.propose(STACK.replace("{file: s}", "{file: s, labels: {a: b}}"), contents=FILES)
    (secret,) = [one for one in proposal.done if one.kind is Kind.SECRET]
    assert (secret.action, [(one.field, one.old, one.new) for one in secret.fields]) == (
        "update",
        [("Labels.a", None, "b")],
    )
    assert not [change for change in proposal.changes if isinstance(change, PutValue)]


RULE = "rpc error: code = InvalidArgument desc = "


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "services: {web: {image: nginx, secrets: [out]}}\nsecrets: {out: {external: true}}",
            "service web: secret not found: out",
        ),
        (
            STACK.replace("networks: {other: }", "networks: {other: {ipam: {config: [{subnet: 300.0.0.0/8}]}}}"),
            "failed to create network demo_other: invalid network config:\n"
            "invalid subnet 300.0.0.0/8: invalid CIDR block notation",
        ),
        (
            service("ports: ['80:80']\ndeploy: {endpoint_mode: dnsrr}"),
            f"failed to create service demo_web: {RULE}"
            "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
        ),
        (
            service("deploy: {restart_policy: {condition: sometimes}}"),
            'failed to create service demo_web: invalid RestartCondition: "sometimes"',
        ),
        (
            service("secrets: [{source: s, target: x}, {source: t, target: /run/secrets/x}]")
            + "secrets: {s: {file: s}, t: {file: s}}",
            f"failed to create service demo_web: {RULE}"
            "secret references 'demo_s' and 'demo_t' have a conflicting target: '/run/secrets/x'",
        ),
        (
            "services: {a: {image: b, ports: ['80:80']}, c: {image: d, ports: ['80:81']}}",
            f"failed to create service demo_c: {RULE}port '80' is already in use by service 'demo_a' "
            f"({'0007'.ljust(25, 'z')}) as an ingress port",
        ),
    ],
)
def test_a_deploy_that_fails_proposes_nothing(text: str, error: str) -> None:
    cluster = Cluster()
    before = cluster.snap
    with pytest.raises((NotDeployable, StepRefused)) as raised:
        cluster.deploy(text, contents=FILES)
    assert str(raised.value) == error
    assert cluster.snap is before
    assert raised.value.status == 400


def test_a_service_does_not_change_from_replicated_to_global() -> None:
    cluster = deployed("services: {a: {image: b}}")
    with pytest.raises(StepRefused) as raised:
        cluster.deploy("services: {a: {image: b, deploy: {mode: global}}}")
    assert raised.value.status == 501
    assert str(raised.value) == (
        "failed to update service demo_a: rpc error: code = Unimplemented desc = service mode change is not allowed"
    )


def test_one_port_on_each_node_may_belong_to_several_services() -> None:
    port = "[{target: 80, published: 80, mode: host}]"
    assert len(deployed(PORTS.format(port, port)).snap.services) == 2


def test_changed_bytes_are_refused_before_anything_else_is_done() -> None:
    cluster = deployed()
    with pytest.raises(NotDeployable) as raised:
        cluster.deploy(STACK.replace("nginx", "nginx:2"), contents={**FILES, "/stack/s": b"other"})
    assert str(raised.value) == (
        "failed to update secret demo_s: rpc error: code = InvalidArgument desc = only updates to Labels are allowed; "
        "its file has other bytes than the secret: with --rotate-changed they become a new secret"
    )


def test_prune_removes_the_services_that_the_files_lost_and_asks_their_tasks_to_go() -> None:
    cluster = deployed()
    cluster.run_task("demo_db")
    alone = "services: {web: {image: nginx, secrets: [s], networks: [default, other]}}\nnetworks: {other: }\n"
    text = alone + "secrets: {s: {file: s}}"
    assert [line for line in cluster.deploy(text, contents=FILES) if line.startswith("remove")] == []
    # The config goes with the service that used it.
    assert cluster.deploy(text, contents=FILES, prune=True) == [
        "unchanged secret demo_s",
        "remove service demo_db",
        "unchanged service demo_web",
        "remove config demo_c",
    ]
    (task,) = cluster.snap.tasks.values()
    assert task.desired_state is State.REMOVE


def test_another_stacks_objects_are_none_of_ours() -> None:
    cluster = deployed()
    cluster.deploy("services: {a: {image: b}}", name="other")
    assert cluster.deploy("services: {a: {image: b}}", name="other", prune=True) == ["unchanged service other_a"]
    assert len(cluster.secrets()) == 1


PORTS = "services: {{a: {{image: b, ports: {0}}}, c: {{image: d, ports: {1}}}}}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((["80:80"], []), ([], ["80:80"])),
        (([], ["80:80"]), (["80:80"], [])),
        ((["80:80"], ["81:81"]), (["81:81"], ["80:80"])),
    ],
)
def test_a_port_moves_from_one_service_to_another_in_one_deploy(before: Any, after: Any) -> None:
    cluster = deployed(PORTS.format(*before))
    assert set(cluster.deploy(PORTS.format(*after))) == {"update service demo_a", "update service demo_c"}


def test_a_port_that_somebody_else_has_is_refused_and_named() -> None:
    cluster = deployed(PORTS.format(["80:80"], []))
    with pytest.raises(StepRefused, match=r"port '80' is already in use by service 'demo_a' .* as an ingress port"):
        cluster.deploy("services: {x: {image: b, ports: ['80:80']}}", name="other")


def test_of_very_many_tasks_only_some_are_asked_to_go_in_the_same_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.store.rules_service.STOPPED_WITH_IT", 2)
    cluster = deployed()
    for slot in range(1, 6):
        cluster.run_task("demo_db", slot)
    cluster.remove()
    assert sum(task.desired_state is State.REMOVE for task in cluster.snap.tasks.values()) == 2
    assert not cluster.snap.by_name(Kind.NETWORK, "demo_default"), "and no network waits for the others"


def test_removing_a_stack_takes_everything_and_its_record() -> None:
    cluster = deployed()
    assert cluster.remove() == [
        "remove service demo_db",
        "remove service demo_web",
        "remove secret demo_s",
        "remove config demo_c",
        "remove network demo_default",
        "remove network demo_other",
    ]
    assert not cluster.snap.stacks
    assert not cluster.values


def test_a_stack_whose_secret_another_service_uses_is_not_removed_by_halves() -> None:
    cluster = deployed()
    outside = "services: {a: {image: b, secrets: [s]}}\nsecrets: {s: {external: true, name: demo_s}}"
    cluster.deploy(outside, name="other")
    before = cluster.snap
    with pytest.raises(StepRefused) as raised:
        cluster.remove()
    assert str(raised.value) == (
        "failed to remove secret demo_s: rpc error: code = InvalidArgument desc = "
        "secret 'demo_s' is in use by the following service: other_a"
    )
    assert cluster.snap is before


def test_the_record_of_a_deploy_takes_the_place_of_the_one_before_and_of_stacks_that_are_gone() -> None:
    cluster = deployed()
    first = cluster.record()
    assert [f"{part.action} {part.kind} {part.name}" for part in first.parts] == CREATED
    cluster.deploy(STACK.replace("nginx", "nginx:2"), contents=FILES)
    second = cluster.record()
    assert [one.id for one in cluster.snap.stacks.values()] == [second.id] != [first.id]
    assert first.id in cluster.snap.removals
    for name in ("demo_web", "demo_db"):
        cluster.drop(Kind.SERVICE, name)
    cluster.drop(Kind.SECRET, "demo_s")
    cluster.drop(Kind.CONFIG, "demo_c")
    for name in ("demo_default", "demo_other"):
        cluster.drop(Kind.NETWORK, name)
    cluster.deploy("services: {a: {image: b}}", name="other")
    assert [one.spec.name for one in cluster.snap.stacks.values()] == ["other"]


def test_only_networks_that_services_use_are_made_and_what_is_made_stays_as_it_is() -> None:
    text = "services: {{a: {{image: b, networks: [n]}}}}\nnetworks: {{n: {{{}}}, unused: {{}}}}"
    cluster = Cluster()
    assert cluster.deploy(text.format("attachable: true")) == ["create network demo_n", "create service demo_a"]
    made = cluster.snap.by_name(Kind.NETWORK, "demo_n")
    assert cluster.deploy(text.format("internal: true, labels: {a: b}")) == ["unchanged service demo_a"]
    assert cluster.snap.by_name(Kind.NETWORK, "demo_n") is made
