"""Builders of histories for the checker's tests: by hand, and from a store that behaves."""

import random
from itertools import count

from tests.cluster.checker.history import Kind, Operation, Outcome
from tests.cluster.checker.model import State

KEY = "k"


def op(
    kind: str, called: float, returned: float, outcome: str = "done", *, key: str = KEY, by: str = "", version: int = 0,
    label: str = "", id: str = "", index: int = 0, seen: str = "", client: int = 0,
) -> Operation:  # fmt: skip
    """Return an operation; times in seconds."""
    return Operation(
        client=client, node="manager1", kind=Kind(kind), key=key, called_ns=int(called * 1e9),
        returned_ns=int(returned * 1e9), outcome=Outcome(outcome), by=by, version=version, label=label, id=id,
        index=index, seen=seen,
    )  # fmt: skip


class Honest:
    """A store of one name that does one request at a time, for clients whose requests overlap."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._index = count(10)
        self._label = count(1)
        self._id = count(1)
        self.there = State()
        self._known: list[tuple[float, str, int]] = []  # When a client learnt an id and a version; 0 is no version.

    def history(self, operations: int, clients: int, *, unknown: float = 0.0) -> list[Operation]:
        """Return what clients would see: each request takes effect at one moment of its interval.

        unknown: the share of writes whose answer is lost; half of those never happen, or happen late.
        """
        chance = self._chance
        free = [0.0] * clients
        planned: list[tuple[float, float, float, int]] = []
        for _ in range(operations):
            client = chance.randrange(clients)
            called = free[client] + chance.random() * 0.1
            effect = called + chance.random()
            free[client] = effect + chance.random()
            planned.append((effect, called, free[client], client))
        made, late = [], []
        for effect, called, returned, client in sorted(planned):
            kind = chance.choice(list(Kind))
            if kind is not Kind.READ and chance.random() < unknown:
                asked = self._asked(kind, called, returned, client)
                if asked.kind is Kind.READ:
                    continue
                made.append(asked)
                if chance.random() < 0.5:
                    late.append((effect + chance.random() * 5, made[-1]))
                continue
            for item in sorted(late, key=lambda one: one[0]):
                if item[0] < effect:
                    self._apply(item[1])
                    late.remove(item)
            made.append(self._answered(self._asked(kind, called, returned, client)))
        return made

    def _asked(self, kind: Kind, called: float, returned: float, client: int) -> Operation:
        self._known.sort()
        ids = [known[1] for known in self._known if known[0] < called]
        versions = [known[1:] for known in self._known if known[0] < called and known[2]]
        if kind is Kind.UPDATE and not versions:
            kind = Kind.READ
        by_id = kind is not Kind.CREATE and ids and self._chance.random() < 0.5
        by, version = ids[-1] if by_id else "", 0
        if kind is Kind.UPDATE:
            by, version = versions[-1]
        return op(
            kind, called, returned, "unknown", client=client, by=by, version=version,
            label=f"l{next(self._label)}" if kind in (Kind.CREATE, Kind.UPDATE) else "",
        )  # fmt: skip

    def _answered(self, asked: Operation) -> Operation:
        outcome = self._apply(asked)
        changes: dict[str, object] = {"outcome": outcome}
        if outcome is Outcome.DONE and asked.kind is Kind.CREATE:
            changes |= {"id": self.there.id}
        if outcome is Outcome.DONE and asked.kind is Kind.READ:
            changes |= {"id": self.there.id, "index": self.there.version, "seen": self.there.label}
        if outcome is Outcome.DONE and asked.kind in (Kind.CREATE, Kind.READ):
            index = self.there.version if asked.kind is Kind.READ else 0
            self._known.append((asked.returned_ns / 1e9, self.there.id, index))
        return changed(asked, **changes)

    def _apply(self, asked: Operation) -> Outcome:
        there = self.there
        if asked.kind is Kind.CREATE:
            if there.there:
                return Outcome.EXISTS
            self.there = State(there=True, id=f"id{next(self._id)}", version=next(self._index), label=asked.label)
            return Outcome.DONE
        if not there.there or asked.by not in ("", there.id):
            return Outcome.ABSENT
        if asked.kind is Kind.REMOVE:
            self.there = State()
        elif asked.kind is Kind.UPDATE:
            if asked.version != there.version:
                return Outcome.STALE
            self.there = there._replace(version=next(self._index), label=asked.label)
        return Outcome.DONE


def changed(one: Operation, **changes: object) -> Operation:
    """Return an operation with other fields."""
    return Operation(**({name: getattr(one, name) for name in one.__struct_fields__} | changes))
