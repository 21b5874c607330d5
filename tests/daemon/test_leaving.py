"""A manager that leaves by force gives up its role first, where others can go on, and never waits for ever."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest

from tests.dispatcher.swarm import FakeStore, ident, node, swarm
from tests.virtual import loop, run
from vault.api.ports import Unreached
from vault.daemon.leaving import LIMIT_S, check_leaving, give_up_role
from vault.daemon.part import Part
from vault.model.errors import NoLeader, Unavailable, VaultError
from vault.model.node import Node, NodeSpec
from vault.rpc.messages_forward import ForwardedAnswer, ForwardedRequest
from vault.store.changes import Put

THREE = (node("a", "manager", leads=True), node("b", "manager"), node("c", "manager"))


class Store(FakeStore):
    """A store of several managers."""

    engine_name = "etcd"


class Manager:
    """This node, `a`, as a part and as a manager; it is let go once its role in the store is a worker's."""

    def __init__(self, *nodes: Node) -> None:
        self.fake = Store(swarm(*nodes))
        self.ready = True
        self.asked: list[ForwardedRequest] = []
        self.answers: Callable[[], int] | None = None  # None: this manager leads.  Else the leader's status.
        self.lets_go = True
        self.managing = self
        self.holding = self
        self.node_id = ident("a")

    def store(self) -> Store:
        return self.fake

    def manager(self) -> "Manager":
        return self

    @property
    def is_manager(self) -> bool:
        return not self.lets_go or self.role != "worker"

    @property
    def role(self) -> str:
        node = self.fake.committed.nodes.get(self.node_id)
        return node.spec.role if node is not None else "unknown"

    def standing(self) -> "Manager | None":
        return None if self.answers is None else self

    async def ask(self, request: ForwardedRequest) -> ForwardedAnswer:
        assert self.answers is not None
        self.asked.append(request)
        status = self.answers()
        if status == 200:
            spec = msgspec.json.decode(request.body, type=NodeSpec)
            await self.fake.submit(lambda snap: (Put(msgspec.structs.replace(snap.nodes[self.node_id], spec=spec)),))
        return ForwardedAnswer(status=status)

    @property
    def part(self) -> Part:
        return cast(Part, self)


def gave_up(manager: Manager) -> float:
    """Give the role up; return how long that took, in seconds."""
    took: list[float] = []

    async def leaves() -> None:
        began = loop().time()
        await give_up_role(manager.part)
        took.append(loop().time() - began)

    run(leaves())
    return took[0]


def test_a_leader_makes_itself_a_worker_before_it_goes() -> None:
    manager = Manager(*THREE)
    assert gave_up(manager) < 1
    assert (manager.role, manager.asked) == ("worker", [])


def test_a_follower_asks_the_leader_for_that_with_the_version_it_knows() -> None:
    manager = Manager(*THREE)
    manager.answers = lambda: 200
    before = manager.fake.committed.nodes[ident("a")].version.index
    gave_up(manager)
    assert manager.role == "worker"
    (asked,) = manager.asked
    assert (asked.method, asked.path) == ("POST", f"/nodes/{ident('a')}/update")
    assert (asked.query, asked.node_id) == (f"version={before}".encode(), ident("a"))


@pytest.mark.parametrize("alone", ["the last one", "no etcd", "not ready", "unknown"])
def test_a_manager_without_others_goes_at_once_and_keeps_its_role(alone: str) -> None:
    manager = Manager(*THREE)
    if alone == "the last one":
        manager = Manager(THREE[0], node("w"))
    elif alone == "no etcd":
        manager.fake.engine_name = "sqlite"
    elif alone == "not ready":
        manager.ready = False
    else:
        manager = Manager(*THREE[1:])
    before = manager.fake.committed
    assert gave_up(manager) == 0
    assert manager.fake.committed is before


def test_a_leader_that_is_just_changing_is_asked_again() -> None:
    manager = Manager(*THREE)
    troubles: list[VaultError] = [NoLeader(), Unreached()]

    def answer() -> int:
        if troubles:
            raise troubles.pop()
        return 200

    manager.answers = answer
    gave_up(manager)
    assert (manager.role, len(manager.asked)) == ("worker", 3)


def test_who_may_not_go_for_the_others_sake_goes_all_the_same_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    manager = Manager(*THREE)
    manager.answers = lambda: 400
    with caplog.at_level(logging.WARNING):
        assert gave_up(manager) < 1
    assert (manager.role, len(manager.asked)) == ("manager", 1)
    assert [record.message for record in caplog.records] == ["left_as_manager"]


def test_others_that_do_not_let_it_go_hold_it_up_for_a_limited_time(caplog: pytest.LogCaptureFixture) -> None:
    manager = Manager(*THREE)
    manager.lets_go = False
    with caplog.at_level(logging.WARNING):
        assert gave_up(manager) == pytest.approx(LIMIT_S, abs=0.5)
    assert [record.message for record in caplog.records] == ["left_as_manager"]


def test_without_force_the_last_manager_and_one_that_knows_nothing_are_told_to_stay() -> None:
    async def check(manager: Any) -> None:
        check_leaving(manager.part)

    with pytest.raises(VaultError, match="Removing the last manager erases all current state"):
        asyncio.run(check(Manager(THREE[0])))
    with pytest.raises(VaultError, match="participating as a manager"):
        asyncio.run(check(Manager(*THREE)))
    starting = Manager(*THREE)
    starting.ready = False
    with pytest.raises(Unavailable, match="cannot tell how many others there are"):
        asyncio.run(check(starting))
