"""What a service may not ask for here at all: it needs Windows, cluster volumes or Docker's plugins.  Pure.

Called by `vault.store.rules_spec`; `vault.stack.unsupported` says the same of stack files.
"""

from collections.abc import Iterator
from typing import Final

from vault.model.container import ContainerSpec
from vault.model.errors import BadRequest, Unimplemented
from vault.model.service import ServiceSpec

WINDOWS: Final = "needs Windows nodes, and all nodes here run Linux: leave it out"
CLUSTER_VOLUMES: Final = (
    "needs cluster volumes (CSI), which are not offered: use a volume of a network file system, "
    "as driver_opts of the driver local say it"
)
RUNTIME: Final = "is not offered: a service runs containers, leave the runtime out or use container"


def check_offered(spec: ServiceSpec) -> None:
    """Raise `Unimplemented` naming the first field of `spec` that is not offered, and why."""
    runtime = spec.task_template.runtime
    if runtime in ("plugin", "attachment"):
        raise Unimplemented(f"TaskTemplate.Runtime {runtime} {RUNTIME}")
    if runtime not in ("", "container"):
        raise BadRequest("unsupported runtime: leave it out, or use container")
    for field, why in _elsewhere(spec.task_template.container_spec):
        raise Unimplemented(f"{field} {why}")


def _elsewhere(container: ContainerSpec) -> Iterator[tuple[str, str]]:
    if container.privileges is not None and container.privileges.credential_spec is not None:
        yield "ContainerSpec.Privileges.CredentialSpec", WINDOWS
    if any(reference.runtime is not None for reference in container.configs):
        yield "ContainerSpec.Configs.Runtime", WINDOWS
    if container.isolation.lower() not in ("", "default"):
        yield f"ContainerSpec.Isolation {container.isolation}", WINDOWS
    for mount in container.mounts:
        match mount.type:
            case "npipe":
                yield "ContainerSpec.Mounts type npipe", WINDOWS
            case "cluster":
                yield "ContainerSpec.Mounts type cluster", CLUSTER_VOLUMES
