"""Labs in a directory of their own, small enough to be made in half a second, and always ended."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault.lab.lab import Lab


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A directory for labs with a name short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="lab-"))
    yield path
    for each in path.iterdir():
        Lab(each.name, path).down()
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def pair(base: Path) -> Lab:
    """A manager and a worker that have not joined; tests leave both running and whole."""
    lab = Lab("pair", base)
    lab.up(managers=1, workers=1, join=False)
    return lab
