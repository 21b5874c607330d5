"""Rows of `service ls` and `stack services`.  Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from vault.cli.human import short_id
from vault.cli.table import natural_key

HEADERS = {
    "ID": "ID",
    "Name": "NAME",
    "Mode": "MODE",
    "Replicas": "REPLICAS",
    "Image": "IMAGE",
    "Ports": "PORTS",
}
COLUMNS = ("ID", "Name", "Mode", "Replicas", "Image", "Ports")
MODES = {"Global": "global", "Replicated": "replicated", "ReplicatedJob": "replicated job", "GlobalJob": "global job"}


def service_rows(found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows by name."""
    return [_row(item) for item in sorted(found, key=lambda item: natural_key(item["Spec"]["Name"]))]


def _row(item: Mapping[str, Any]) -> dict[str, Any]:
    spec = item["Spec"]
    return {
        "ID": short_id(item["ID"]),
        "Name": spec["Name"],
        "Mode": mode_name(spec),
        "Replicas": replicas_text(item),
        "Image": without_digest((spec["TaskTemplate"].get("ContainerSpec") or {}).get("Image", "")),
        "Ports": ports_text((item.get("Endpoint") or {}).get("Ports") or ()),
        "_labels": spec.get("Labels"),
    }


def mode_name(spec: Mapping[str, Any]) -> str:
    """Return the mode in words: `replicated`, `global job`."""
    mode = spec.get("Mode") or {}
    return next((name for field, name in MODES.items() if mode.get(field) is not None), "replicated")


def replicas_text(item: Mapping[str, Any]) -> str:
    """Return `2/3`: running of desired; of a job also how many of all have completed: `1/2 (3/5 completed)`."""
    status, mode = item.get("ServiceStatus") or {}, item["Spec"].get("Mode") or {}
    desired, completed = status.get("DesiredTasks", 0), status.get("CompletedTasks", 0)
    text = f"{status.get('RunningTasks', 0)}/{desired}"
    if (job := mode.get("ReplicatedJob")) is not None:
        return f"{text} ({completed}/{job.get('TotalCompletions', 0)} completed)"
    if mode.get("GlobalJob") is not None:
        return f"{text} ({completed}/{desired + completed} completed)"
    most = (item["Spec"]["TaskTemplate"].get("Placement") or {}).get("MaxReplicas", 0)
    return f"{text} (max {most} per node)" if most and mode_name(item["Spec"]) == "replicated" else text


def without_digest(image: str) -> str:
    """Return an image as lists show it: the digest goes if there is a tag, and Docker Hub's own prefix goes."""
    name, _, digest = image.partition("@")
    shown = name if digest and ":" in name.rpartition("/")[2] else image
    return shown.removeprefix("docker.io/").removeprefix("library/")


def ports_text(ports: Iterable[Mapping[str, Any]]) -> str:
    """Return ingress ports, neighbours joined: `*:80-81->80-81/tcp`."""
    chosen = sorted(
        (port.get("Protocol", "tcp"), port.get("PublishedPort", 0), port["TargetPort"])
        for port in ports
        if port.get("PublishMode", "ingress") == "ingress"
    )
    ranges: list[list[Any]] = []  # protocol, first and last published, first and last target
    for protocol, published, target in chosen:
        last = ranges[-1] if ranges else None
        if last and last[0] == protocol and published - last[2] == 1 and _follows(last, target):
            last[2], last[4] = published, target
        else:
            ranges.append([protocol, published, published, target, target])
    return ", ".join(f"*:{_span(r[1], r[2])}->{_span(r[3], r[4])}/{r[0]}" for r in ranges if r[1])


def _follows(last: list[Any], target: int) -> bool:
    # Many ports to one, or each to the next; never both in one range.
    is_range, count = last[4] != last[3], last[2] - last[1] + 1
    if target == last[4]:
        return not is_range
    return bool(target - last[4] == 1 and (is_range or count == 1))


def _span(first: int, last: int) -> str:
    return f"{first}-{last}" if last > first else str(first)
