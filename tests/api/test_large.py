"""Answers about many objects."""

import asyncio
import threading

import msgspec
import pytest
from starlette.responses import Response

from vault.api import answers, large
from vault.model.errors import NotFound
from vault.model.ids import Kind
from vault.model.service import TaskSpec
from vault.model.task import Task


@pytest.mark.parametrize(("count", "apart"), [(large.LARGE - 1, False), (large.LARGE, True)])
def test_an_answer_about_many_objects_leaves_the_loop_its_turns(count: int, apart: bool) -> None:
    """One about a few is made at once, which is quicker than another thread."""
    threads: list[int] = []

    def make() -> Response:
        threads.append(threading.get_ident())
        return answers.done()

    asyncio.run(large.answer(count, make))
    assert (threads != [threading.get_ident()]) is apart


def test_a_refusal_reaches_whoever_asked() -> None:
    def make() -> Response:
        raise NotFound(Kind.SERVICE, "web")

    with pytest.raises(NotFound):
        asyncio.run(large.answer(large.LARGE, make))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_list_is_encoded_as_it_is_in_one_piece(count: int) -> None:
    tasks = [Task(id=f"t{number}", spec=TaskSpec()) for number in range(count)]
    assert large.listed(iter(tasks)).body == answers.json(tasks).body
    assert msgspec.json.decode(large.listed(iter(tasks)).body, type=list[Task]) == tasks
