"""Templates in a task's environment, hostname and mounts."""

import pytest
from msgspec.structs import replace

from vault.agent.expand import expanded
from vault.agent.template import TemplateFailed
from vault.model.container import ContainerSpec, Mount, VolumeOptions
from vault.model.generic import discrete, named
from vault.model.secret import Driver
from vault.model.service import TaskSpec
from vault.model.task import Task

NODE = {"id": "n1", "hostname": "alpha", "os": "linux", "architecture": "x86_64"}


def task(**fields: object) -> Task:
    return Task(id="t1", spec=TaskSpec(container_spec=ContainerSpec(**fields)), service_name="web", slot=3)  # type: ignore[arg-type]


def test_environment_hostname_and_mounts_are_filled_in_for_the_node() -> None:
    options = VolumeOptions(labels={"l": "{{.Task.Slot}}"}, driver_config=Driver(options={"o": "{{.Service.Name}}"}))
    mount = Mount(type="volume", source="data-{{.Task.Slot}}", target="/{{.Service.Name}}", volume_options=options)
    spec = expanded(
        task(env=("NODE={{.Node.Hostname}}", "PLAIN=1"), hostname="{{.Service.Name}}-{{.Task.Slot}}", mounts=(mount,)),
        NODE,
    ).spec.container_spec
    assert spec.env == ("NODE=alpha", "PLAIN=1")
    assert spec.hostname == "web-3"
    assert (spec.mounts[0].source, spec.mounts[0].target) == ("data-3", "/web")
    assert spec.mounts[0].volume_options == VolumeOptions(labels={"l": "3"}, driver_config=Driver(options={"o": "web"}))


def test_a_task_without_templates_is_the_same_object() -> None:
    plain = task(env=("A=1",))
    assert expanded(plain, NODE) is plain


def test_a_task_learns_in_its_environment_what_generic_resources_it_has() -> None:
    given = (named("gpu", "uuid1"), discrete("Ssd", 3), named("gpu", "uuid2"))
    spec = expanded(replace(task(env=("A=1", "DOCKER_RESOURCE_SSD=9")), generic_resources=given), NODE)
    # As in Docker these come last, and of two variables with one name the last counts.
    assert spec.spec.container_spec.env == (
        "A=1",
        "DOCKER_RESOURCE_SSD=9",
        "DOCKER_RESOURCE_GPU=uuid1,uuid2",
        "DOCKER_RESOURCE_SSD=3",
    )


def test_an_environment_cannot_read_a_secret() -> None:
    with pytest.raises(TemplateFailed):
        expanded(task(env=('PW={{secret "pw"}}',)), NODE)
