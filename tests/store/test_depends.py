"""The label that makes a service wait: what is written is read, and what cannot be read is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.store.test_rules import spec, world
from vault.model.depends import DEPENDS_LABEL, Condition, Dependency, dependencies_of, depends_label
from vault.model.errors import InvalidArgument
from vault.model.service import ServiceSpec
from vault.store.rules_service import new_service

NAMES = st.from_regex(r"[a-zA-Z0-9](?:[-_]?[A-Za-z0-9]){0,20}", fullmatch=True)
DEPENDENCIES = st.builds(Dependency, service=NAMES, condition=st.sampled_from(Condition))


@given(st.lists(DEPENDENCIES, max_size=5))
def test_what_is_written_is_read(dependencies: list[Dependency]) -> None:
    assert dependencies_of({DEPENDS_LABEL: depends_label(dependencies)}) == tuple(dependencies)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = dependencies_of({DEPENDS_LABEL: text})
    except InvalidArgument:
        return
    assert dependencies_of({DEPENDS_LABEL: depends_label(found)}) == found


def waiting(text: str) -> ServiceSpec:
    return replace(spec(), labels={DEPENDS_LABEL: text})


@pytest.mark.parametrize("text", ["db=running", "a b", "db=service_started,", "=service_healthy", "../x", "x" * 64])
def test_a_service_that_would_wait_for_what_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not SERVICE=CONDITION, with one of the conditions service_started, "):
        new_service(world(), "web", waiting(text), now_s=0.0)


def test_a_service_that_would_wait_for_itself_is_refused() -> None:
    with pytest.raises(
        InvalidArgument, match=r"^rpc error: .*service web waits for itself: change its label vault\.stack\.depends-on$"
    ):
        new_service(world(), "web", waiting("db,web"), now_s=0.0)


def test_a_name_alone_means_that_the_service_must_have_started() -> None:
    assert dependencies_of({DEPENDS_LABEL: "db, cache"}) == tuple(
        Dependency(service=name, condition=Condition.STARTED) for name in ("db", "cache")
    )
