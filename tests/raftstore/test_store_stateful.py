"""The store against a model of it, over an engine that crashes, fills up and moves on: nothing is lost or made up."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.raftstore.model_engine import ModelEngine
from tests.raftstore.world import new_secret, store_again, store_on
from vault.model.errors import AlreadyExists, DiskFull, NotFound, OutcomeUnknown, VaultError
from vault.model.ids import Kind
from vault.model.secret import SecretSpec
from vault.raftstore.engine import EngineStopped, HeadMoved
from vault.raftstore.store import NoValue, Store
from vault.store import rules
from vault.store.changes import Change
from vault.store.snapshot import Snapshot

T = TypeVar("T")
NAMES = [f"name{n}" for n in range(5)]
VALUES = st.binary(min_size=1, max_size=40)
Build = Callable[[Snapshot], list[Change]]
ASKED = st.tuples(st.sampled_from(["create", "label", "remove"]), st.sampled_from(NAMES), VALUES)


def create(name: str, value: bytes) -> Build:
    def build(snap: Snapshot) -> list[Change]:
        rules.check_name_free(snap, Kind.SECRET, name)
        return list(new_secret(name, value))

    return build


def label(name: str, value: bytes) -> Build:
    def build(snap: Snapshot) -> list[Change]:
        old = snap.by_name(Kind.SECRET, name)
        if old is None:
            raise NotFound("secret", name)
        spec = SecretSpec(name=name, labels={"v": value.hex()})
        return list(rules.updated_secret(snap, old.id, spec, version=old.version.index, same_value=True))

    return build


def remove(name: str, value: bytes) -> Build:
    def build(snap: Snapshot) -> list[Change]:
        old = snap.by_name(Kind.SECRET, name)
        if old is None:
            raise NotFound("secret", name)
        return list(rules.removed(snap, Kind.SECRET, old.id))

    return build


BUILDS = {"create": create, "label": label, "remove": remove}
Model = dict[str, tuple[bytes, str]]  # Name -> value, label.


def apply(model: Model, action: str, name: str, value: bytes) -> type[VaultError] | None:
    """Do to the model what the caller asks; return the error it must get."""
    match action, name in model:
        case "create", True:
            return AlreadyExists
        case "create", False:
            model[name] = (value, "")
        case _, False:
            return NotFound
        case "label", True:
            model[name] = (model[name][0], value.hex())
        case "remove", True:
            del model[name]
    return None


class StoreMachine(RuleBasedStateMachine):
    """Callers come in groups at once; between groups things go wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model: Model = {}
        self.indexes: list[int] = []

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    @initialize()
    def begin(self) -> None:
        self.engine = ModelEngine()
        self.store: Store = self.run(store_on(self.engine))

    async def ask(self, group: list[tuple[str, str, bytes]]) -> list[int | BaseException]:
        calls = [self.store.submit(BUILDS[action](name, value)) for action, name, value in group]
        return await asyncio.gather(*calls, return_exceptions=True)

    @rule(group=st.lists(ASKED, min_size=1, max_size=8))
    def callers_at_once(self, group: list[tuple[str, str, bytes]]) -> None:
        outcomes = self.run(self.ask(group))
        for (action, name, value), outcome in zip(group, outcomes, strict=True):
            wanted = apply(self.model, action, name, value)
            assert isinstance(outcome, wanted or int), (action, name, outcome)
        landed = [outcome for outcome in outcomes if isinstance(outcome, int)]
        assert landed == sorted(landed), "callers are served in order"
        assert all(index > max(self.indexes, default=0) for index in landed)
        self.indexes += landed

    @rule(group=st.lists(ASKED, min_size=1, max_size=6))
    def callers_while_the_disk_is_full(self, group: list[tuple[str, str, bytes]]) -> None:
        """Nothing lands; and nobody is refused by what was to land before, but did not."""
        self.engine.fails = [DiskFull()]
        trial, wanted = dict(self.model), list[type[VaultError]]()
        for asked in group:
            error = apply(trial, *asked)
            wanted.append(error if error is not None and DiskFull not in wanted else DiskFull)
        outcomes = self.run(self.ask(group))
        assert [type(outcome) for outcome in outcomes] == wanted
        self.engine.fails = []

    @rule(happened=st.booleans(), asked=ASKED)
    def the_answer_to_a_commit_is_lost(self, happened: bool, asked: tuple[str, str, bytes]) -> None:
        trial = dict(self.model)
        if apply(trial, *asked) is not None:
            return
        self.engine.fails, self.engine.fails_after_commit = [OutcomeUnknown()], happened
        (outcome,) = self.run(self.ask([asked]))
        assert isinstance(outcome, OutcomeUnknown)
        (outcome,) = self.run(self.ask([asked]))
        assert isinstance(outcome, EngineStopped), "nothing is tried again"
        self.model = trial if happened else self.model
        self.engine = ModelEngine(self.engine.disk)
        self.store = self.run(store_again(self.engine))

    @rule()
    def restart(self) -> None:
        self.run(self.store.close())
        self.engine = ModelEngine(self.engine.disk)
        epoch = self.store.epoch
        self.store = self.run(store_again(self.engine))
        assert self.store.epoch > epoch

    @rule(asked=ASKED)
    def another_leader_takes_over(self, asked: tuple[str, str, bytes]) -> None:
        old, self.engine = self.store, ModelEngine(self.engine.disk)
        self.store = self.run(store_again(self.engine))
        if apply(dict(self.model), *asked) is not None:
            return

        async def late() -> None:
            try:
                await old.submit(BUILDS[asked[0]](asked[1], asked[2]))
            except HeadMoved:
                return
            raise AssertionError("a deposed leader committed")

        self.run(late())

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def the_store_is_the_model(self) -> None:
        async def read() -> Model:
            found: Model = {}
            for secret in self.store.committed.secrets.values():
                value = await self.store.value(Kind.SECRET, secret.id)
                found[secret.spec.name] = (value.reveal(), secret.spec.labels.get("v", ""))
            return found

        assert self.run(read()) == self.model
        assert len(self.engine.disk.records) == 1 + 2 * len(self.model), "no value outlives its secret"

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
        self.runner.close()


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)


def test_a_value_that_was_removed_is_not_found() -> None:
    async def run() -> None:
        store = await store_on(ModelEngine())
        with pytest.raises(NoValue):
            await store.value(Kind.SECRET, "a")
        await store.close()

    asyncio.run(run())
