"""`depends_on`: no task starts before what its service waits for has been so once, and none waits longer."""

from __future__ import annotations

from collections import defaultdict

from tests.sim.judge import oracle
from vault.model.depends import DEPENDS_LABEL
from vault.model.service import Service
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot


def waits(snap: Snapshot, service: Service | None) -> bool:
    """Return whether tasks of a service have to wait for another one."""
    if service is None or service.dependencies_met or DEPENDS_LABEL not in service.spec.labels:
        return False
    return any(not is_met(snap, *one.split("=")) for one in service.spec.labels[DEPENDS_LABEL].split(","))


def is_met(snap: Snapshot, name: str, condition: str) -> bool:
    """Return whether a condition is true of a service."""
    service = next((one for one in snap.services.values() if one.spec.name == name), None)
    if service is None:
        return False
    tasks = [task for task in snap.tasks_of(service.id) if is_of_now(service, task)]
    serves = any(task.state is State.RUNNING and not task.status.unhealthy for task in tasks)
    if condition == "service_healthy":
        return serves
    if condition == "service_started":
        return serves or any(task.state is State.COMPLETE for task in tasks)
    slots: defaultdict[int | str, set[bool]] = defaultdict(set)
    for task in tasks:
        complete = task.state is State.COMPLETE
        if complete or oracle.is_wanted(task) or task.stays_down:
            slots[task.slot_key].add(complete)
    job = service.spec.mode.replicated_job
    least = (job.total_completions or 0) if job is not None else service.replicas
    return len(slots) >= max(least, 1) and all(True in found for found in slots.values())


def is_of_now(service: Service, task: Task) -> bool:
    """Return whether a task is of a service's present spec, or run."""
    if service.is_job:
        return task.job_iteration == service.job_iteration
    if task.spec_version == service.spec_version:
        return True
    fields = [name for name in task.spec.__struct_fields__ if name != "placement"]
    return all(getattr(task.spec, name) == getattr(service.spec.task_template, name) for name in fields)
