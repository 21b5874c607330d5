"""`service inspect --pretty`.  Pure, but for the function that finds the name of a network."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vault.cli import human
from vault.cli.shared_options import now_s
from vault.cli.values.placement import preference_text
from vault.model.durations import go_duration

Part = Mapping[str, Any]


def pretty_service(item: Part, network_name: Callable[[str], str]) -> str:
    """Return a service in Docker's human form."""
    spec = item["Spec"]
    task = spec["TaskTemplate"]
    lines = ["", f"ID:\t\t{item['ID']}", f"Name:\t\t{spec['Name']}"]
    if spec.get("Labels"):
        lines += ["Labels:", *(f" {_pair(pair, '=')}" for pair in sorted(spec["Labels"].items()))]
    lines += _mode(spec.get("Mode") or {})
    lines += _job_status(item.get("JobStatus"), now_s())
    lines += _update_status(item.get("UpdateStatus") or {}, now_s())
    lines += _placement(task.get("Placement") or {})
    lines += _exchange("UpdateConfig", "Update", spec.get("UpdateConfig"))
    lines += _exchange("RollbackConfig", "Rollback", spec.get("RollbackConfig"))
    lines += _container(task.get("ContainerSpec") or {})
    lines += _resources(task.get("Resources"))
    if task.get("Networks"):
        lines.append(f"Networks: {' '.join(network_name(network['Target']) for network in task['Networks'])} ")
    endpoint = spec.get("EndpointSpec") or {}
    lines.append(f"Endpoint Mode:\t{endpoint.get('Mode', '')}")
    lines += _ports((item.get("Endpoint") or {}).get("Ports") or endpoint.get("Ports") or ())
    return "\n".join(lines) + "\n"


def _pair(pair: tuple[str, str], between: str) -> str:
    return f"{pair[0]}{between}{pair[1]}" if pair[1] else pair[0]


def _mode(mode: Part) -> list[str]:
    if mode.get("Global") is not None:
        return ["Service Mode:\tGlobal"]
    if mode.get("GlobalJob") is not None:
        return ["Service Mode:\tGlobal Job"]
    if (job := mode.get("ReplicatedJob")) is not None:
        numbers = [f" Max Concurrent:\t{job['MaxConcurrent']}", f" Total Completions:\t{job['TotalCompletions']}"]
        return ["Service Mode:\tReplicated Job", *numbers]
    replicas = (mode.get("Replicated") or {}).get("Replicas")
    return ["Service Mode:\tReplicated", *([f" Replicas:\t{replicas}"] if replicas is not None else [])]


def _job_status(status: Part | None, now: float) -> list[str]:
    if status is None:
        return []
    run, begun = status["JobIteration"].get("Index", 0), human.ago(status["LastExecution"], now)
    return [f" Iteration:\t{run}", f" Last Execution:\t{begun}"]


def _update_status(status: Part, now: float) -> list[str]:
    if not status.get("State"):
        return []
    lines = ["UpdateStatus:", f" State:\t\t{status['State']}"]
    if status.get("StartedAt"):
        lines.append(f" Started:\t{human.ago(status['StartedAt'], now)}")
    if status["State"] == "completed" and status.get("CompletedAt"):
        lines.append(f" Completed:\t{human.ago(status['CompletedAt'], now)}")
    lines.append(f" Message:\t{status.get('Message', '')}")
    if status.get("Reason") not in (None, status.get("Message")):
        lines.append(f" Reason:\t{status['Reason']}")
    return lines


def _placement(placement: Part) -> list[str]:
    lines = ["Placement:"]
    if placement.get("Constraints"):
        lines.append(f" Constraints:\t[{' '.join(placement['Constraints'])}]")
    if placement.get("Preferences"):
        lines.append(f" Preferences:   [{' '.join(map(preference_text, placement['Preferences']))}]")
    if placement.get("MaxReplicas"):
        lines.append(f" Max Replicas Per Node:   {placement['MaxReplicas']}")
    return lines


