"""Generic resources: what a node has beside processors and memory, in Docker's shape.

Discrete: a number of something.  Named: things that are told apart, each given to one task at a time.
"""

from collections.abc import Iterable, Mapping

from vault.model.base import Shape


class NamedResource(Shape, frozen=True, kw_only=True):
    """One thing with a name, such as a GPU and its UUID."""

    kind: str = ""
    value: str = ""


class DiscreteResource(Shape, frozen=True, kw_only=True):
    """A number of things that need not be told apart."""

    kind: str = ""
    value: int = 0


class GenericResource(Shape, frozen=True, kw_only=True):
    """Exactly one is set."""

    named_resource_spec: NamedResource | None = None
    discrete_resource_spec: DiscreteResource | None = None

    @property
    def kind(self) -> str:
        """What it is; "" when neither is set."""
        spec = self.discrete_resource_spec or self.named_resource_spec
        return spec.kind if spec else ""


def discrete(kind: str, value: int) -> GenericResource:
    """Return a number of something."""
    return GenericResource(discrete_resource_spec=DiscreteResource(kind=kind, value=value))


def named(kind: str, value: str) -> GenericResource:
    """Return one thing with a name."""
    return GenericResource(named_resource_spec=NamedResource(kind=kind, value=value))


def from_amounts(amounts: Mapping[str, int | tuple[str, ...]]) -> tuple[GenericResource, ...]:
    """Return the resources of a number, or of names, of each kind, by kind."""
    found: list[GenericResource] = []
    for kind, amount in sorted(amounts.items()):
        found += [discrete(kind, amount)] if isinstance(amount, int) else [named(kind, name) for name in amount]
    return tuple(found)


def environment(resources: Iterable[GenericResource]) -> tuple[str, ...]:
    """Return the variables by which a task learns what it was given: `DOCKER_RESOURCE_GPU=UUID1,UUID2`.

    Source: moby, daemon/cluster/executor/container; the kind in upper case, values joined by commas.
    """
    values: dict[str, list[str]] = {}
    for resource in resources:
        spec = resource.discrete_resource_spec or resource.named_resource_spec
        if spec is not None:
            values.setdefault(spec.kind, []).append(str(spec.value))
    return tuple(f"DOCKER_RESOURCE_{kind.upper()}={','.join(found)}" for kind, found in values.items())
