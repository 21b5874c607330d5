"""The garbage collector's pauses."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from vault.daemon.memory import LONG_S, MARGIN_BYTES, Collector, resident_bytes


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


class Memory:
    """How much is in use, as the test says."""

    def __init__(self) -> None:
        self.size_bytes = 100 * MARGIN_BYTES

    def __call__(self) -> int:
        return self.size_bytes


@contextmanager
def collecting(memory: Memory, *, takes_s: float = 2 * LONG_S) -> Iterator[Collector]:
    """takes_s: what each full collection takes."""
    collector = Collector(memory, count(0.0, takes_s).__next__)
    collector.begin()
    try:
        yield collector
    finally:
        collector.end()


def is_looked_at(one: Ring) -> bool:
    return any(other is one for other in gc.get_objects())


def test_what_a_long_collection_has_left_is_not_looked_at_again() -> None:
    with collecting(Memory()):
        kept = Ring()
        assert is_looked_at(kept)
        gc.collect(1)
        assert is_looked_at(kept), "a collection of the young leaves it to the next"
        gc.collect()
        assert not is_looked_at(kept)
    assert is_looked_at(kept), "all is as before in the end"


def test_what_a_short_collection_has_left_is_looked_at_again() -> None:
    """Of requests for example, which are over soon."""
    with collecting(Memory(), takes_s=LONG_S / 2):
        kept = Ring()
        gc.collect()
        assert is_looked_at(kept)


def test_what_was_there_at_the_beginning_is_not_looked_at() -> None:
    kept = Ring()
    with collecting(Memory()):
        assert not is_looked_at(kept)


def test_garbage_among_the_old_is_found_once_memory_has_grown() -> None:
    memory = Memory()
    with collecting(memory) as collector:
        old = Ring()
        gone = weakref.ref(old)
        gc.collect()
        del old
        gc.collect()
        memory.size_bytes = 150 * MARGIN_BYTES
        collector.look()
        assert gone() is not None, "it grew by a half only"
        memory.size_bytes = 151 * MARGIN_BYTES + 1
        collector.look()
        assert gone() is None


def test_it_is_not_collected_again_before_memory_has_grown_again() -> None:
    memory = Memory()
    with collecting(memory) as collector:
        memory.size_bytes *= 2
        collector.look()
        old = Ring()
        gone = weakref.ref(old)
        gc.collect()
        del old
        collector.look()
        assert gone() is not None


def test_a_process_knows_how_much_memory_it_has_in_use() -> None:
    assert resident_bytes() > 10 * 1024 * 1024
