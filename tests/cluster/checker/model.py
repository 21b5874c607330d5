"""How one secret behaves when requests are done one at a time: what each answer means, and what it leaves behind.

Pure.  The key is the secret's name: its life is several secrets, one after the other, each with an id of its own.
What no client has seen yet (the id of a create whose answer was lost, the version of a write) is empty until a read
shows it.
"""

from typing import NamedTuple

from tests.cluster.checker.history import Kind, Operation, Outcome


class State(NamedTuple):
    """One name at one moment."""

    there: bool = False
    id: str = ""  # "" while there: not seen yet.
    version: int = 0  # 0: not seen yet, but above `floor`.
    label: str = ""
    floor: int = 0  # The highest version this name is known to have had.
    dead: frozenset[str] = frozenset()  # Ids that were removed; none comes back.


def step(state: State, operation: Operation) -> State | None:
    """Return the state after an operation, or None if it cannot have been answered so in this state."""
    match operation.kind:
        case Kind.CREATE:
            return _create(state, operation)
        case Kind.READ:
            return _read(state, operation)
        case Kind.UPDATE:
            return _update(state, operation)
        case Kind.REMOVE:
            return _remove(state, operation)


def _meant(state: State, operation: Operation) -> bool:
    """Whether there is the secret that was asked for.  An id that no answer has shown is nobody's to ask for."""
    return state.there and operation.by in ("", state.id)


def _create(state: State, operation: Operation) -> State | None:
    made = state._replace(there=True, id=operation.id, version=0, label=operation.label)
    match operation.outcome:
        case Outcome.DONE:
            return None if state.there or operation.id in state.dead else made
        case Outcome.EXISTS:
            return state if state.there else None
        case Outcome.UNKNOWN:
            return state if state.there else made
        case _:
            return None


def _read(state: State, operation: Operation) -> State | None:
    if operation.outcome is Outcome.ABSENT:
        return None if _meant(state, operation) else state
    if not state.there or operation.seen != state.label:
        return None
    if state.id != operation.id and (state.id or operation.id in state.dead):
        return None
    if state.version != operation.index and (state.version or operation.index <= state.floor):
        return None
    return state._replace(id=operation.id, version=operation.index, floor=operation.index)


def _update(state: State, operation: Operation) -> State | None:
    meant = _meant(state, operation)
    # A version is only known from a read that came before, so one that is not seen yet is a newer one.
    fits = meant and state.version == operation.version
    written = state._replace(version=0, label=operation.label)
    match operation.outcome:
        case Outcome.DONE:
            return written if fits else None
        case Outcome.STALE:
            return state if meant and not fits else None
        case Outcome.ABSENT:
            return None if meant else state
        case Outcome.UNKNOWN:
            return written if fits else state
        case _:
            return None


def _remove(state: State, operation: Operation) -> State | None:
    meant = _meant(state, operation)
    gone = State(floor=state.floor, dead=state.dead | ({state.id} if state.id else set()))
    match operation.outcome:
        case Outcome.DONE:
            return gone if meant else None
        case Outcome.ABSENT:
            return None if meant else state
        case Outcome.UNKNOWN:
            return gone if meant else state
        case _:
            return None
