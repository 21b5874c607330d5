"""A service's spec of which a few fields are wrong: taken or refused in a sentence, and no riddle to a node."""

from pathlib import PurePosixPath
from typing import Any

import msgspec
from hypothesis import given, settings

from tests.api.client import Daemon
from tests.api.mutated import SPEC, mutated
from tests.executor.conftest import FakeConfig
from vault.agent.executors.oci.etc import hosts_text, resolv_text
from vault.agent.executors.oci.guards import Guards, guarded
from vault.agent.executors.oci.limits import HostLimits, resources_of, rlimits_of
from vault.agent.executors.oci.mounts import plan_mounts
from vault.agent.executors.oci.process import ALL_CAPABILITIES, capabilities_of, command_of, environment_of
from vault.agent.executors.port import NetworkView
from vault.model.endpoint_options import endpoint_options
from vault.model.errors import VaultError
from vault.model.log_options import UnknownDriver, log_settings
from vault.model.task import Task
from vault.store.expand import SAMPLE_NODE, expanded

DAEMON = Daemon().with_swarm()
DAEMON.post("/networks/create", {"Name": "back"})
LIMITS = HostLimits(hard={"core": -1, "nofile": 1024}, may_raise=True)


def test_the_whole_spec_is_fine() -> None:
    answer = DAEMON.post("/services/create", SPEC)
    assert answer.status == 201, answer.text
    assert DAEMON.delete("/services/full").status == 200


@settings(max_examples=400, deadline=None)
@given(mutated())
def test_any_few_wrong_fields_are_taken_or_refused_in_a_sentence(spec: dict[str, Any]) -> None:
    answer = DAEMON.post("/services/create", spec)
    if answer.status == 201:
        service = DAEMON.manager.store().committed.services[answer.json()["ID"]]
        assert DAEMON.delete(f"/services/{service.id}").status == 200
        plan(Task(id="t", spec=service.spec.task_template, service_name=service.spec.name, node_id="n"))
        return
    assert answer.status in (400, 404, 501), answer.text
    assert "internal error" not in answer.message
    assert answer.message.strip()


def plan(task: Task) -> None:
    """Do with a task what its node does before it touches anything; what it cannot do is an error of ours."""
    try:
        spec = expanded(task, SAMPLE_NODE).spec
    except VaultError:  # A template that fits the sample and not this task.
        return
    container = spec.container_spec
    for mount in plan_mounts(container.mounts, ()):
        assert ".." not in PurePosixPath(mount.target).parts
    try:
        capabilities_of(container.capability_add, container.capability_drop, available=ALL_CAPABILITIES)
        environment_of(container, FakeConfig(), hostname="h")
        command_of(container, FakeConfig())
        guarded(container.privileges, Guards(selinux=True))
        log_settings(*(("", {}) if spec.log_driver is None else (spec.log_driver.name, spec.log_driver.options)))
    except (VaultError, UnknownDriver):
        pass
    assert "\0" not in hosts_text(container, NetworkView(gateway="10.0.0.1"), hostname="h")
    assert "\0" not in resolv_text(container.dns_config, NetworkView(), "")
    rlimits_of(container.ulimits, LIMITS)
    assert msgspec.json.encode(resources_of(spec.resources))
    for network in spec.networks:
        endpoint_options(network.driver_opts)
