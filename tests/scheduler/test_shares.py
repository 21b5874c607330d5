"""Even shares, and as few moves as there can be: compared with all other ways to share."""

from collections.abc import Iterator, Sequence
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from vault.scheduler.shares import Place, cost, shares


def node(name: str, has: int, *, low: int = 0, high: int = 99, load: float = 0.0) -> Place:
    return Place(name, load, has=has, low=low, high=high)


def flat(*counts: int, **more: int) -> Place:
    return Place("", below=[node(f"n{n}", count, **more) for n, count in enumerate(counts)])


def moved(root: Place) -> list[int]:
    """Return the shares of nodes by name, and check that they are as many as there are."""
    found = shares(root, root.has)
    assert sum(found.values()) == root.has
    return [found[name] for name in sorted(found)]


def test_what_is_even_stays() -> None:
    assert moved(flat(2, 3, 2)) == [2, 3, 2]
    assert moved(flat(0, 0)) == [0, 0]
    assert cost(flat(2, 3, 2), 7) == 0


def test_a_new_node_gets_its_share_from_those_that_have_most() -> None:
    assert moved(flat(4, 4, 0)) == [3, 3, 2]
    assert cost(flat(4, 4, 0), 8) == 2
    assert moved(flat(7, 1, 1)) == [3, 3, 3]


def test_among_equals_who_has_less_to_do_has_one_more() -> None:
    busy = [node("a", 4, load=9), node("b", 0, load=9), node("c", 0, load=1)]
    assert shares(Place("", below=busy), 4) == {"a": 2, "b": 1, "c": 1}
    assert shares(Place("", below=[node("a", 3, load=9), node("b", 0, load=9), node("c", 0, load=1)]), 3) == {
        "a": 1,
        "b": 1,
        "c": 1,
    }
    assert shares(Place("", below=[node("a", 2), node("b", 0, load=9), node("c", 0, load=1), node("d", 0)]), 2) == {
        "a": 1,
        "b": 0,
        "c": 0,
        "d": 1,
    }


def test_a_node_without_room_leaves_its_share_to_the_others() -> None:
    assert moved(Place("", below=[node("a", 6), node("b", 0, high=1), node("c", 0)])) == [3, 1, 2]


def test_what_cannot_move_stays() -> None:
    assert moved(Place("", below=[node("a", 5, low=5), node("b", 1), node("c", 0)])) == [5, 1, 0]


def test_branches_come_before_nodes() -> None:
    zones = [Place("z1", below=[node("a", 3), node("b", 3)]), Place("z2", below=[node("c", 0)])]
    assert moved(Place("", below=zones)) == [2, 1, 3] or moved(Place("", below=zones)) == [1, 2, 3]


@st.composite
def trees(draw: st.DrawFn, depth: int, names: Iterator[str]) -> Place:
    """Return a branch with up to three places below it, the last level being nodes."""
    if depth == 0:
        low = draw(st.sampled_from([0, 0, 0, 1]))
        has = low + draw(st.integers(0, 3))
        high = draw(st.sampled_from([low, has, has + 1, has + 2, has + 5]))
        return Place(next(names), draw(st.integers(0, 2)), has=has, low=low, high=max(low, high))
    below = [draw(trees(depth - 1, names)) for _ in range(draw(st.integers(1, 3 if depth == 1 else 2)))]
    return Place(next(names), below=below)


@st.composite
def worlds(draw: st.DrawFn) -> Place:
    return draw(trees(draw(st.integers(1, 3)), (f"p{n:02}" for n in range(100))))


def leaves(place: Place) -> list[Place]:
    return [leaf for one in place.below for leaf in leaves(one)] if place.below else [place]


def total(place: Place, counts: dict[str, int]) -> int:
    return sum(counts[leaf.name] for leaf in leaves(place))


def is_even(place: Place, counts: dict[str, int]) -> bool:
    """Whether at no level one neighbour might give another one of two tasks that it has more."""
    for one, other in product(place.below, place.below):
        gives = total(one, counts) > one.low
        takes = total(other, counts) < other.high
        if gives and takes and total(one, counts) - total(other, counts) >= 2:
            return False
    return all(is_even(one, counts) for one in place.below)


def all_ways(nodes: Sequence[Place], count: int) -> Iterator[dict[str, int]]:
    """Return every way to put `count` tasks on nodes."""
    if not nodes:
        if count == 0:
            yield {}
        return
    for here in range(nodes[0].low, min(nodes[0].high, count) + 1):
        for rest in all_ways(nodes[1:], count - here):
            yield {nodes[0].name: here, **rest}


@given(worlds())
def test_shares_are_even_possible_and_need_the_fewest_moves_of_all(root: Place) -> None:
    count = min(root.has, root.high)
    found = shares(root, count)
    nodes = leaves(root)
    assert sum(found.values()) == count
    assert all(node.low <= found[node.name] <= node.high for node in nodes)
    assert is_even(root, found)
    moves = sum(max(0, found[node.name] - node.has) for node in nodes)
    assert moves == cost(root, count)
    if len(nodes) <= 5 and count <= 12:
        fewest = min(
            sum(max(0, way[node.name] - node.has) for node in nodes)
            for way in all_ways(nodes, count)
            if is_even(root, way)
        )
        assert moves == fewest


@given(worlds())
def test_who_has_an_even_share_already_keeps_it(root: Place) -> None:
    count = min(root.has, root.high)
    found = shares(root, count)

    def again(place: Place) -> Place:
        if place.below:
            return Place(place.name, below=[again(one) for one in place.below])
        return Place(place.name, place.load, has=found[place.name], low=place.low, high=place.high)

    assert shares(again(root), count) == found
