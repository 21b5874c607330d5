"""Answers about many objects: made in a thread, so that the event loop has its turns meanwhile.

Not pure: starts threads.  Called by handlers that look at every task; snapshots do not change, so any thread may look.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from starlette.responses import Response

from vault.api import answers

LARGE: Final = 2_000  # Objects, which take 10 ms to look at, show and encode.


async def answer(count: int, make: Callable[[], Response]) -> Response:
    """Return what `make` returns; it looks at `count` objects.  Raises what it raises."""
    return make() if count < LARGE else await asyncio.to_thread(make)


def listed(values: Iterable[object]) -> Response:
    """Answer with a list as JSON, encoded value by value: other threads wait for as long as one call of the encoder."""
    encoded = [answers.encode(value) for value in values]  # Not `map`: then it would all be one call again.
    return answers.json_bytes(b"[" + b",".join(encoded) + b"]\n")
