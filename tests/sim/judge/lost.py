"""Nodes that are down: their tasks are given up after a day, counted from when they went down, and not before."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tests.sim.story import slot_of
from vault.model.base import from_s
from vault.model.ids import Kind
from vault.model.node import Node
from vault.model.task import State
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.world import World


class Lost:
    """Since when each node that is down is so, as it was seen to happen: no record of the node is believed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[str, datetime] = {}

    def committed(self, changes: Written) -> None:
        """Follow a commit."""
        for (kind, node_id), _, new in changes:
            if kind is Kind.NODE:
                if isinstance(new, Node) and new.status.state == "down":
                    self._since.setdefault(node_id, new.updated_at)
                else:
                    self._since.pop(node_id, None)

    def is_given_up(self, node_id: str, at: datetime) -> bool:
        """Whether a node has been down for a day."""
        since = self._since.get(node_id)
        return since is not None and since + timedelta(seconds=self._world.day_s) <= at

    def at_rest(self, snap: Snapshot) -> None:
        """The leader has nothing to do: nobody waits any more for a node that has been down for a day."""
        now = from_s(self._world.clock.now_s)
        for node_id in self._since:
            if not self.is_given_up(node_id, now):
                continue
            for task in snap.tasks_on(node_id):
                if State.ASSIGNED <= task.state <= State.RUNNING:
                    words = f"{slot_of(task)} is not given up, and its node has been down for a day"
                    raise self._world.story.fail(words, task.id, node_id)
