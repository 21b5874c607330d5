"""A manager remembers events of the swarm, whether it leads or not."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from tests.api.fakes import MemoryStore
from vault.daemon.managing import Managing
from vault.model.cluster import Cluster
from vault.model.secret import Secret, SecretSpec
from vault.store.changes import Put


class Following(MemoryStore):
    """A store whose manager never leads."""

    async def run(self, lead: object) -> None:
        await asyncio.Event().wait()


async def nothing(*_: object) -> None:
    """Change nothing of an identity."""


def secret(name: str) -> Put:
    return Put(Secret(id=name, spec=SecretSpec(name=name)))


def test_a_manager_that_does_not_lead_remembers_what_others_change() -> None:
    async def story() -> list[tuple[str, str]]:
        managing = Managing(cast(Any, SimpleNamespace(change=nothing)), cast(Any, None), cast(Any, None))
        store = Following()
        store.write((Put(Cluster(id="c")), secret("before")))
        managing._store = cast(Any, store)
        running = asyncio.ensure_future(managing.run())
        for name in ("a", "b"):
            await turns()
            store.write((secret(name),))
        await turns()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return [(event.action, event.actor.id) for event in managing.recent_events.events]

    assert asyncio.run(story()) == [("create", "a"), ("create", "b")]


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
