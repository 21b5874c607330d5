"""One lab for all tests of faults: whole when a test begins, made anew when one has left it broken."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.nemesis.moves import prepare
from tests.cluster.reforming import Shared, place
from tests.cluster.world import World


@pytest.fixture(scope="package")
def labs() -> Iterator[Path]:
    """A directory for labs."""
    with place() as root:
        yield root


@pytest.fixture(scope="package")
def shared(labs: Path) -> Iterator[Shared]:
    """Three managers on etcd and two workers, until the last test of this directory."""
    made = Shared(labs, "c", managers=3, workers=2)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def cluster(shared: Shared, request: pytest.FixtureRequest) -> Iterator[World]:
    """The cluster, whole."""
    yield shared.world()
    if getattr(request.node, "failed", False):
        shared.spoil()


@pytest.fixture(scope="package")
def shared_pair(labs: Path) -> Iterator[Shared]:
    """Two nodes that may become managers."""
    made = Shared(labs, "p", managers=2, workers=0, join=False)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def pair(shared_pair: Shared, request: pytest.FixtureRequest) -> Iterator[World]:
    """A swarm of one manager on sqlite, and a node that is in no swarm."""
    world = shared_pair.world()
    prepare(world)
    yield world
    if getattr(request.node, "failed", False):
        shared_pair.spoil()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note on the test whether it failed, for the fixtures that end after it."""
    report = yield
    if report.when == "call" and report.failed:  # type: ignore[attr-defined]
        item.failed = True  # type: ignore[attr-defined]
    return report
