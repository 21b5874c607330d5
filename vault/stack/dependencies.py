"""`depends_on` of a stack file: whether services can wait for each other so, and the label that makes them.

Pure; called by `vault.stack.convert`.  An extension of ours: Docker's client passes `depends_on` over.  How the waiting
is done: `vault.orchestrator.depends`.
"""

from vault.model.depends import DEPENDS_LABEL, Condition, Dependency, depends_label
from vault.stack import document as doc
from vault.stack.errors import StackError
from vault.stack.namespace import Namespace


def waiting_label(namespace: Namespace, service: doc.Service, document: doc.Document) -> dict[str, str]:
    """Return the label of a service that waits for others; none for one that does not."""
    dependencies = [
        Dependency(service=namespace.scope(one.service), condition=Condition(one.condition))
        for one in service.depends_on
        if one.service in document.services
    ]
    return {DEPENDS_LABEL: depends_label(dependencies)} if dependencies else {}


def check_dependencies(document: doc.Document) -> None:
    """Raise `StackError` for a service that would wait for ever: for one that is not there, for itself, or in vain."""
    for service in document.services.values():
        for one in service.depends_on:
            other = document.services.get(one.service)
            if other is not None:
                _check_condition(service, other, one.condition)
            elif one.required:
                raise StackError(
                    f"service {service.name} depends on {one.service}, which the stack does not have: add it, or say "
                    "required: false"
                )
    cycle = _cycle(document)
    if cycle:
        raise StackError(f"services depend on each other in a circle: {' -> '.join(cycle)}: take one depends_on out")


def _check_condition(service: doc.Service, other: doc.Service, condition: str) -> None:
    check = other.healthcheck
    if condition == Condition.HEALTHY and (check is None or check.disable or check.test == ("NONE",)):
        raise StackError(
            f"service {service.name} depends on {other.name} to be healthy, and {other.name} has no healthcheck: give "
            "it one, or if its image has one, say so by setting its interval: healthcheck: {interval: 30s}"
        )
    if condition == Condition.COMPLETED and not _ends(other):
        raise StackError(
            f"service {service.name} depends on {other.name} to complete, and {other.name} starts again whenever it "
            "has: set its deploy.mode to replicated-job, or its restart_policy.condition to none or on-failure"
        )


def _ends(service: doc.Service) -> bool:
    """Whether the tasks of a service are left alone once they have completed."""
    if service.deploy.mode.endswith("-job"):
        return True
    policy = service.deploy.restart_policy
    condition = policy.condition if policy is not None else service.restart.partition(":")[0]
    return condition in ("none", "on-failure")


def _cycle(document: doc.Document) -> tuple[str, ...]:
    """Return services that wait for each other in a circle, the first one at both ends; () when there are none.

    A walk in depth, without recursion: a file may have thousands of services.
    """
    after = {
        name: [one.service for one in service.depends_on if one.service in document.services]
        for name, service in document.services.items()
    }
    done: set[str] = set()
    for start in after:
        path, left = [start], [iter(after[start])]
        while path:
            following = next((name for name in left[-1] if name not in done), None)
            if following is None:
                done.add(path.pop())
                left.pop()
            elif following in path:
                return (*path[path.index(following) :], following)
            else:
                path.append(following)
                left.append(iter(after[following]))
    return ()
