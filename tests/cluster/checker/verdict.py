"""The verdict on a history: every check there is, in bounded time, with the operations that show what is wrong."""

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.cluster.checker.history import Kind, Operation, Outcome
from tests.cluster.checker.linearize import linearize
from tests.cluster.checker.model import State, step

LIMIT_S = 60.0
SHOWN = 40  # Operations of a story.


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the checks found."""

    violations: tuple[str, ...]
    undecided: tuple[str, ...]  # Keys whose search hit its limit: neither good nor bad.
    operations: int
    keys: int
    outcomes: dict[str, int]

    @property
    def good(self) -> bool:
        """Whether every check ran to its end and found nothing."""
        return not self.violations and not self.undecided

    def __str__(self) -> str:
        counted = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        head = f"{self.operations} operations on {self.keys} secrets ({counted})"
        bad = [*self.violations, *(f"could not decide whether {key} is linearizable" for key in self.undecided)]
        return "\n".join([head, *bad]) if bad else f"{head}: linearizable"


def judge(operations: Iterable[Operation], *, limit_s: float = LIMIT_S) -> Verdict:
    """Check a history: every key is linearizable, and indices go forward through all keys."""
    history = list(operations)
    keys: defaultdict[str, list[Operation]] = defaultdict(list)
    for one in history:
        if one.counts:
            keys[one.key].append(one)
    deadline_s = time.monotonic() + limit_s
    violations, undecided = list(disordered(history)), []
    for key, of_key in sorted(keys.items()):
        found = linearize(of_key, State(), step, deadline_s=deadline_s)
        if found.linearizable is None:
            undecided.append(key)
        elif not found.linearizable:
            violations.append(_story(key, of_key, found.longest, found.stuck))
    return Verdict(
        violations=tuple(violations),
        undecided=tuple(undecided),
        operations=len(history),
        keys=len(keys),
        outcomes=dict(Counter(str(one.outcome) for one in history)),
    )


def _story(key: str, of_key: Sequence[Operation], longest: Sequence[Operation], stuck: Sequence[Operation]) -> str:
    near = sorted(of_key, key=lambda one: one.called_ns)
    fits = {id(one) for one in longest}
    first = next((number for number, one in enumerate(near) if id(one) not in fits), 0)
    shown = near[max(0, first - SHOWN // 2) : first + SHOWN // 2]
    lines = [f"{key} is not linearizable: no order fits these, of which the marked ones are left over"]
    marks = {id(one) for one in stuck}
    lines += [f"  {'*' if id(one) in marks else ' '} {one}" for one in shown]
    return "\n".join(lines)


def disordered(history: Sequence[Operation]) -> list[str]:
    """Return where a write that began after another had ended has no higher index: an old leader's, or a lost one's."""
    written = {(one.key, one.label): one for one in history if one.label and one.outcome is Outcome.DONE}
    indices: dict[tuple[str, str], int] = {}
    for one in history:
        if one.kind is Kind.READ and one.outcome is Outcome.DONE and (one.key, one.seen) in written:
            indices[one.key, one.seen] = one.index
    writes = [(written[name], index) for name, index in indices.items()]
    ended = sorted((one.returned_ns, index, str(one)) for one, index in writes)
    highest: list[tuple[int, str]] = []
    for _, index, shown in ended:
        highest.append(max((index, shown), highest[-1]) if highest else (index, shown))
    found = []
    for one, index in writes:
        earlier = bisect_left(ended, (one.called_ns,))
        if earlier and highest[earlier - 1][0] >= index:
            found.append(f"index {index} of {one} is not above {highest[earlier - 1][0]} of {highest[earlier - 1][1]}")
    return found


def lost(history: Iterable[Operation], there: dict[str, dict[str, str]]) -> list[str]:
    """Check a load of creates, each name once: return what is wrong with the final state.

    there: for each manager, the id of every name.  What was acknowledged is there, with its id; what was refused is
    not; what is unknown may be there.
    """
    found = []
    for one in history:
        for node, names in there.items():
            seen = names.get(one.key)
            if one.outcome is Outcome.DONE and seen != one.id:
                found.append(f"{node} has {seen or 'nothing'} for {one}")
            elif one.outcome is Outcome.REFUSED and seen is not None:
                found.append(f"{node} has {seen}, though refused: {one}")
    return found
