"""What a service may not ask for yet: refused by name, never accepted and ignored.  Pure.

Called by `vault.store.rules_spec`.  An entry leaves this module with the change that brings
its effect.
"""

from collections.abc import Iterator

from vault.model.errors import Unimplemented
from vault.model.service import ServiceSpec, TaskSpec


def check_service_supported(spec: ServiceSpec) -> None:
    """Raise `Unimplemented` naming the first field of `spec` whose effect is still to come."""
    for field in _unsupported(spec):
        raise Unimplemented(f"{field} is not supported yet")


def _unsupported(spec: ServiceSpec) -> Iterator[str]:
    """Yield the fields that are not supported, in the order of the spec."""
    if spec.endpoint_spec and any(port.protocol == "sctp" for port in spec.endpoint_spec.ports):
        yield "EndpointSpec.Ports protocol sctp"
    yield from _task(spec.task_template)


def _task(task: TaskSpec) -> Iterator[str]:
    if any(attachment.driver_opts for attachment in task.networks):
        yield "TaskTemplate.Networks.DriverOpts"
