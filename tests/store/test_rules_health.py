"""Which health checks a service may ask for."""

import pytest

from vault.model.container import ContainerSpec, HealthConfig
from vault.model.errors import InvalidArgument
from vault.model.service import ServiceSpec, TaskSpec
from vault.store.rules_spec import check_spec

MS = 1_000_000


def check(**fields: object) -> None:
    container = ContainerSpec(image="busybox", healthcheck=HealthConfig(**fields))  # type: ignore[arg-type]
    check_spec(ServiceSpec(name="web", task_template=TaskSpec(container_spec=container)))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"interval": MS - 1}, "Interval in HealthConfig cannot be less than 1ms"),
        ({"interval": -1}, "Interval in HealthConfig cannot be less than 1ms"),
        ({"timeout": 1}, "Timeout in HealthConfig cannot be less than 1ms"),
        ({"start_period": 1}, "StartPeriod in HealthConfig cannot be less than 1ms"),
        ({"start_interval": 1}, "StartInterval in HealthConfig cannot be less than 1ms"),
        ({"retries": -1}, "Retries in HealthConfig cannot be negative"),
        ({"test": ("curl", "-f")}, 'Test in HealthConfig begins with NONE, CMD or CMD-SHELL, not "curl"'),
        ({"test": ("cmd", "x")}, 'Test in HealthConfig begins with NONE, CMD or CMD-SHELL, not "cmd"'),
        ({"test": ("CMD",)}, "Test in HealthConfig has no command after CMD"),
        ({"test": ("CMD-SHELL", "")}, "Test in HealthConfig has no command after CMD-SHELL"),
    ],
)
def test_a_check_that_could_not_be_made_is_refused(fields: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        check(**fields)
    assert raised.value.description == f"ContainerSpec: {text}"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"test": ("NONE",)},
        {"test": ("NONE", "whatever")},
        {"test": ("CMD", "x", "")},
        {"test": ("CMD-SHELL", "x"), "interval": MS, "timeout": MS, "start_period": MS, "start_interval": MS},
        {"interval": MS, "retries": 1000},  # The image has the command.
    ],
)
def test_every_other_check_is_taken(fields: dict[str, object]) -> None:
    check(**fields)
