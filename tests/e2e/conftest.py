"""Nodes for end-to-end tests: one shared by tests that only add to it, and fresh ones for those that break it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.node import Node


def _node() -> Iterator[Node]:
    # Short: a run root must leave room for the sockets under it.
    with tempfile.TemporaryDirectory(prefix="ve-", dir="/tmp", ignore_cleanup_errors=True) as place:
        node = Node(Path(place))
        try:
            node.start()
            node.init()
            node.load("busybox")
            yield node
        finally:
            node.close()


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """A swarm of one node with busybox, shared."""
    yield from _node()


@pytest.fixture
def fresh() -> Iterator[Node]:
    """A swarm of one node with busybox, of this test alone."""
    yield from _node()
