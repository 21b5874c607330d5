"""A driver of secrets, as the leader asks it: it gives each task a value of its own, and may fail, be slow or be away.

`vault.dispatcher.driven.Asked`, which says what is asked for and how long, is the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING

from vault.crypto import Plaintext
from vault.dispatcher.assignments import Wanted
from vault.dispatcher.driven import request_of, why_none
from vault.model.secret import Secret
from vault.plugins.errors import PluginFailed
from vault.plugins.exchange import RETRY_S
from vault.plugins.secret_provider import ANSWER_S, SecretRequest
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.session import Session
    from tests.sim.world import World

NAME = "elsewhere"


class Mood(Enum):
    """How a driver is."""

    WELL = "is well"
    SLOW = "is slow"
    FAILS = "fails"
    AWAY = "is away"


class Question:
    """One value that is asked for."""

    def __init__(self, request: SecretRequest, wake: Callable[[], None]) -> None:
        self.request = request
        self.cancelled = False
        self._wake = wake
        self._answer: Plaintext | str | None = None

    def done(self) -> bool:
        """Whether there is an answer."""
        return self._answer is not None

    def result(self) -> Plaintext | str:
        """Return the answer."""
        assert self._answer is not None, "nobody looks before it is there"
        return self._answer

    def cancel(self) -> None:
        """Want no answer any more."""
        self.cancelled = True

    def answer(self, answer: Plaintext | str) -> None:
        """Take the answer, if it is still wanted."""
        if not self.cancelled:
            self._answer = answer
            self._wake()


class Driver:
    """The plugin."""

    def __init__(self, world: World) -> None:
        self.mood = Mood.WELL
        self._world = world
        self._clock = world.clock
        self._numbers = count(1)

    def ask(self, session: Session, wanted: Wanted, snap: Snapshot) -> Question:
        """Ask for a value for one task of the node that a session is with; it comes later."""
        request = request_of(wanted, snap)
        self._world.judge.values.asked(session, snap, request)
        question = Question(request, session.touch)
        assert isinstance(wanted.obj, Secret)
        self._try(question, wanted.obj, 0)
        return question

    def _try(self, question: Question, secret: Secret, tries: int) -> None:
        """Ask now; one that is away is asked again, as often as `vault.plugins.exchange` does."""
        clock, later = self._clock, self._clock.after
        match self.mood:
            case Mood.WELL:
                later(clock.between(0.005, 0.3), self._give, question, secret)
            case Mood.SLOW if (takes_s := clock.between(5.0, 2 * ANSWER_S)) < ANSWER_S:
                later(takes_s, self._give, question, secret)
            case Mood.SLOW:
                later(ANSWER_S, self._refuse, question, secret, "it did not answer in time")
            case Mood.FAILS:
                later(clock.between(0.005, 0.3), self._refuse, question, secret, "it is out of order")
            case Mood.AWAY if tries < len(RETRY_S):
                later(RETRY_S[tries], self._try, question, secret, tries + 1)
            case Mood.AWAY:
                self._refuse(question, secret, "nobody is there")

    def _give(self, question: Question, secret: Secret) -> None:
        value = f"{secret.id}.{question.request.task_id} {next(self._numbers)}"
        question.answer(Plaintext(value.encode()))

    def _refuse(self, question: Question, secret: Secret, why: str) -> None:
        self._world.story.tell("driver", f"refuses {secret.id}: {why}", question.request.task_id)
        self._world.judge.values.refused(secret.id, question.request.task_id)
        question.answer(why_none(secret, PluginFailed(why)))
