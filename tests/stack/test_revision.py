"""A stack's revision changes whenever somebody changes the stack; a deploy for another revision is told what did."""

import pytest

from tests.stack.cluster import Cluster
from vault.model.ids import Kind
from vault.stack.revision import NONE, BaseMoved, check_base, stacks_in

STACK = "services: {web: {image: nginx, secrets: [s]}, db: {image: mysql}}\nsecrets: {s: {file: s}}"
FILES = {"/stack/s": b"value"}


def deployed() -> Cluster:
    cluster = Cluster()
    cluster.deploy(STACK, contents=FILES)
    return cluster


def conflict(cluster: Cluster, base: str) -> str:
    with pytest.raises(BaseMoved) as raised:
        check_base(cluster.snap, "demo", base)
    assert raised.value.status == 409
    return str(raised.value)


def test_a_stack_that_is_not_there_has_revision_0() -> None:
    cluster = Cluster()
    assert cluster.revision() == NONE == "0"
    check_base(cluster.snap, "demo", NONE)


def test_the_revision_stays_while_nobody_changes_the_stack() -> None:
    cluster = deployed()
    revision = cluster.revision()
    cluster.progress("demo_web")
    cluster.deploy(STACK, contents=FILES)
    cluster.deploy("services: {a: {image: b}}", name="other")
    assert cluster.revision() == revision
    check_base(cluster.snap, "demo", revision)


def test_whoever_changes_the_stack_changes_its_revision() -> None:
    cluster = deployed()
    seen = [cluster.revision()]
    for change in (
        lambda: cluster.deploy(STACK.replace("nginx", "nginx:2"), contents=FILES),
        lambda: cluster.deploy(STACK.replace("file: s}", "file: s, labels: {a: b}}"), contents=FILES),
        lambda: cluster.drop(Kind.SERVICE, "demo_db"),
        lambda: cluster.drop(Kind.SERVICE, "demo_web"),
        lambda: cluster.drop(Kind.SECRET, "demo_s"),
        lambda: cluster.drop(Kind.NETWORK, "demo_default"),
    ):
        change()
        seen.append(cluster.revision())
    assert len(set(seen)) == len(seen)
    assert seen[-1] == NONE


def test_a_conflict_says_what_changed_since_and_who_deployed() -> None:
    cluster = deployed()
    base = cluster.revision()
    cluster.deploy(STACK.replace("nginx", "nginx:2"), contents=FILES, caller="alice")
    said = conflict(cluster, base)
    assert said == (
        f"stack demo is at revision {cluster.revision()}, and this deploy was made for {base}: it was deployed again "
        "at 1970-01-01T00:16:43Z by alice; service demo_web was made or changed. See what it would change now "
        "(vault stack deploy --plan), then deploy again with that revision, or none"
    )


def test_a_conflict_names_what_was_removed_by_another_way() -> None:
    cluster = deployed()
    base = cluster.revision()
    cluster.drop(Kind.SERVICE, "demo_db")
    assert f"was made for {base}: service demo_db was removed. See" in conflict(cluster, base)


def test_a_conflict_names_some_of_many_changes() -> None:
    cluster = Cluster()
    services = ", ".join(f"s{number}: {{image: nginx}}" for number in range(8))
    cluster.deploy(f"services: {{{services}}}")
    assert conflict(cluster, "0").count("was made or changed") == 5
    assert ", and 3 more. See" in conflict(cluster, "0")


@pytest.mark.parametrize("base", ["x", "1", "-", "1-", "9" * 400, "١-aaaa", "\0"])
def test_a_text_that_is_no_revision_is_a_conflict_all_the_same(base: str) -> None:
    said = conflict(deployed(), base)
    assert len(said) < 600


def test_stacks_are_those_whose_label_something_carries() -> None:
    cluster = deployed()
    cluster.deploy("services: {a: {image: b}}", name="another")
    assert {name: len(parts) for name, parts in stacks_in(cluster.snap).items()} == {"another": 2, "demo": 4}
