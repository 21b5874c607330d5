"""Sessions with the dispatcher, by nodes driven by hand, in virtual time."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from tests.dispatcher.world import FakeStore, Lead, cluster, identity, node, secret, task
from tests.virtual import loop, run
from vault.dispatcher import assignments, service
from vault.dispatcher.assignments import Touched
from vault.dispatcher.writer import Writer
from vault.model.base import from_s
from vault.model.errors import DiskFull
from vault.model.ids import Kind
from vault.model.node import NodeDescription
from vault.model.task import State, TaskStatus
from vault.rpc.errors import NotLeader, RemoteRefusal
from vault.rpc.messages import (
    Acknowledged,
    Announcement,
    Assignments,
    Beat,
    Described,
    Hello,
    ManagersAre,
    Pace,
    Report,
)
from vault.rpc.pipe import local_call
from vault.store.snapshot import Key, Snapshot


def test_a_node_that_says_hello_is_ready_with_what_it_says_of_itself() -> None:
    async def story() -> None:
        async with Lead(FakeStore(node("n1", "down"))) as lead, lead.hand("n1", addr="10.0.0.7") as hand:
            assert hand.welcome.heartbeat_s == 5.0
            await hand.assignments()
            await asyncio.sleep(0.1)
            shown = lead.store.committed.nodes["n1"]
            assert (shown.status.state, shown.status.addr, shown.status.message) == ("ready", "10.0.0.7", "")
            assert shown.description.hostname == "n1"
            await hand.call.send(Described(description=NodeDescription(hostname="other")))
            await asyncio.sleep(0.1)
            shown = lead.store.committed.nodes["n1"]
            assert (shown.description.hostname, shown.status.addr) == ("other", "10.0.0.7")

    run(story())


def test_a_silent_node_goes_down_and_its_session_ends() -> None:
    async def story() -> None:
        async with Lead(FakeStore(cluster(1.0), node("n1"), node("n2"))) as lead:
            async with lead.hand("n1") as hand, lead.hand("n2") as other:
                for _ in range(4):
                    await other.beat(1.0)
                    await asyncio.sleep(1.0)
                with pytest.raises(RemoteRefusal) as refused:
                    await hand.get(Pace)
                assert refused.value.kind == "SessionSilent"
                shown = lead.store.committed.nodes["n1"].status
                assert (shown.state, shown.message) == ("down", "heartbeat failure")
                assert lead.state("n2") == "ready"
            async with lead.hand("n1"):
                await asyncio.sleep(0.1)
                assert lead.state("n1") == "ready"

    run(story())


def test_heartbeats_are_answered_and_keep_a_node_ready() -> None:
    async def story() -> None:
        async with Lead(FakeStore(cluster(1.0), node("n1"))) as lead, lead.hand("n1") as hand:
            for _ in range(60):
                await hand.beat(1.0)
                await hand.get(Beat)
                await asyncio.sleep(1.0)
            assert lead.state("n1") == "ready"

    run(story())


def test_a_node_that_is_back_within_its_time_was_never_down() -> None:
    async def story() -> None:
        async with Lead(FakeStore(node("n1"))) as lead:
            async with lead.hand("n1"):
                await asyncio.sleep(10)
            commits = lead.store.commits
            await asyncio.sleep(4)
            async with lead.hand("n1"):
                await asyncio.sleep(1)
            assert lead.store.commits == commits, "nothing changed, so nothing is written"

    run(story())


def test_a_new_leader_waits_for_every_node_and_then_gives_it_up() -> None:
    async def story() -> None:
        async with Lead(FakeStore(node("n1"), node("n2"), node("n3", "down"))) as lead, lead.hand("n2") as hand:
            for _ in range(7):
                await hand.beat()
                await asyncio.sleep(4)
            assert lead.state("n1") == "ready"
            for _ in range(2):
                await hand.beat()
                await asyncio.sleep(4)
            assert (lead.state("n1"), lead.state("n2"), lead.state("n3")) == ("down", "ready", "down")

    run(story())


def test_a_leader_that_was_stopped_for_a_while_declares_nobody_down() -> None:
    async def story() -> None:
        async with Lead(FakeStore(cluster(1.0), node("n1"))) as lead, lead.hand("n1") as hand:
            await hand.beat(1.0)
            await asyncio.sleep(2.5)
            loop().stall(100)
            await asyncio.sleep(1)
            await hand.beat(1.0)
            await asyncio.sleep(2)
            assert lead.state("n1") == "ready"
            await asyncio.sleep(5)
            assert lead.state("n1") == "down"

    run(story())


def test_a_shorter_period_reaches_sessions_that_run_and_gives_them_time_to_learn_of_it() -> None:
    async def story() -> None:
        async with Lead(FakeStore(node("n1"))) as lead, lead.hand("n1") as hand:
            await hand.beat(5.0)
            lead.store.put(cluster(1.0))
            pace = await hand.get(Pace)
            assert isinstance(pace, Pace)
            assert pace.heartbeat_s == 1.0
            await asyncio.sleep(5)
            await hand.beat(5.0)  # It was on its way.
            await asyncio.sleep(5)
            assert lead.state("n1") == "ready"
            await hand.beat(1.0)
            await asyncio.sleep(4.5)
            assert lead.state("n1") == "down"

    run(story())


def test_a_node_cannot_make_itself_immortal_by_a_long_period() -> None:
    async def story() -> None:
        async with Lead(FakeStore(cluster(1.0), node("n1"))) as lead, lead.hand("n1") as hand:
            await hand.beat(86_400.0)
            await asyncio.sleep(5)
            assert lead.state("n1") == "down"

    run(story())


def test_the_newest_session_of_a_node_ends_the_older() -> None:
    async def story() -> None:
        async with Lead(FakeStore(node("n1"))) as lead, lead.hand("n1") as first, lead.hand("n1") as second:
            with pytest.raises(RemoteRefusal) as refused:
                await first.get(Pace)
            assert refused.value.kind == "SessionReplaced"
            await second.assignments()
            lead.store.put(task("t1"))
            assert [t.id for t in (await second.assignments()).put_tasks] == ["t1"]
            assert lead.dispatcher.connected == {"n1"}

    run(story())


def test_a_removed_node_is_told_so_at_once_and_later() -> None:
    async def story() -> None:
        async with Lead(FakeStore(node("n1"))) as lead:
            async with lead.hand("n1") as hand:
                await hand.assignments()
                lead.store.delete(Kind.NODE, "n1")
                with pytest.raises(RemoteRefusal) as refused:
                    await hand.get(Pace)
                assert refused.value.kind == "NodeRemoved"
                assert loop().time() < 1000.1
            assert lead.asked == 0
            async with local_call(lead.dispatcher.serve, identity("n1")) as call:
                await call.send(Hello(protocol=1, description=NodeDescription()))
                with pytest.raises(RemoteRefusal) as refused:
                    await call.receive(Assignments)
                assert refused.value.kind == "NodeRemoved"
            assert lead.asked == 1, "only a leader that everybody agrees on sends a node away"

    run(story())


def test_a_manager_that_cannot_confirm_that_it_leads_sends_no_node_away() -> None:
    async def confirm() -> None:
        raise NotLeader("n9", "10.0.0.9:2377")

    async def story() -> None:
        lead = Lead(FakeStore(), confirm=confirm)
        async with lead, local_call(lead.dispatcher.serve, identity("n1")) as call:
            await call.send(Hello(protocol=1, description=NodeDescription()))
            with pytest.raises(NotLeader):
                await call.receive(Assignments)

    run(story())


def test_a_manager_that_loses_the_lead_ends_its_sessions_and_names_the_new_leader() -> None:
    async def story() -> None:
        async with Lead(FakeStore(node("n1")), leader=lambda: ("n9", "10.0.0.9:2377")) as lead:
            async with lead.hand("n1") as hand:
                await lead.lose()
                with pytest.raises(NotLeader) as refused:
                    await hand.get(Pace)
                assert refused.value.address == "10.0.0.9:2377"
            with pytest.raises(NotLeader):
                async with lead.hand("n1"):
                    pass

    run(story())


def test_a_leader_of_the_past_does_not_welcome_a_node_that_has_seen_a_newer_one() -> None:
    async def story() -> None:
        async with Lead(FakeStore(node("n1"), epoch=(7, 3))) as lead:
            for generation, counter in ((7, 4), (8, 0)):
                with pytest.raises(NotLeader):
                    async with lead.hand("n1", generation=generation, counter=counter):
                        pass
            async with lead.hand("n1", generation=7, counter=3) as hand:
                assert (hand.welcome.generation, hand.welcome.counter) == (7, 3)

    run(story())


def test_a_node_gets_its_own_tasks_and_secrets_and_then_what_changes() -> None:
    async def story() -> None:
        store = FakeStore(node("n1"), node("n2"), secret("s1"), secret("s2"))
        store.put(task("t1", secrets=("s1",)), task("t2", "n2", secrets=("s2",)))
        async with Lead(store) as lead, lead.hand("n1") as hand:
            full = await hand.assignments()
            assert (full.full, full.complete, [t.id for t in full.put_tasks]) == (True, True, ["t1"])
            assert hand.opened(full) == {"s1": b"value of s1"}
            store.put(task("t3", secrets=("s2",)))
            more = await hand.assignments()
            assert (more.full, more.applies_to, more.sequence) == (False, 1, 2)
            assert hand.opened(more) == {"s2": b"value of s2"}
            store.put(task("t3", state=State.FAILED, secrets=("s2",)))
            assert (await hand.assignments()).remove_values == ((Kind.SECRET, "s2"),)
            await asyncio.sleep(1)
            store.delete(Kind.SECRET, "s1")
            assert (await hand.assignments()).remove_values == ((Kind.SECRET, "s1"),)

    run(story())


def test_a_large_full_set_comes_in_parts_values_before_the_tasks_that_use_them() -> None:
    async def story() -> None:
        store = FakeStore(node("n1"))
        for number in range(12):
            store.values[f"s{number}"] = bytes(20_000)  # Small enough to be sealed without a thread.
        store.put(*(secret(f"s{number}") for number in range(12)))
        many = tuple(f"s{number}" for number in range(12))
        long = {"labels": {"note": "x" * 60_000}}
        store.put(*(task(f"t{number}", secrets=many, **long) for number in range(20)))
        async with Lead(store) as lead, lead.hand("n1") as hand:
            parts = [await hand.assignments()]
            while not parts[-1].complete:
                parts.append(await hand.assignments())
            assert [part.full for part in parts] == [True] + [False] * (len(parts) - 1)
            assert [part.applies_to for part in parts] == list(range(len(parts)))
            assert len(parts) > 2
            held: set[str] = set()
            for part in parts:
                assert len(msgspec.msgpack.encode(part)) < 600 * 1024
                held |= hand.opened(part).keys()
                assert all(set(many) <= held for _ in part.put_tasks)
            assert sorted(t.id for part in parts for t in part.put_tasks) == sorted(f"t{n}" for n in range(20))

    run(story())


def test_a_value_that_no_task_wants_any_more_is_not_sent_though_it_was_to_be() -> None:
    async def story() -> None:
        store = FakeStore(node("n1"), secret("s1"), secret("s2"))
        store.put(task("t1", secrets=("s1",)), task("t2", secrets=("s2",)))
        value = store.value

        async def late(kind: Kind, object_id: str) -> object:
            if store.committed.tasks["t1"].state is State.ASSIGNED:
                store.put(task("t1", state=State.FAILED, secrets=("s1",)))
            return await value(kind, object_id)

        store.value = late  # type: ignore[assignment, method-assign]
        async with Lead(store) as lead, lead.hand("n1") as hand:
            assert hand.opened(await hand.assignments()).keys() == {"s2"}

    run(story())


def test_a_certificate_gets_the_data_of_its_own_node_whatever_is_said() -> None:
    async def story() -> None:
        store = FakeStore(node("n1"), node("n2"), secret("s1"), secret("s2"))
        store.put(task("t1", secrets=("s1",)), task("t2", "n2", secrets=("s2",)))
        lead, said = Lead(store), {"description": NodeDescription(hostname="n1"), "addr": "10.0.0.1"}
        async with lead, lead.hand("n2", **said) as thief:
            full = await thief.assignments()
            assert [t.id for t in full.put_tasks] == ["t2"]
            await thief.call.send(
                Report(number=1, statuses=(("t1", TaskStatus(state=State.FAILED)), ("t2", TaskStatus())))
            )
            await thief.get(Acknowledged)
            assert store.committed.tasks["t1"].state is State.ASSIGNED

    run(story())


def test_reports_of_many_nodes_share_commits_and_are_acknowledged_once_written() -> None:
    async def story() -> None:
        names = [f"n{number}" for number in range(50)]
        store = FakeStore(*(node(name) for name in names))
        store.put(*(task(f"t{name}", name) for name in names))
        async with Lead(store) as lead, asyncio.TaskGroup() as group:

            async def report(name: str) -> None:
                async with lead.hand(name) as hand:
                    await hand.call.send(Report(number=7, statuses=((f"t{name}", TaskStatus(state=State.RUNNING)),)))
                    got = await hand.get(Acknowledged)
                    assert got == Acknowledged(number=7)
                    assert store.committed.tasks[f"t{name}"].state is State.RUNNING

            for name in names:
                group.create_task(report(name))
        assert store.commits <= 4

    run(story())


def test_reports_wait_for_a_store_that_takes_none() -> None:
    async def story() -> None:
        store = FakeStore(node("n1"))
        store.put(task("t1"))
        async with Lead(store) as lead, lead.hand("n1") as hand:
            store.refuse = DiskFull()
            await hand.call.send(Report(number=1, statuses=(("t1", TaskStatus(state=State.RUNNING)),)))
            await hand.beat()
            await hand.get(Beat)  # Heartbeats do not wait with them.
            await asyncio.sleep(3)
            assert store.committed.tasks["t1"].state is State.ASSIGNED
            store.refuse = None
            await hand.get(Acknowledged)
            assert store.committed.tasks["t1"].state is State.RUNNING

    run(story())


def test_a_long_report_is_acknowledged_once_all_of_it_is_written() -> None:
    async def story() -> None:
        names = [f"t{number}" for number in range(1000)]
        store = FakeStore(node("n1"))
        store.put(*(task(name) for name in names))
        store.slow_s = 1.0
        async with Lead(store) as lead, lead.hand("n1") as hand:
            status = TaskStatus(state=State.RUNNING)
            await hand.call.send(Report(number=1, statuses=tuple((name, status) for name in names)))
            await hand.get(Acknowledged)
            assert {one.state for one in store.committed.tasks.values()} == {State.RUNNING}

    run(story())


def test_what_waits_to_be_written_is_bounded_and_no_older_state_replaces_a_newer() -> None:
    async def story() -> None:
        store = FakeStore(node("n1"), node("n2"))
        store.put(task("t1"), task("t2", "n2"))
        writer, told = Writer(store), []
        for state in (State.READY, State.FAILED, State.RUNNING):
            statuses = [(f"t{number}", TaskStatus(state=state)) for number in range(100)]
            writer.observed("n1", statuses, lambda: told.append(1))
        assert writer._waiting.statuses.keys() == {("n1", "t1")}
        running = asyncio.create_task(writer.run())
        await asyncio.sleep(1)
        running.cancel()
        assert (store.committed.tasks["t1"].state, len(told)) == (State.FAILED, 3)

    run(story())


def test_times_of_a_node_whose_clock_is_wrong_are_put_right() -> None:
    async def story() -> None:
        store = FakeStore(node("n1"))
        store.put(task("t1"))
        async with Lead(store) as lead, lead.hand("n1") as hand:
            now = from_s(loop().time())
            ahead = now + timedelta(hours=1)
            status = TaskStatus(state=State.RUNNING, timestamp=ahead - timedelta(seconds=5), err="x" * 5000)
            await hand.call.send(Report(number=1, sent_at=ahead, statuses=(("t1", status),)))
            await hand.get(Acknowledged)
            written = store.committed.tasks["t1"].status
            assert abs(written.timestamp - (now - timedelta(seconds=5))) < timedelta(seconds=1)
            assert len(written.err) == 1024

    run(story())


def test_managers_and_messages_of_others_reach_every_session() -> None:
    async def story() -> None:
        store = FakeStore(node("n1"), node("m1", manager="10.0.0.1:2377"))
        greeting = Beat()
        async with Lead(store, greet=lambda _: [greeting]) as lead, lead.hand("n1") as hand:
            assert [m.addr for m in hand.welcome.managers] == ["10.0.0.1:2377"]
            said = await hand.get(Announcement)
            assert isinstance(said, Announcement)
            assert said.read(Beat) == greeting
            store.put(node("m2", manager="10.0.0.2:2377"))
            got = await hand.get(ManagersAre)
            assert isinstance(got, ManagersAre)
            assert [m.addr for m in got.managers] == ["10.0.0.1:2377", "10.0.0.2:2377"]
            lead.dispatcher.announce(Pace(heartbeat_s=3.0))
            said = await hand.get(Announcement)
            assert isinstance(said, Announcement)
            assert (said.read(Pace), said.read(Beat)) == (Pace(heartbeat_s=3.0), None)

    run(story())


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Hello(protocol=99, description=NodeDescription()), "speaks version 99"),
        (Hello(protocol=1, description=NodeDescription(hostname="x" * 70_000)), "longer than 64 KiB"),
        (Beat(), "no Hello"),
    ],
)
def test_a_bad_greeting_is_refused_in_one_sentence(message: msgspec.Struct, words: str) -> None:
    async def story() -> None:
        async with Lead(FakeStore(node("n1"))) as lead:
            async with local_call(lead.dispatcher.serve, identity("n1")) as call:
                await call.send(message)
                with pytest.raises(RemoteRefusal, match=words):
                    await call.receive(Assignments)
            assert lead.dispatcher.connected == frozenset()

    run(story())


def test_much_that_changes_at_once_is_looked_at_in_pieces_and_none_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def noting(before: Snapshot, after: Snapshot, keys: list[Key]) -> Touched:
        looked.append(len(keys))
        return assignments.touched(before, after, keys)

    monkeypatch.setattr(service, "LOOKED_AT", 2)
    monkeypatch.setattr(service, "touched", noting)

    async def story() -> None:
        store = FakeStore(*(node(f"n{number}") for number in range(5)))
        async with Lead(store) as lead:
            hands = [lead.hand(f"n{number}") for number in range(5)]
            opened = [await hand.__aenter__() for hand in hands]
            for hand in opened:
                await hand.assignments()
            await asyncio.sleep(1)
            looked.clear()
            store.put(*(task(f"t{number}", f"n{number}") for number in range(5)))
            for number, hand in enumerate(opened):
                assert [told.id for told in (await hand.assignments()).put_tasks] == [f"t{number}"]
            assert looked == [2, 2, 1]
            for hand in reversed(hands):
                await hand.__aexit__(None, None, None)

    run(story())


def test_a_change_wakes_only_the_sessions_that_it_concerns() -> None:
    async def story() -> None:
        store = FakeStore(*(node(f"n{number}") for number in range(10)), secret("s1"))
        async with Lead(store) as lead:
            hands = [lead.hand(f"n{number}") for number in range(10)]
            opened = [await hand.__aenter__() for hand in hands]
            for hand in opened:
                await hand.assignments()
            await asyncio.sleep(1)
            woken: list[tuple[str, set[str]]] = []
            for node_id, session in lead.dispatcher._sessions.items():
                session.touch = lambda tasks, node_id=node_id: woken.append(  # type: ignore[method-assign, misc]
                    (node_id, tasks)
                )
            store.put(task("t1", "n3", secrets=("s1",)))
            await asyncio.sleep(1)
            assert woken == [("n3", {"t1"})]
            for hand in reversed(hands):
                await hand.__aexit__(None, None, None)

    run(story())
