"""Events tell each step of an update and of the rollback that follows."""

from tests.orchestrator.world import SECOND, World, spec
from vault.api.events import events_between
from vault.model.service import UpdateConfig
from vault.model.task import State
from vault.store.decision import Decision


class Told(World):
    """A world whose commits by the deciders are told as events."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        super().__init__()

    def decide(self, *, refused: bool = False) -> Decision:
        before = self.snap
        decision = super().decide(refused=refused)
        for event in events_between(before, self.snap, self.now_s):
            if "updatestate.new" in event.actor.attributes:
                told = event.actor.attributes
                self.states.append((told["updatestate.old"], told["updatestate.new"]))
        return decision


def test_an_update_that_is_rolled_back_is_told_step_by_step() -> None:
    config = UpdateConfig(parallelism=1, monitor=SECOND, failure_action="rollback")
    world = Told()
    world.run(spec(2, update=config, rollback=config))
    world.update(spec(2, image="v2", update=config, rollback=config))
    world.follow(State.FAILED)
    world.follow()
    world.wait(2)
    assert world.states == [
        ("", "updating"),
        ("updating", "rollback_started"),
        ("rollback_started", "rollback_completed"),
    ]
