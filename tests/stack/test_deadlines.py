"""`x-update-deadline` and `x-rollback-deadline` reach the service, and go with their key."""

import pytest

from tests.stack.builders import service, stack
from tests.stack.cluster import Cluster
from vault.model.service import UpdateConfig
from vault.stack.convert import convert
from vault.stack.errors import StackError
from vault.stack.posted import body_of, load_posted

SECOND = 10**9


def deployed(cluster: Cluster, keys: str) -> tuple[UpdateConfig | None, UpdateConfig | None]:
    """Deploy a service with these keys; return how its tasks are exchanged."""
    cluster.deploy(service(keys))
    spec = cluster.service("demo_web").spec
    return spec.update_config, spec.rollback_config


def test_deadlines_are_of_the_service_and_go_with_their_key() -> None:
    cluster = Cluster()
    changes = "deploy: {update_config: {parallelism: 2}}"
    update, rollback = deployed(cluster, f"{changes}\nx-update-deadline: 1m30s\nx-rollback-deadline: 20s")
    assert update == UpdateConfig(parallelism=2, deadline=90 * SECOND)
    assert rollback == UpdateConfig(parallelism=1, deadline=20 * SECOND), "the rest of it is as Docker has it"
    assert deployed(cluster, f"{changes}\nx-update-deadline: 90s")[1] is None
    assert deployed(cluster, changes) == (UpdateConfig(parallelism=2), None)
    assert deployed(cluster, "stop_signal: SIGINT") == (None, None)


def test_a_deadline_is_the_same_however_it_is_written() -> None:
    cluster = Cluster()
    cluster.deploy(service("x-update-deadline: 90s"))
    assert "unchanged service demo_web" in cluster.deploy(service("x-update-deadline: 1m30s"))
    assert "update service demo_web" in cluster.deploy(service("deploy: {update_config: {parallelism: 1}}"))


def test_deadlines_are_posted_with_their_service() -> None:
    one = stack(service("x-update-deadline: 2m\nx-note: no"))
    body = body_of(one.document)
    assert body["services"]["web"]["x-update-deadline"] == "2m"
    (spec,) = convert(load_posted(body, {}), "demo").services
    assert spec.update_config is not None
    assert (spec.update_config.parallelism, spec.update_config.deadline) == (1, 120 * SECOND)


@pytest.mark.parametrize("value", ["soon", "5", "{a: b}", "true", "null", "''", "1e9s"])
def test_what_is_no_duration_is_refused_by_name(value: str) -> None:
    with pytest.raises(StackError) as raised:
        convert(stack(service(f"x-update-deadline: {value}")), "demo")
    assert str(raised.value) == "service web: x-update-deadline must be a duration such as 90s or 2m30s"
