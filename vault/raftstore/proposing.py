"""Many changes at once, each for itself: put together where they may be, taken apart where one is stale.

Not pure: awaits the writer.  Called by `vault.raftstore.store`.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import Final

from vault.model.errors import DiskFull
from vault.model.ids import Kind
from vault.raftstore.proposals import Busy
from vault.raftstore.writer import Writer
from vault.store.changes import Atomic, Change, Put, PutValue, kind_of
from vault.store.snapshot import Stale

CHUNK_CHANGES: Final = 128  # A decider's proposal is taken in pieces of this size, so that the loop goes on: 15 ms.


Group = Sequence[Change | Atomic]
"""Changes that are applied together or not at all."""

Taken = list[tuple[Group, "asyncio.Future[int]"]]
"""Groups that wait to be durable, and what will settle them."""


async def propose(leading: Callable[[], Writer], changes: Iterable[Change | Atomic]) -> tuple[Change | Atomic, ...]:
    """Commit those of `changes` that are still true; return the others, and those that a full disk does not take.

    leading: returns the writer, or raises why there is none; asked again for each piece.
    """
    rest = iter(changes)
    refused: list[Change | Atomic] = []
    taken: Taken = []
    while chunk := list(islice(rest, CHUNK_CHANGES)):
        writer = leading()
        if not _fits(writer, chunk, taken):
            refused.extend(_rest(writer, _groups(chunk), taken))
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*(future for _, future in taken), return_exceptions=True)
    for (group, _), outcome in zip(taken, outcomes, strict=True):
        if isinstance(outcome, DiskFull):
            refused.extend(group)
        elif isinstance(outcome, BaseException):
            raise outcome
    return tuple(refused)


def _rest(writer: Writer, groups: Sequence[Group], taken: Taken) -> list[Change | Atomic]:
    """Propose groups that are not true all together, each half for itself; return those that are stale.

    One after the other, each would cost as much as many together.
    """
    if len(groups) == 1:
        return list(groups[0])
    half = len(groups) // 2
    refused: list[Change | Atomic] = []
    for some in (groups[:half], groups[half:]):
        if not _fits(writer, tuple(chain.from_iterable(some)), taken):
            refused += _rest(writer, some, taken)
    return refused


def _fits(writer: Writer, group: Group, taken: Taken) -> bool:
    """Propose changes together, unless one is stale; note in `taken` what will settle them."""
    try:
        batch = writer.proposals.add(group)
    except (Stale, Busy):
        return False
    taken.append((group, writer.enlist(batch)))
    return True


def _groups(changes: Iterable[Change | Atomic]) -> list[Group]:
    """Return the changes one by one, but each value together with the object it belongs to."""
    groups: list[list[Change | Atomic]] = []
    objects: dict[tuple[Kind, str], list[Change | Atomic]] = {}
    values: list[PutValue] = []
    for change in changes:
        if isinstance(change, PutValue):
            values.append(change)
            continue
        groups.append([change])
        if isinstance(change, Put):
            objects[kind_of(change.obj), change.obj.id] = groups[-1]
    for value in values:
        if (owner := objects.get((value.kind, value.id))) is not None:
            owner.append(value)
        else:
            groups.append([value])
    return list(groups)
