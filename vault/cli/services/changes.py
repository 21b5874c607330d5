"""How `service update` changes a spec.  Pure: the spec as the daemon gave it and the options in, a new spec out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from vault.cli.errors import CommandError
from vault.cli.services.spec import (
    EXCHANGE_DEFAULTS,
    EXCHANGE_FIELDS,
    JOBS,
    RESTART_DEFAULTS,
    RESTART_FIELDS,
    filled,
    limits,
    log_driver,
    reservations,
    swap,
)
from vault.cli.values.container import changed_capabilities, swarm_host, tagged
from vault.cli.values.health import changed_healthcheck
from vault.cli.values.placement import changed_generic_resources, changed_preferences
from vault.cli.values.ports import Port, flat
from vault.cli.values.scalars import pairs

Spec = dict[str, Any]
Given = Mapping[str, Any]
_PLAIN = {
    "args": "Args",
    "entrypoint": "Command",
    "hostname": "Hostname",
    "init": "Init",
    "isolation": "Isolation",
    "oom_score_adj": "OomScoreAdj",
    "read_only": "ReadOnly",
    "stop_grace_period": "StopGracePeriod",
    "stop_signal": "StopSignal",
    "tty": "TTY",
    "user": "User",
    "workdir": "Dir",
}


def changed_spec(before: Mapping[str, Any], given: Given, *, environ_add: Sequence[str]) -> Spec:
    """Return the spec with what was given changed; everything else stays as it is.

    environ_add: variables of `--env-add` with their values.  Secrets, configs and networks are the caller's part.
    """
    spec = deepcopy(dict(before))
    task = spec.setdefault("TaskTemplate", {})
    container = task.setdefault("ContainerSpec", {})
    _labels(spec, "Labels", given, "label")
    _labels(container, "Labels", given, "container_label")
    _labels(container, "Sysctls", given, "sysctl")
    _container(container, given)
    _environment(container, given, environ_add)
    _lists(container, given)
    _task(task, given)
    _replicas(spec, given)
    for prefix, field in (("update", "UpdateConfig"), ("rollback", "RollbackConfig")):
        fields = {f"{prefix}_{name}": to for name, to in EXCHANGE_FIELDS.items()}
        if (spec.get("Mode") or {}).keys() & JOBS and any(given[name] is not None for name in fields):
            raise CommandError("update and rollback configuration is not supported for jobs")
        _merge(spec, field, EXCHANGE_DEFAULTS, fields, given)
    _endpoint(spec, given)
    return spec


def _labels(owner: Spec, field: str, given: Given, option: str) -> None:
    removed, added = given[f"{option}_rm"], given[f"{option}_add"]
    if removed or added:
        gone = pairs(removed)
        kept = {name: value for name, value in (owner.get(field) or {}).items() if name not in gone}
        owner[field] = {**kept, **pairs(added)}


def _container(container: Spec, given: Given) -> None:
    for name, field in _PLAIN.items():
        if given[name] is not None:
            container[field] = given[name]
    if (check := changed_healthcheck(container.get("Healthcheck"), given)) is not None:
        container["Healthcheck"] = check
    if given["image"] is not None:
        container["Image"] = tagged(given["image"])
    if given["cap_add"] or given["cap_drop"]:
        container["CapabilityAdd"], container["CapabilityDrop"] = changed_capabilities(
            container.get("CapabilityAdd") or (),
            container.get("CapabilityDrop") or (),
            given["cap_add"],
            given["cap_drop"],
        )


def _environment(container: Spec, given: Given, added: Sequence[str]) -> None:
    if not given["env_rm"] and not added:
        return
    gone = set(given["env_rm"])
    kept = [text for text in container.get("Env") or () if _key(text) not in gone]
    # A changed variable keeps its place, so that the same change asked for twice changes nothing.
    new = {_key(text): text for text in added}
    container["Env"] = [new.pop(_key(text), text) for text in kept] + list(new.values())


def _key(text: str) -> str:
    return text.partition("=")[0]


def _lists(container: Spec, given: Given) -> None:
    if given["group_add"] or given["group_rm"]:
        container["Groups"] = _changed_list(container.get("Groups"), given["group_add"], given["group_rm"])
    if given["mount_add"] or given["mount_rm"]:
        container["Mounts"] = changed_mounts(container.get("Mounts") or (), given["mount_add"], given["mount_rm"])
    if given["host_add"] or given["host_rm"]:
        container["Hosts"] = changed_hosts(container.get("Hosts") or (), given["host_add"], given["host_rm"])
    if given["ulimit_add"] or given["ulimit_rm"]:
        kept = {
            limit["Name"]: limit for limit in container.get("Ulimits") or () if limit["Name"] not in given["ulimit_rm"]
        }
        kept |= {limit["Name"]: limit for limit in given["ulimit_add"]}
        container["Ulimits"] = [kept[name] for name in sorted(kept)]
    for option, field in (("dns", "Nameservers"), ("dns_search", "Search"), ("dns_option", "Options")):
        added, removed = given[f"{option}_add"], given[f"{option}_rm"]
        if added or removed:
            dns = container["DNSConfig"] = dict(container.get("DNSConfig") or {})
            dns[field] = _changed_list(dns.get(field), added, removed)


def _changed_list(present: Iterable[str] | None, added: Iterable[str], removed: Iterable[str]) -> list[str]:
    return sorted({*(present or ()), *added} - set(removed))


def changed_mounts(present: Iterable[Spec], added: Sequence[Spec], removed: Sequence[str]) -> list[Spec]:
    """Return mounts by source and target; an added one replaces what was mounted at its target."""
    new = {mount["Target"]: mount for mount in added}
    if len(new) != len(added):
        raise CommandError("duplicate mount target")
    merged = {**{mount["Target"]: mount for mount in present}, **new}
    kept = [mount for target, mount in merged.items() if target not in removed]
    return sorted(kept, key=lambda mount: (mount.get("Source", ""), mount["Target"]))


def changed_hosts(present: Iterable[str], added: Iterable[str], removed: Iterable[str]) -> list[str]:
    """Return `ip name …` lines.  `name:ip` and `name` remove a name from the lines of that address, or from all."""
    gone = [(name, address) for name, _, address in (text.partition(":") for text in removed)]
    lines: list[str] = []
    for line in present:
        address, *names = line.split() or [""]
        kept = [name for name in names if not any(name == n and a in ("", address) for n, a in gone)]
        if kept:
            lines.append(" ".join([address, *kept]))
    return list(dict.fromkeys([*lines, *(swarm_host(text) for text in added)]))


def _task(task: Spec, given: Given) -> None:
    for field, parts in (("Limits", limits(given)), ("Reservations", reservations(given))):
        # 0 takes a limit away.
        wanted = {**parts, **{name: 0 for name, value in parts.items() if value == 0}}
        if wanted:
            resources = task["Resources"] = dict(task.get("Resources") or {})
            resources[field] = {**(resources.get(field) or {}), **wanted}
    if given["generic_resource_add"] or given["generic_resource_rm"]:
        resources = task["Resources"] = dict(task.get("Resources") or {})
        reserved = resources["Reservations"] = dict(resources.get("Reservations") or {})
        reserved["GenericResources"] = changed_generic_resources(
            reserved.get("GenericResources") or (), given["generic_resource_add"], given["generic_resource_rm"]
        )
    if changed := swap(given):
        task["Resources"] = {**(task.get("Resources") or {}), **changed}
    if (driver := log_driver(given)) is not None:  # With all its options: those it had go.
        task["LogDriver"] = driver
    _merge(task, "RestartPolicy", RESTART_DEFAULTS, RESTART_FIELDS, given)
    _placement(task, given)
    if given["force"]:
        task["ForceUpdate"] = task.get("ForceUpdate", 0) + 1


def _placement(task: Spec, given: Given) -> None:
    changes: Spec = {}
    present = task.get("Placement") or {}
    if given["constraint_add"] or given["constraint_rm"]:
        changes["Constraints"] = _changed_list(
            present.get("Constraints"), given["constraint_add"], given["constraint_rm"]
        )
    if given["placement_pref_add"] or given["placement_pref_rm"]:
        changes["Preferences"] = changed_preferences(
            present.get("Preferences") or (), given["placement_pref_add"], given["placement_pref_rm"]
        )
    if given["replicas_max_per_node"] is not None:
        changes["MaxReplicas"] = given["replicas_max_per_node"]
    if changes:
        task["Placement"] = {**present, **changes}


def _merge(owner: Spec, field: str, defaults: Spec, fields: Mapping[str, str], given: Given) -> None:
    changes = {to: given[name] for name, to in fields.items() if given[name] is not None}
    if changes:
        owner[field] = {**(owner.get(field) or defaults), **changes}


def _replicas(spec: Spec, given: Given) -> None:
    replicas, at_a_time = given["replicas"], given["max_concurrent"]
    if replicas is None and at_a_time is None:
        return
    mode = spec.get("Mode") or {}
    job = mode.get("ReplicatedJob")
    if job is not None:
        numbers = {"MaxConcurrent": at_a_time, "TotalCompletions": replicas}
        spec["Mode"] = {"ReplicatedJob": {**job, **filled(numbers)}}
        return
    if at_a_time is not None:
        raise CommandError("max-concurrent can only be used with replicated-job mode")
    if mode and mode.get("Replicated") is None:
        raise CommandError("replicas can only be used with replicated or replicated-job mode")
    spec["Mode"] = {"Replicated": {"Replicas": replicas}}


def _endpoint(spec: Spec, given: Given) -> None:
    if given["endpoint_mode"] is not None:
        spec["EndpointSpec"] = {**(spec.get("EndpointSpec") or {}), "Mode": given["endpoint_mode"]}
    added, removed = flat(given["publish_add"]), flat(given["publish_rm"])
    if added or removed:
        endpoint = spec["EndpointSpec"] = dict(spec.get("EndpointSpec") or {})
        endpoint["Ports"] = changed_ports(endpoint.get("Ports") or (), added, removed)


def changed_ports(present: Iterable[Port], added: Iterable[Port], removed: Sequence[Port]) -> list[Port]:
    """Return ports; a port is removed by its target port, protocol and mode."""

    def same(port: Port, other: Port) -> bool:
        return _port_key(port)[1:] == _port_key(other)[1:]

    kept = [port for port in present if not any(same(port, other) for other in removed)]
    known = {_port_key(port) for port in kept}
    new = [port for port in added if _port_key(port) not in known]
    return sorted([*kept, *new], key=lambda port: tuple(map(str, _port_key(port))))


def _port_key(port: Port) -> tuple[Any, ...]:
    return (
        port.get("PublishedPort", 0),
        port["TargetPort"],
        port.get("Protocol") or "tcp",
        port.get("PublishMode") or "ingress",
    )


def changed_networks(
    present: Iterable[Spec], added: Iterable[Spec], removed: Iterable[str], find: Callable[[str], str]
) -> list[Spec]:
    """Return attachments by id.  find: name or id -> id.  Raises `CommandError` for a network attached twice."""
    gone = {find(reference) for reference in removed}
    kept = {network["Target"]: network for network in present if network["Target"] not in gone}
    for attachment in added:
        identifier = find(attachment["Target"])
        if identifier in kept:
            raise CommandError(f"service is already attached to network {attachment['Target']}")
        kept[identifier] = {**attachment, "Target": identifier}
    return [kept[identifier] for identifier in sorted(kept)]
