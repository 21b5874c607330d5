"""The spec of a new service, from the options of `service create`.  Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from vault.cli.errors import CommandError
from vault.cli.values.container import capabilities, swarm_host, tagged
from vault.cli.values.health import new_healthcheck
from vault.cli.values.placement import generic_resources
from vault.cli.values.ports import flat
from vault.cli.values.scalars import pairs

Spec = dict[str, Any]
Given = Mapping[str, Any]
SECOND_NS = 1_000_000_000
JOBS = frozenset(("ReplicatedJob", "GlobalJob"))
EXCHANGE_DEFAULTS = {
    "Parallelism": 1,
    "FailureAction": "pause",
    "Monitor": 5 * SECOND_NS,
    "MaxFailureRatio": 0,
    "Order": "stop-first",
}
RESTART_DEFAULTS = {"Condition": "any", "Delay": 5 * SECOND_NS, "MaxAttempts": 0}
EXCHANGE_FIELDS = {
    "parallelism": "Parallelism",
    "delay": "Delay",
    "failure_action": "FailureAction",
    "monitor": "Monitor",
    "max_failure_ratio": "MaxFailureRatio",
    "order": "Order",
    "deadline": "Deadline",
}
RESTART_FIELDS = {
    "restart_condition": "Condition",
    "restart_delay": "Delay",
    "restart_max_attempts": "MaxAttempts",
    "restart_window": "Window",
}


def new_spec(given: Given, image: str, args: Sequence[str], *, env: Sequence[str], networks: Sequence[Spec]) -> Spec:
    """Return a service's spec.

    given: option values by parameter name; None or () is not given.  env: variables, files read.
    networks: attachments with ids.  Secrets and configs are added by the caller, who knows their ids.
    """
    task = {
        "ContainerSpec": _container(given, image, args, env),
        "Resources": {
            "Limits": limits(given),
            "Reservations": {
                **reservations(given),
                **filled({"GenericResources": generic_resources(given["generic_resource"])}),
            },
            **swap(given),
        },
        "LogDriver": log_driver(given),
        "RestartPolicy": changed_from(RESTART_DEFAULTS, RESTART_FIELDS, given),
        "Placement": filled(
            {
                "Constraints": list(given["constraint"]),
                "Preferences": list(given["placement_pref"]),
                "MaxReplicas": given["replicas_max_per_node"] or None,
            }
        ),
        "Networks": sorted(networks, key=lambda network: str(network["Target"])),
    }
    mode = _mode(given)
    changes = filled({"UpdateConfig": exchange("update", given), "RollbackConfig": exchange("rollback", given)})
    if changes and mode.keys() & JOBS:
        raise CommandError("update and rollback configuration is not supported for jobs")
    return {
        **filled({"Name": given["name"]}),
        "Labels": pairs(given["label"]),
        "TaskTemplate": {**filled(task, keep=("Resources", "Placement")), "ForceUpdate": 0},
        "Mode": mode,
        **changes,
        "EndpointSpec": filled({"Mode": (given["endpoint_mode"] or "vip").lower(), "Ports": flat(given["publish"])}),
    }


def _container(given: Given, image: str, args: Sequence[str], env: Sequence[str]) -> Spec:
    added, dropped = capabilities(given["cap_add"], given["cap_drop"])
    dns = {
        "Nameservers": list(given["dns"]),
        "Search": list(given["dns_search"]),
        "Options": list(given["dns_option"]),
    }
    found = {
        "Image": tagged(image),
        "Labels": pairs(given["container_label"]),
        "Command": given["entrypoint"],
        "Args": list(args),
        "Hostname": given["hostname"],
        "Env": list(env),
        "Dir": given["workdir"],
        "User": given["user"],
        "Groups": list(given["group"]),
        "StopSignal": given["stop_signal"],
        "TTY": given["tty"],
        "ReadOnly": given["read_only"],
        "Mounts": list(given["mount"]),
        "StopGracePeriod": given["stop_grace_period"],
        "Healthcheck": new_healthcheck(given),
        "Hosts": [swarm_host(text) for text in given["host"]],
        "Sysctls": pairs(given["sysctl"]),
        "Isolation": given["isolation"],
        "OomScoreAdj": given["oom_score_adj"],
        "CapabilityAdd": added,
        "CapabilityDrop": dropped,
        "Ulimits": sorted(
            {limit["Name"]: limit for limit in given["ulimit"]}.values(), key=lambda limit: str(limit["Name"])
        ),
    }
    return {**filled(found), "Init": bool(given["init"]), "DNSConfig": filled(dns)}


def _mode(given: Given) -> Spec:
    replicas, at_a_time, mode = given["replicas"], given["max_concurrent"], given["mode"]
    if mode in ("global", "global-job") and replicas is not None:
        raise CommandError("replicas can only be used with replicated or replicated-job mode")
    if mode in ("global", "global-job") and given["replicas_max_per_node"]:
        raise CommandError("replicas-max-per-node can only be used with replicated or replicated-job mode")
    if mode in ("global", "global-job", "replicated") and at_a_time is not None:
        raise CommandError("max-concurrent can only be used with replicated-job mode")
    match mode:
        case "replicated":
            return {"Replicated": filled({"Replicas": replicas})}
        case "replicated-job":
            at_a_time = replicas if at_a_time is None else at_a_time
            return {"ReplicatedJob": filled({"MaxConcurrent": at_a_time, "TotalCompletions": replicas})}
        case "global":
            return {"Global": {}}
        case "global-job":
            return {"GlobalJob": {}}
        case other:
            raise CommandError(f"unknown mode: {other}, only replicated and global supported")


def swap(given: Given) -> Spec:
    """Return what was said of swap."""
    return filled({"SwapBytes": given["memory_swap"], "MemorySwappiness": given["memory_swappiness"]})


def log_driver(given: Given) -> Spec | None:
    """Return the log driver with its options; None if none was named."""
    if not given["log_driver"]:
        return None
    return {"Name": given["log_driver"], "Options": pairs(given["log_opt"])}


def limits(given: Given) -> Spec:
    """Return the limits that were given."""
    return filled({"NanoCPUs": given["limit_cpu"], "MemoryBytes": given["limit_memory"], "Pids": given["limit_pids"]})


def reservations(given: Given) -> Spec:
    """Return the reservations that were given."""
    return filled({"NanoCPUs": given["reserve_cpu"], "MemoryBytes": given["reserve_memory"]})


def exchange(prefix: str, given: Given) -> Spec | None:
    """Return the update or rollback settings; None if no option of that prefix was given."""
    fields = {f"{prefix}_{name}": field for name, field in EXCHANGE_FIELDS.items()}
    return changed_from(EXCHANGE_DEFAULTS, fields, given)


def changed_from(defaults: Spec, fields: Mapping[str, str], given: Given) -> Spec | None:
    """Return defaults with what was given; None if nothing was."""
    changes = {field: given[name] for name, field in fields.items() if given[name] is not None}
    return {**defaults, **changes} if changes else None


def filled(fields: Spec, keep: Sequence[str] = ()) -> Spec:
    """Leave out what is None, empty or false; 0 is kept, since somebody asked for it.  `keep`: fields that stay."""
    return {
        name: value
        for name, value in fields.items()
        if name in keep or not (value is None or value is False or value in ("", [], {}, ()))
    }
