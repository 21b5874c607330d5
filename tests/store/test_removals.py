"""What was removed lately is known, exactly as far back as it says, and not what was only proposed."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vault.model.ids import Kind
from vault.model.node import Node
from vault.model.secret import Secret, SecretSpec
from vault.store import removals
from vault.store.changes import Delete, Put
from vault.store.removals import Removals
from vault.store.snapshot import Draft, Snapshot


def made(name: str) -> Secret:
    return Secret(id=name, spec=SecretSpec(name=name))


def test_a_snapshot_knows_what_was_removed_on_the_way_to_it() -> None:
    first = Snapshot().apply([Put(made("a")), Put(made("b"))], index=1, now_s=0)
    second = first.apply([Delete(Kind.SECRET, "a", 1)], index=2, now_s=0)
    assert ("a" in first.removals, "a" in second.removals, "b" in second.removals) == (False, True, False)
    other = first.apply([Delete(Kind.SECRET, "b", 1)], index=2, now_s=0)
    assert "a" not in other.removals, "what another proposal would have removed is no removal here"


def test_what_came_and_went_between_two_snapshots_of_a_follower_is_known_too() -> None:
    draft = Draft(Snapshot())
    draft.take(Kind.SECRET, "a", None)
    assert "a" in draft.finish(5).removals


def test_what_no_client_creates_comes_and_goes_without_being_remembered() -> None:
    first = Snapshot().apply([Put(Node(id="n"))], index=1, now_s=0)
    assert "n" not in first.apply([Delete(Kind.NODE, "n", 1)], index=2, now_s=0).removals


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), max_size=60), st.integers(0, 20))
def test_every_removal_after_since_is_known_however_many_were_forgotten(
    removed: list[tuple[int, int]], begun: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(removals, "KEPT", 4)
        index, known, history = begun, Removals.from_now(begun), []
        for number, (name, step) in enumerate(removed):
            index += step or (number == 0)
            known = known.with_one(f"{number}-{name}", index)
            history.append((f"{number}-{name}", index))
            assert all(object_id in known for object_id, at in history if at > known.since)
            assert known.since <= index
        assert len(known.recent) + len(known.before) <= 8
