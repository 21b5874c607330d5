"""Which slots of a job have room for a task, kept from look to look: a look at one slot costs nothing of the others.

Pure but for that book, which a look at the whole job makes anew.  Called by `jobs` for jobs of slots.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, count

from vault.orchestrator.replicated import MAX_NEW
from vault.orchestrator.work import SlotKey, Work


@dataclass(slots=True)
class JobBook:
    """The slots of a job's present run that are not as empty as when it began."""

    filled: set[SlotKey] = field(default_factory=set)  # They have completed, have a task, or are given up.
    busy: set[SlotKey] = field(default_factory=set)  # Something in them is to run, or may still be running.
    lowest: int = 0  # Every slot below is filled.

    def note(self, work: Work, done: set[SlotKey]) -> None:
        """Take note of the slots that are looked at; `done` are those of them that have completed."""
        for key in work.slots if work.keys is None else work.keys:
            self._put(self.filled, key, key in done or work.filled(key))
            self._put(self.busy, key, _is_busy(work, key))
            if isinstance(key, int) and key not in self.filled:
                self.lowest = min(self.lowest, key)

    def free(self, total: int) -> Iterator[int]:
        """Yield the slots that want a task, those first in which something is on its way out.

        Another task there waits for it, and is none the more.  Take a slot by adding it to `filled` and `busy`.
        """
        leaving = sorted(key for key in self.busy - self.filled if isinstance(key, int) and key < total)
        return chain(leaving, self._untouched(total))

    def _untouched(self, total: int) -> Iterator[int]:
        for slot in count(self.lowest):
            if slot >= total:
                return
            if slot not in self.filled and slot not in self.busy:
                yield slot
            if slot == self.lowest and slot in self.filled:
                self.lowest += 1

    @staticmethod
    def _put(slots: set[SlotKey], key: SlotKey, is_in: bool) -> None:
        if is_in:
            slots.add(key)
        else:
            slots.discard(key)


def begin(work: Work, book: JobBook) -> None:
    """Begin as many tasks as may run beside those that do; new ones take the lowest free slots.

    A slot counts while any task in it is to run, waits for its restart, or may still be running: also one of an
    earlier run, so that no more than the allowed number ever run together.
    """
    job = work.service.spec.mode.replicated_job
    assert job is not None, "a job that is not global has slots"
    at_a_time, total = job.max_concurrent or 0, job.total_completions or 0
    for created, slot in enumerate(book.free(total)):
        if len(book.busy) + (slot not in book.busy) > at_a_time:
            return
        if created == MAX_NEW:
            work.again(work.now, slot)
            return
        book.busy.add(slot)
        book.filled.add(slot)
        work.load(slot)
        work.put(work.new_task(slot))
        work.again(work.now, slot)  # The task may be refused.


def _is_busy(work: Work, key: SlotKey) -> bool:
    """Whether a task of a slot is to run or may still be running; asks to look again when that will be over."""
    busy = any(not task.done for task in work.wanted(key))
    for task in work.tasks(key):
        if not task.wanted and work.may_run(task):
            busy = True
            if task.stop_asked_at is not None:
                work.again(work.given_up_at(task.stop_asked_at, task), key)
    return busy
