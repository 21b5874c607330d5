"""Generic resources: how they are written, who gets which, and what a node that has others now means for tasks."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.scheduler.world import NOW_S, node, on, pending, reserve, schedule, settle, snapshot, tasks_in
from vault.model.generic import GenericResource, discrete, environment, from_amounts, named
from vault.model.generic_words import read
from vault.model.node import NodeResources
from vault.model.task import State, Task, TaskStatus
from vault.orchestrator.enforcer import enforce
from vault.scheduler.schedule import Scheduler
from vault.store.changes import Put

GPUS = (named("gpu", "one"), named("gpu", "two"), named("gpu", "three"))


def given_to(*objects: object) -> dict[str, tuple[GenericResource, ...]]:
    """Return what each task that is placed gets."""
    decision = Scheduler()(snapshot(*objects), None, now_s=NOW_S, new_id=str)  # type: ignore[arg-type]
    return {task.id: task.generic_resources for task in tasks_in(decision) if task.state is State.ASSIGNED}


@pytest.mark.parametrize(
    ("words", "amounts"),
    [
        (["gpu=2"], {"gpu": 2}),
        (["gpu=0"], {"gpu": 0}),
        (["gpu=uuid1", "gpu=uuid2", "ssd=3"], {"gpu": ("uuid1", "uuid2"), "ssd": 3}),
        ([" gpu = uuid1 "], {"gpu": ("uuid1",)}),
        ([], {}),
    ],
)
def test_a_number_counts_and_names_tell_apart(words: list[str], amounts: dict[str, object]) -> None:
    assert read(words) == amounts


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["gpu"], "incorrect term gpu, missing '=' or malformed expression"),
        (["gpu="], "incorrect term gpu="),
        (["=1"], "incorrect term =1"),
        (["gpu=a=b"], "incorrect term gpu=a=b"),
        (["gpu=-1"], "cannot ask for negative resource gpu"),
        ([f"gpu={1 << 63}"], "more of gpu than 9223372036854775807"),
        (["gpu=1", "gpu=2"], "malformed expression 'gpu=[1 2]'"),
        (["gpu=1", "gpu=a"], "malformed expression 'gpu=[1 a]'"),
        (["gpu=a", "gpu=a"], "malformed expression 'gpu=[a a]'"),
    ],
)
def test_what_means_neither_is_refused(words: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match="could not parse GenericResource: ") as error:
        read(words)
    assert reason in str(error.value)


@given(st.lists(st.text(max_size=8), max_size=5))
def test_any_words_are_read_or_refused_in_one_sentence(words: list[str]) -> None:
    with suppress(ValueError):
        amounts = read(words)
        assert {resource.kind for resource in from_amounts(amounts)} == set(amounts)


def test_a_number_is_given_until_there_is_none_left() -> None:
    tasks = [pending(f"t{n}", resources=reserve(ssd=2)) for n in range(3)]
    nodes = [node("a", generic=[discrete("ssd", 3)]), node("b", generic=[discrete("ssd", 2)])]
    assert schedule(*nodes, *tasks) == {
        "t0": "a",
        "t1": "b",
        "t2": "no suitable node (insufficient resources on 2 nodes)",
    }
    assert given_to(*nodes, *tasks) == {"t0": (discrete("ssd", 2),), "t1": (discrete("ssd", 2),)}


def test_each_named_thing_is_given_to_one_task() -> None:
    tasks = [pending("t0", resources=reserve(gpu=2)), pending("t1", "other", resources=reserve(gpu=1))]
    waits = pending("t2", "third", resources=reserve(gpu=1))
    assert given_to(node("a", generic=GPUS), *tasks, waits) == {"t0": GPUS[:2], "t1": GPUS[2:]}


def test_things_come_back_when_a_task_ends_and_the_next_gets_them() -> None:
    first = replace(on(pending("t0", resources=reserve(gpu=3)), "a"), generic_resources=GPUS)
    snap = settle(snapshot(node("a", generic=GPUS), first, pending("t1", "other", resources=reserve(gpu=1))))
    assert snap.tasks["t1"].status.err == "no suitable node (insufficient resources on 1 node)"
    ended = replace(snap.tasks["t0"], status=TaskStatus(state=State.COMPLETE))
    snap = settle(snap.apply([Put(ended)], index=snap.index + 1, now_s=NOW_S))
    assert snap.tasks["t1"].generic_resources == GPUS[:1]


def test_several_kinds_are_given_together_or_not_at_all() -> None:
    wants = pending("t", resources=reserve(gpu=1, ssd=1))
    assert schedule(node("a", generic=GPUS), wants) == {"t": "no suitable node (insufficient resources on 1 node)"}
    assert given_to(node("a", generic=(*GPUS, discrete("ssd", 1))), wants) == {"t": (GPUS[0], discrete("ssd", 1))}


def test_a_task_that_asks_for_nothing_may_go_anywhere() -> None:
    assert schedule(node("a"), pending("t", resources=reserve(gpu=0))) == {"t": "a"}
    assert schedule(node("a"), pending("t", resources=reserve(gpu=1))) == {
        "t": "no suitable node (insufficient resources on 1 node)"
    }


@pytest.mark.parametrize("now", [(discrete("gpu", 3),), GPUS[:2], ()])
def test_what_tasks_hold_counts_though_the_node_has_other_things_now(now: tuple[GenericResource, ...]) -> None:
    """A node may be started again with a number where it had names, with fewer, or with none."""
    holds = replace(on(pending("t0", resources=reserve(gpu=2)), "a"), generic_resources=GPUS[:2])
    fits = schedule(node("a", generic=now), holds, pending("t1", "other", resources=reserve(gpu=1)))
    alone = schedule(node("a", generic=now), holds, pending("t1", "other", resources=reserve(gpu=2)))
    reason = "no suitable node (insufficient resources on 1 node)"
    assert fits == {"t1": "a" if now == (discrete("gpu", 3),) else reason}
    assert alone == {"t1": reason}


@pytest.mark.parametrize(
    ("now", "stays"),
    [(GPUS, True), (GPUS[1:], False), ((discrete("gpu", 3),), False), ((), False)],
)
def test_a_task_whose_things_are_gone_is_rejected(now: tuple[GenericResource, ...], stays: bool) -> None:
    holds = replace(on(pending("t0", resources=reserve(gpu=1)), "a"), generic_resources=GPUS[:1])
    decision = enforce(snapshot(node("a", generic=now), holds), None, now_s=NOW_S, new_id=str)
    assert [task.id for task in tasks_in(decision)] == ([] if stays else ["t0"])


def test_of_tasks_that_hold_more_than_there_is_now_the_later_are_rejected() -> None:
    def holds(task_id: str) -> Task:
        return replace(on(pending(task_id, resources=reserve(ssd=2)), "a"), generic_resources=(discrete("ssd", 2),))

    now = node("a", generic=[discrete("ssd", 3)])
    decision = enforce(snapshot(now, holds("t0"), holds("t1")), None, now_s=NOW_S, new_id=str)
    assert [task.id for task in tasks_in(decision)] == ["t1"]


def test_variables_name_the_kind_and_what_was_given() -> None:
    assert environment((*GPUS[:2], discrete("Ssd", 3))) == ("DOCKER_RESOURCE_GPU=one,two", "DOCKER_RESOURCE_SSD=3")
    assert environment(()) == ()


def test_a_node_that_changes_its_processors_keeps_its_things() -> None:
    before = node("a", generic=GPUS, cpus=1)
    scheduler = Scheduler()
    snap = settle(snapshot(before, pending("t", resources=reserve(cpus=2, gpu=1))), scheduler)
    assert snap.tasks["t"].status.err
    more = NodeResources(nano_cpus=2 * 10**9, memory_bytes=4096, generic_resources=GPUS)
    grown = replace(snap.nodes["a"], description=replace(before.description, resources=more))
    after = snap.apply([Put(grown)], index=snap.index + 1, now_s=NOW_S)
    (task,) = tasks_in(scheduler(after, after.changed_since(snap), now_s=NOW_S, new_id=str))
    assert (task.node_id, task.generic_resources) == ("a", GPUS[:1])
