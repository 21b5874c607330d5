"""Changed bytes of a file become a new secret that rolls its services; what nothing uses any more can be pruned."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.stack.builders import stack
from tests.stack.cluster import Cluster
from vault.model.ids import Kind
from vault.model.task import State
from vault.stack.convert import convert
from vault.stack.deploy import Wishes, deploy
from vault.stack.errors import NotDeployable
from vault.stack.generations import NotCompared
from vault.store.changes import Put

STACK = """
    services: {web: {image: nginx, secrets: [{source: s, target: password, uid: "5", mode: 0400}]}}
    secrets: {s: {file: s, labels: {a: b}}}
"""


def files(value: bytes) -> dict[str, bytes]:
    return {"/stack/s": value}


def rotated(cluster: Cluster, value: bytes, *, prune: bool = False) -> list[str]:
    """Deploy with other bytes; `Cluster` tags a value with its length."""
    return cluster.deploy(STACK, contents=files(value), rotate=True, prune=prune)


def deployed() -> Cluster:
    cluster = Cluster()
    cluster.deploy(STACK, contents=files(b"1"))
    return cluster


def test_changed_bytes_become_a_new_secret_in_the_same_place_of_the_task() -> None:
    cluster = deployed()
    before = cluster.service("demo_web").spec.task_template.container_spec.secrets[0].file
    assert rotated(cluster, b"22") == ["create secret demo_s-tag2", "update service demo_web"]
    container = cluster.service("demo_web").spec.task_template.container_spec
    assert (container.secrets[0].secret_name, container.secrets[0].file) == ("demo_s-tag2", before)
    made = cluster.snap.by_name(Kind.SECRET, "demo_s-tag2")
    assert made is not None
    assert made.spec.labels == {
        "a": "b",
        "com.docker.stack.namespace": "demo",
        "vault.stack.generation-of": "demo_s",
    }
    assert cluster.values[Kind.SECRET, made.id].reveal() == b"22"
    assert cluster.secrets() == ["demo_s", "demo_s-tag2"], "a rollback finds the one before"


def test_another_driver_becomes_a_new_secret_too() -> None:
    cluster, driven = Cluster(), "services: {}\nsecrets: {s: {driver: %s, driver_opts: {a: %s}}}"
    assert cluster.deploy(driven % ("safe", "b")) == ["create secret demo_s"]
    assert cluster.deploy(driven % ("safe", "b")) == ["unchanged secret demo_s"]
    with pytest.raises(NotDeployable, match=r"only updates to Labels are allowed; its driver is another .* --rotate"):
        cluster.deploy(driven % ("other", "b"))
    first = cluster.deploy(driven % ("other", "b"), rotate=True)
    second = cluster.deploy(driven % ("other", "longer"), rotate=True)
    assert [len(first), len(second)] == [1, 1]
    assert first != second


def test_bytes_that_did_not_change_rotate_nothing() -> None:
    cluster = deployed()
    assert rotated(cluster, b"1") == ["unchanged secret demo_s", "unchanged service demo_web"]


def test_after_a_rotation_the_same_bytes_need_no_flag_and_roll_nothing() -> None:
    cluster = deployed()
    rotated(cluster, b"22")
    said = cluster.deploy(STACK, contents=files(b"22"))
    assert said == ["unchanged secret demo_s-tag2", "unchanged service demo_web"]
    with pytest.raises(NotDeployable, match="only updates to Labels are allowed"):
        cluster.deploy(STACK, contents=files(b"333"))


def test_going_back_to_earlier_bytes_goes_back_to_their_secret() -> None:
    cluster = deployed()
    rotated(cluster, b"22")
    assert rotated(cluster, b"1") == ["unchanged secret demo_s", "update service demo_web"]
    assert cluster.references("demo_web") == {"password": "demo_s"}


def test_of_several_with_the_same_bytes_the_one_in_use_stays() -> None:
    cluster = deployed()
    for number in range(8):
        cluster.make_secret(f"demo_s-{number}", b"1", labels=generation("demo"))
    assert rotated(cluster, b"1") == ["unchanged secret demo_s", "unchanged service demo_web"]


def test_a_generation_of_another_stack_is_not_taken_for_ours() -> None:
    cluster = deployed()
    cluster.make_secret("elsewhere", b"22", labels=generation("other"))
    assert rotated(cluster, b"22")[0] == "create secret demo_s-tag2"


def generation(stack: str) -> dict[str, str]:
    return {"vault.stack.generation-of": "demo_s", "com.docker.stack.namespace": stack}


def test_prune_takes_a_secret_only_when_no_rollback_can_meet_it() -> None:
    cluster = deployed()
    rotated(cluster, b"22", prune=True)
    assert cluster.secrets() == ["demo_s", "demo_s-tag2"], "the previous spec refers to the first"
    assert rotated(cluster, b"333", prune=True) == [
        "create secret demo_s-tag3",
        "update service demo_web",
        "remove secret demo_s",
    ]
    assert cluster.secrets() == ["demo_s-tag2", "demo_s-tag3"]


def test_prune_leaves_what_a_task_still_has() -> None:
    cluster = deployed()
    cluster.run_task("demo_web")
    rotated(cluster, b"22")
    assert "remove secret demo_s" not in rotated(cluster, b"333", prune=True)
    (task,) = cluster.snap.tasks.values()
    cluster.write(Put(replace(task, desired_state=State.SHUTDOWN)))
    assert "remove secret demo_s" in rotated(cluster, b"333", prune=True)


def test_prune_takes_no_secret_that_the_files_name_or_that_is_not_the_stacks() -> None:
    cluster = Cluster()
    cluster.make_secret("demo_lookalike")
    text = "services: {web: {image: nginx}}\nsecrets: {s: {file: s}}"
    cluster.deploy(text, contents=files(b"1"), prune=True)
    assert cluster.deploy(text, contents=files(b"1"), prune=True) == [
        "unchanged secret demo_s",
        "unchanged service demo_web",
    ]
    assert cluster.secrets() == ["demo_lookalike", "demo_s"]


def test_a_config_whose_bytes_or_template_changed_becomes_a_new_one_too() -> None:
    text = "services: {web: {image: nginx, configs: [c]}}\nconfigs: {c: {file: s}}"
    cluster = Cluster()
    cluster.deploy(text, contents=files(b"1"))
    assert cluster.deploy(text, contents=files(b"22"), rotate=True)[0] == "create config demo_c-tag2"
    golang = text.replace("{file: s}", "{file: s, template_driver: golang}")
    with pytest.raises(NotDeployable, match="failed to update config demo_c:"):
        cluster.deploy(golang, contents=files(b"1"))
    assert cluster.deploy(golang, contents=files(b"1"), rotate=True)[0] == "create config demo_c-tag1"


def test_a_name_that_has_no_room_for_a_tag_is_refused_with_what_to_do() -> None:
    name = "n" * 62
    text = STACK.replace("{file: s,", f"{{file: s, name: {name},")
    cluster = Cluster()
    cluster.deploy(text, contents=files(b"1"))
    with pytest.raises(NotDeployable) as raised:
        cluster.deploy(text, contents=files(b"22"), rotate=True)
    assert str(raised.value).startswith(f"failed to create secret {name}-tag2: ")
    assert str(raised.value).endswith(f": give {name} a shorter name, with name:")


def test_what_was_not_compared_is_asked_for_and_not_guessed() -> None:
    cluster = deployed()
    with pytest.raises(NotCompared):
        deploy(
            convert(stack(STACK, contents=files(b"1")), "demo"),
            cluster.snap,
            Wishes(),
            same={},
            tag=lambda kind, name, value: "",
            record_id="r",
            caller="",
            new_id=cluster.new_id,
            now_s=0.0,
        )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=8))
def test_whatever_is_rotated_and_pruned_the_service_has_the_bytes_of_the_file_and_can_go_back(
    deploys: list[tuple[int, bool]],
) -> None:
    cluster = deployed()
    for size, prune in deploys:
        rotated(cluster, b"x" * size, prune=prune)
        service = cluster.service("demo_web")
        (reference,) = service.spec.task_template.container_spec.secrets
        assert cluster.values[Kind.SECRET, reference.secret_id].reveal() == b"x" * size
        if service.previous_spec is not None:
            (earlier,) = service.previous_spec.task_template.container_spec.secrets
            assert earlier.secret_id in cluster.snap.secrets
        assert len(cluster.secrets()) == len({value.reveal() for value in cluster.values.values()}), "none twice"
        assert not prune or len(cluster.secrets()) <= 2
