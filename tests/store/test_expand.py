"""Templates in a task's environment, hostname and mounts."""

import pytest
from msgspec.structs import replace

from vault.model.container import ContainerSpec, Mount, VolumeOptions
from vault.model.generic import discrete, named
from vault.model.secret import Driver
from vault.model.service import TaskSpec
from vault.model.task import Task
from vault.store.expand import expanded, expanded_hostname
from vault.store.template import TemplateFailed

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


def test_only_the_value_of_a_variable_is_filled_in() -> None:
    spec = expanded(task(env=("{{A}}={{.Task.Slot}}={{.Node.ID}}", "{{B}}")), NODE).spec.container_spec
    assert spec.env == ("{{A}}=3=n1", "{{B}}")


NOPE = 'template: expansion:1:2: executing "expansion" at <.Nope>: can\'t evaluate field Nope in type *template.Context'
SECRET = 'template: expansion:1: function "secret" not defined'


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"env": ('PW={{secret "pw"}}',)}, f'expanding env failed: expanding env "PW": {SECRET}'),
        ({"hostname": "{{.Nope}}"}, f"expanding hostname failed: {NOPE}"),
        (
            {"mounts": (Mount(type="volume", source="{{.Nope}}", target="/x"),)},
            f'expanding mounts failed: expanding mount source "{{{{.Nope}}}}": {NOPE}',
        ),
        (
            {"mounts": (Mount(type="tmpfs", target="/{{.Nope}}"),)},
            f'expanding mounts failed: expanding mount target "/{{{{.Nope}}}}": {NOPE.replace("1:2:", "1:3:")}',
        ),
        (
            {"mounts": (Mount(type="volume", target="/x", volume_options=VolumeOptions(labels={"l": "{{.Nope}}"})),)},
            f'expanding mounts failed: expanding volume labels: expanding map entry "l": {NOPE}',
        ),
        (
            {
                "mounts": (
                    Mount(
                        type="volume",
                        target="/x",
                        volume_options=VolumeOptions(driver_config=Driver(options={"o": "password=p{{.Nope}}"})),
                    ),
                )
            },
            f'expanding mounts failed: expanding volume driver config: expanding map entry "o": '
            f"{NOPE.replace('1:2:', '1:12:')}",
        ),
    ],
)
def test_an_error_says_what_could_not_be_filled_in(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(TemplateFailed) as error:
        expanded(task(**fields), NODE)
    assert error.value.message == reason
    assert "password" not in reason


def test_the_first_slot_of_a_job_is_0_and_a_global_service_s_slot_its_node() -> None:
    numbered = replace(task(hostname="{{.Task.Slot}}"), slot=0, numbered=True, node_id="n1")
    assert expanded_hostname(numbered, NODE) == "0"
    assert expanded_hostname(replace(numbered, numbered=False), NODE) == "n1"
