"""Swarms for membership tests: one that tests of a module share, and fresh ones for those that break it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.membership.swarm import Swarm


def _swarm() -> Iterator[Swarm]:
    # Short: a run root must leave room for the sockets under it.
    with tempfile.TemporaryDirectory(prefix="vm-", dir="/tmp", ignore_cleanup_errors=True) as place:
        swarm = Swarm(Path(place))
        try:
            yield swarm
        finally:
            swarm.close()


@pytest.fixture(scope="module")
def swarm() -> Iterator[Swarm]:
    """Members that the tests of a module share, in the order in which they stand there."""
    yield from _swarm()


@pytest.fixture
def fresh() -> Iterator[Swarm]:
    """Members of one test alone."""
    yield from _swarm()
