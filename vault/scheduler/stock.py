"""The generic resources of a node: what there is, and what its tasks hold.  Used by `load` and the enforcer."""

from collections import Counter
from collections.abc import Iterable

from vault.model.generic import GenericResource, discrete, named


class Stock:
    """How many of each kind are free.

    What a task holds counts even if the node no longer says that it has it: a kind may become a number where it was
    names, or have fewer, while tasks run.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: dict[str, tuple[str, ...]] = {}  # In the order of the node's description.
        self._held: Counter[str] = Counter()  # Kind -> how many of a number.
        self._held_names: Counter[tuple[str, str]] = Counter()

    def describe(self, resources: Iterable[GenericResource]) -> None:
        """Take what a node says it has, instead of what it said before."""
        self._numbers, self._names = {}, {}
        for resource in resources:
            if (number := resource.discrete_resource_spec) is not None:
                self._numbers[number.kind] = self._numbers.get(number.kind, 0) + number.value
            elif (thing := resource.named_resource_spec) is not None:
                self._names[thing.kind] = (*self._names.get(thing.kind, ()), thing.value)

    def count(self, resources: Iterable[GenericResource], by: int) -> None:
        """Count what a task holds (`by` 1), or no longer holds (-1)."""
        for resource in resources:
            if (number := resource.discrete_resource_spec) is not None:
                self._held[number.kind] += by * number.value
            elif (thing := resource.named_resource_spec) is not None:
                self._held_names[thing.kind, thing.value] += by

    def free(self, kind: str) -> int:
        """Return how many of a kind are free; less than 0 when tasks hold more than there is."""
        if kind in self._names:
            return len(self._free_names(kind)) - self._held[kind]
        names = sum(held for (of, _), held in self._held_names.items() if of == kind)
        return self._numbers.get(kind, 0) - self._held[kind] - names

    def holds(self, resources: Iterable[GenericResource]) -> bool:
        """Whether the node has what a task was given, free of what was counted so far."""
        for resource in resources:
            if (number := resource.discrete_resource_spec) is not None:
                if number.kind in self._names or self.free(number.kind) < number.value:
                    return False
            elif (thing := resource.named_resource_spec) is not None and (
                thing.value not in self._names.get(thing.kind, ()) or self._held_names[thing.kind, thing.value]
            ):
                return False
        return True

    def choose(self, wanted: Iterable[tuple[str, int]]) -> tuple[GenericResource, ...]:
        """Return what a task would be given: the first free names of a kind, or a number.  There must be enough."""
        chosen: list[GenericResource] = []
        for kind, count in wanted:
            if kind in self._names:
                chosen += [named(kind, name) for name in self._free_names(kind)[:count]]
            else:
                chosen.append(discrete(kind, count))
        return tuple(chosen)

    def figures(self) -> tuple[object, ...]:
        """Return all that was counted."""
        held = {key: count for key, count in (*self._held.items(), *self._held_names.items()) if count}
        numbers = {kind: count for kind, count in self._numbers.items() if count}
        return (numbers, self._names, held) if numbers or self._names or held else ()

    def _free_names(self, kind: str) -> list[str]:
        return [name for name in self._names[kind] if not self._held_names[kind, name]]
