"""Whatever happens to a job: never too many tasks at a time, each slot completed once, and none of it lost.

Agents, nodes, operators and leaders do what the example says; after each of it all invariants are checked, and once the
trouble is over the job completes.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.orchestrator.world import World, availability, job, state
from vault.model.service import RestartPolicy, ServiceSpec
from vault.model.task import State, Task
from vault.orchestrator.work import STOP_LIMIT_S

TOTAL, AT_A_TIME = 6, 2
POLICY = RestartPolicy(condition="any", delay=10**9)
ORDER = [State.ASSIGNED, State.ACCEPTED, State.PREPARING, State.READY, State.STARTING, State.RUNNING]
EVENTS = (
    "step",
    "step",
    "step",
    "fail",
    "complete",
    "complete",
    "down",
    "up",
    "drain",
    "pause",
    "wait",
    "leader",
    "anew",
    "refuse",
)


class Story:
    """A job, its tasks as their nodes know them, and what has been completed of each run."""

    def __init__(self, total: int | None) -> None:
        self.world = World(nodes=3)
        self.total = total
        self.forces = 0
        self.at_a_time = AT_A_TIME
        self.written_off: set[str] = set()  # Tasks whose node was given up: they may go on unseen.
        self.done: dict[int, set[int | str]] = {}  # Run -> slots, or nodes, that were seen completed.
        self.world.create(self.spec())
        self.check()

    def spec(self) -> ServiceSpec:
        return job(self.total, at_a_time=self.at_a_time, restart=POLICY, force=self.forces)

    @property
    def run(self) -> int:
        """The job's present run."""
        iteration = self.world.snap.services["web"].job_iteration
        assert iteration is not None
        return iteration.index

    def reachable(self, task: Task) -> bool:
        """Whether the task is on a node that can be heard."""
        return bool(task.node_id) and self.world.snap.nodes[task.node_id].status.state == "ready"

    def live(self) -> list[Task]:
        """The tasks of which something may be on a node that can be heard."""
        return [
            task
            for task in self.world.tasks()
            if State.ASSIGNED <= task.state <= State.RUNNING and self.reachable(task)
        ]

    def happen(self, event: str, choice: int) -> None:
        """Let one thing happen, if it can."""
        world, live, node_id = self.world, self.live(), f"n{choice % 3 + 1}"
        one = live[choice % len(live)] if live else None
        match event:
            case "step" if one is not None:
                self.step(one)
            case "fail" if one is not None and one.state is State.RUNNING and one.wanted:
                world.observe(one, State.FAILED)
            case "complete" if one is not None and one.state is State.RUNNING:
                world.observe(one, State.COMPLETE)  # Also when it was asked to stop: it may have been quicker.
            case "down":
                self.written_off |= {task.id for task in live if task.node_id == node_id}
                world.set_node(node_id, state("down"))
            case "up":
                world.set_node(node_id, state("ready"))
                world.set_node(node_id, availability("active"))
            case "drain" | "pause":
                world.set_node(node_id, availability(event))
            case "wait":
                world.wait(0.5 + choice % 3)
            case "leader":
                world.forget()
            case "refuse":
                world.refusals = 1 + choice % 3
            case "anew":
                self.forces += 1
                self.at_a_time = 1 + choice % 3
                world.update(self.spec())
        self.check()

    def step(self, task: Task) -> None:
        """Let an agent take a task one step on, or end it when that is asked for."""
        if not task.wanted:
            self.world.observe(task, State.SHUTDOWN)
        elif task.state is not State.RUNNING and (task.state is not State.READY or task.released):
            self.world.observe(task, ORDER[ORDER.index(task.state) + 1])

    def is_unseen(self, task: Task) -> bool:
        """Whether nobody waits for the task any more, though it may run: its node was lost, or it does not stop."""
        asked = task.stop_asked_at
        too_long = asked is not None and self.world.now_s - asked.timestamp() >= STOP_LIMIT_S
        return task.id in self.written_off or too_long

    def check(self) -> None:
        """Check what must always hold."""
        tasks, iteration = self.world.tasks(), self.world.snap.services["web"].job_iteration
        alive = [task for task in self.live() if task.state >= State.STARTING and not self.is_unseen(task)]
        if self.total is not None and any(task.job_iteration == iteration for task in alive):
            assert len(alive) <= self.at_a_time, self.world.shown()
        wanted = [task for task in tasks if task.wanted]
        assert len({task.slot_key for task in wanted}) == len(wanted), "two tasks of one slot are wanted"
        assert all(task.job_iteration is not None and task.job_iteration.index == self.run for task in wanted)
        now_done = {task.slot_key for task in tasks if task.done and task.job_iteration == iteration}
        before = self.done.setdefault(self.run, set())
        assert before <= now_done, f"forgotten: {before - now_done}"
        before |= now_done
        assert not any(task.live and task.slot_key in now_done for task in tasks), "a slot runs that has completed"
        if self.total is not None:
            assert {task.slot for task in wanted} <= set(range(self.total))

    def heal(self) -> None:
        """End all trouble, and let what is left of the job happen."""
        self.world.refusals = 0
        for node_id in ("n1", "n2", "n3"):
            self.world.set_node(node_id, state("ready"))
            self.world.set_node(node_id, availability("active"))
        for _ in range(400):
            live = self.live()
            for task in live:
                if task.state is State.RUNNING and task.wanted:
                    self.world.observe(task, State.COMPLETE)
                else:
                    self.step(task)
                self.check()
            if not live and not any(task.live for task in self.world.tasks()):
                break
            self.world.wait(1)
        wanted = {"n1", "n2", "n3"} if self.total is None else set(range(self.total))
        assert self.done[self.run] == wanted, self.world.shown()
        assert not self.world.decide().changes


STORIES = st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 30)), max_size=60)


@given(STORIES)
@settings(max_examples=150, deadline=None)
def test_a_job_of_slots_completes_each_of_them_and_never_runs_more_than_allowed(events: list[tuple[str, int]]) -> None:
    story = Story(TOTAL)
    for event, choice in events:
        story.happen(event, choice)
    story.heal()


@given(STORIES)
@settings(max_examples=100, deadline=None)
def test_a_job_of_nodes_completes_on_each_of_them(events: list[tuple[str, int]]) -> None:
    story = Story(None)
    for event, choice in events:
        story.happen(event, choice)
    story.heal()


@given(st.integers(0, 12), st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_without_trouble_a_job_makes_exactly_one_task_a_slot(total: int, more: int) -> None:
    story = Story(total)
    story.heal()
    assert len(story.world.tasks()) == total
    for run in range(1, more + 1):
        story.happen("anew", 0)
        assert story.run == run
        story.heal()
        ours = [task for task in story.world.tasks() if task.job_iteration and task.job_iteration.index == run]
        assert [task.state for task in ours] == [State.COMPLETE] * total
