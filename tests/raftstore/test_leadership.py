"""Who leads, when that changes, and what callers are told; in virtual time."""

import asyncio

import pytest

from tests.raftstore.managers import Managers
from tests.raftstore.virtual import play
from tests.raftstore.world import new_secret
from vault.model.errors import NoLeader, NotLeading, OutcomeUnknown
from vault.model.ids import Kind


def now() -> float:
    return asyncio.get_running_loop().time()


def test_the_manager_beside_the_engines_leader_leads_and_the_others_follow_what_it_writes() -> None:
    async def run() -> None:
        managers = await Managers("a", "b", "c").found()
        leader = await managers.leader()
        assert leader is managers.store("a")
        index = await leader.submit(lambda snap: new_secret("password", b"x"))
        await asyncio.sleep(1)
        for name in "abc":
            store = managers.store(name)
            assert store.leader == "a"
            assert store.leads is (name == "a")
            assert store.committed.index == index
            (secret,) = store.committed.secrets.values()
            assert (await store.value(Kind.SECRET, secret.id)).reveal() == b"x"
        with pytest.raises(NotLeading) as caught:
            await managers.store("b").submit(lambda snap: new_secret("other", b"x"))
        assert caught.value.leader == "a"
        with pytest.raises(NotLeading):
            await managers.store("b").barrier()

    play(run())


def test_a_killed_leader_is_replaced_within_three_seconds() -> None:
    async def run() -> None:
        managers = await Managers("a", "b", "c").found()
        await asyncio.sleep(3)
        killed_at = now()
        managers.kill("a")
        leader = await managers.leader()
        await leader.submit(lambda snap: new_secret("password", b"x"))
        assert now() - killed_at < 3
        managers.ensemble.check()

    play(run())


def test_a_killed_vaultd_whose_engine_still_leads_is_replaced_after_its_silence() -> None:
    async def run() -> None:
        managers = await Managers("a", "b", "c").found()
        await asyncio.sleep(3)
        killed_at = now()
        managers.stop("a")
        await managers.leader(but="a")
        assert 2 < now() - killed_at < 3.5
        assert managers.store("b").leader != "a"

    play(run())


def test_nobody_takes_the_place_of_a_healthy_leader_and_the_engines_lead_comes_to_it() -> None:
    async def run() -> None:
        managers = await Managers("a", "b", "c").found()
        managers.ensemble.elect("b")
        await asyncio.sleep(60)
        assert [name for name, _ in managers.led] == ["a"]
        assert managers.ensemble.handed == ["a"]
        assert managers.ensemble.leads == "a"

    play(run())


def test_a_stopped_leader_that_goes_on_writes_and_reads_nothing() -> None:
    async def run() -> None:
        managers = await Managers("a", "b", "c").found()
        old = managers.store("a")
        managers.stop("a")
        leader = await managers.leader(but="a")
        await leader.submit(lambda snap: new_secret("password", b"x"))
        assert old.leads, "it does not know yet"
        managers.go_on("a")
        outcomes = await asyncio.gather(
            old.barrier(), old.submit(lambda snap: new_secret("late", b"x")), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [NotLeading, NotLeading]
        await asyncio.sleep(1)
        assert managers.all["a"].leading is None
        assert not old.leads
        assert old.leader == "b" or old.leader == "c"
        assert old.committed.index == leader.committed.index
        assert {secret.spec.name for secret in old.committed.secrets.values()} == {"password"}
        managers.ensemble.check()

    play(run())


def test_a_leader_that_is_cut_off_leaves_and_says_that_there_is_no_leader() -> None:
    async def run() -> None:
        managers = await Managers("a", "b", "c").found()
        old = managers.store("a")
        managers.ensemble.cut_off("a")
        with pytest.raises(NoLeader):
            await old.barrier()
        write = asyncio.ensure_future(old.submit(lambda snap: new_secret("late", b"x")))
        await asyncio.sleep(6)
        assert not old.leads
        assert old.leader == ""
        with pytest.raises((OutcomeUnknown, NotLeading)):
            await write
        leader = await managers.leader(but="a")
        managers.ensemble.heal("a")
        await asyncio.sleep(10)
        assert old.leader == leader.leader
        assert old.committed.index == leader.committed.index
        assert [epoch for _, epoch in managers.led] == sorted({epoch for _, epoch in managers.led})
        managers.ensemble.check()

    play(run())


def test_who_gives_way_is_replaced_at_once_and_does_not_come_back_at_once() -> None:
    async def run() -> None:
        managers = await Managers("a", "b", "c").found()
        at = now()
        await managers.store("a").cede()
        assert not managers.store("a").leads
        await managers.leader(but="a")
        assert now() - at < 1
        await asyncio.sleep(30)
        assert [name for name, _ in managers.led].count("a") == 1

    play(run())


def test_a_leader_whose_watch_is_lost_leads_on_and_a_follower_reads_everything_again() -> None:
    async def run() -> None:
        managers = await Managers("a", "b", "c").found()
        leader = managers.store("a")
        before = managers.store("b").committed
        for name in "ab":
            managers.all[name].engine.forget = True
        for n in range(5):
            await leader.submit(lambda snap, n=n: new_secret(f"s{n}", b"x"))
        await asyncio.sleep(2)
        assert [name for name, _ in managers.led] == ["a"]
        after = managers.store("b").committed
        assert len(after.secrets) == 5
        assert after.changed_since(before) is None, "whoever looks on has to look at everything"
        await leader.submit(lambda snap: new_secret("last", b"x"))
        await asyncio.sleep(1)
        assert managers.store("b").committed.index == leader.committed.index

    play(run())


def test_readers_at_one_time_share_a_round_and_one_that_arrives_later_has_its_own() -> None:
    async def run() -> None:
        managers = await Managers("a", "b", "c").found()
        leader = managers.store("a")
        engine, asked = managers.all["a"].engine, 0
        ask = engine.head

        async def counted() -> bytes | None:
            nonlocal asked
            asked += 1
            return await ask()

        engine.head = counted  # type: ignore[method-assign]
        await asyncio.gather(*(leader.barrier() for _ in range(50)))
        assert asked == 1
        first = asyncio.ensure_future(leader.barrier())
        await asyncio.sleep(0.0001)
        await leader.barrier()
        assert first.done()
        assert asked == 3

    play(run())


def test_what_ends_while_it_leads_ends_the_run() -> None:
    async def run() -> None:
        managers = await Managers("a", "b", "c").found()
        store = managers.store("a")
        managers.all["a"].running.cancel()
        await asyncio.sleep(0)

        async def broken() -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store.run(broken)

    play(run())