def _exchange(title: str, noun: str, config: Part | None) -> list[str]:
    if config is None:
        return []
    lines = [f"{title}:", f" Parallelism:\t{config.get('Parallelism', 0)}"]
    if config.get("Delay"):
        lines.append(f" Delay:\t\t{go_duration(config['Delay'])}")
    if config.get("Deadline"):
        lines.append(f" Deadline:\t{go_duration(config['Deadline'])}")
    lines.append(f" On failure:\t{config.get('FailureAction', '')}")
    if config.get("Monitor"):
        lines.append(f" Monitoring Period: {go_duration(config['Monitor'])}")
    lines.append(f" Max failure ratio: {config.get('MaxFailureRatio', 0):g}")
    return [*lines, f" {noun} order:".ljust(20) + str(config.get("Order", ""))]


def _container(container: Part) -> list[str]:
    lines = ["ContainerSpec:", f" Image:\t\t{container.get('Image', '')}"]
    if container.get("Args"):
        lines.append(f" Args:\t\t{' '.join(container['Args'])} ")
    if container.get("Env"):
        lines.append(f" Env:\t\t{' '.join(container['Env'])} ")
    if container.get("Dir"):
        lines.append(f" Dir:\t\t{container['Dir']}")
    if container.get("Init") is not None:
        lines.append(f" Init:\t\t{'true' if container['Init'] else 'false'}")
    if container.get("User"):
        lines.append(f" User: {container['User']}")
    adds, drops = container.get("CapabilityAdd"), container.get("CapabilityDrop")
    if adds or drops:
        lines.append("Capabilities:")
        lines += [f" Add: {', '.join(adds)}"] if adds else []
        lines += [f" Drop: {', '.join(drops)}"] if drops else []
    if container.get("Sysctls"):
        lines += ["SysCtls:", *(f" {_pair(pair, ': ')}" for pair in sorted(container["Sysctls"].items()))]
    if container.get("Ulimits"):
        lines += ["Ulimits:", *(f" {limit['Name']}: {limit['Soft']}:{limit['Hard']}" for limit in container["Ulimits"])]
    if container.get("Mounts"):
        lines += ["Mounts:", *(line for mount in container["Mounts"] for line in _mount(mount))]
    lines += _references("Configs", "Config", container)
    return lines + _references("Secrets", "Secret", container)


def _mount(mount: Part) -> list[str]:
    return [
        f" Target:\t{mount['Target']}",
        f"  Source:\t{mount.get('Source', '')}",
        f"  ReadOnly:\t{'true' if mount.get('ReadOnly') else 'false'}",
        f"  Type:\t\t{mount.get('Type', '')}",
    ]


def _references(title: str, kind: str, container: Part) -> list[str]:
    lines: list[str] = []
    for reference in container.get(title) or ():
        target = (reference.get("File") or {}).get("Name", "")
        lines += [f" Target:\t{target}", f"  Source:\t{reference[f'{kind}Name']}"]
    return [f"{title}:", *lines] if lines else []


def _resources(resources: Part | None) -> list[str]:
    if resources is None:
        return []
    lines = ["Resources:"]
    for title, field in (("Reservations", "Reservations"), ("Limits", "Limits")):
        part = resources.get(field) or {}
        if part.get("NanoCPUs") or part.get("MemoryBytes"):
            lines.append(f" {title}:")
            lines += [f"  CPU:\t\t{part['NanoCPUs'] / 1_000_000_000:g}"] if part.get("NanoCPUs") else []
            lines += [f"  Memory:\t{human.binary_size(part['MemoryBytes'])}"] if part.get("MemoryBytes") else []
    pids = (resources.get("Limits") or {}).get("Pids")
    return [*lines, f"  PIDs:\t\t{pids}"] if pids else lines


def _ports(ports: Iterable[Part]) -> list[str]:
    lines: list[str] = []
    for port in ports:
        lines += [
            f" PublishedPort = {port.get('PublishedPort', 0)}",
            f"  Protocol = {port.get('Protocol', 'tcp')}",
            f"  TargetPort = {port['TargetPort']}",
            f"  PublishMode = {port.get('PublishMode', 'ingress')}",
        ]
    return ["Ports:", *lines] if lines else []
