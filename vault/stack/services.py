"""A service of a stack file: its checked YAML mapping in, a `Service` out.

Pure, but for env files, which the caller's `read_file` reads.  Called by `vault.stack.load`.
"""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from vault.stack import document as doc
from vault.stack import values
from vault.stack.env_file import parse_env_file
from vault.stack.errors import NotLoaded
from vault.stack.forms import PublishedPort, parse_port
from vault.stack.mounts import parse_volume
from vault.stack.security_opt import with_profile_in
from vault.stack.values import fields

MAX_PORTS = 65_536  # Of one service; ranges unfold.


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What reading a file needs beside the file."""

    directory: str  # Relative paths start here.
    env: Mapping[str, str]
    read_file: Callable[[str], bytes]
    minor: int
    notices: list[str]  # Sentences for the user; added to.

    def path(self, name: str) -> str:
        """Return a file's absolute path."""
        return posixpath.normpath(posixpath.join(self.directory, name)) if not name.startswith("/") else name


def load_service(name: str, value: Mapping[str, Any], context: Context) -> doc.Service:
    """Return the service that a checked mapping describes.

    Raises `NotLoaded` for a value that cannot be read, and what `read_file` raises.
    """
    where = f"services.{name}"
    read = fields(value, _SERVICE, where)
    for key, reader in _PARTS.items():
        if value.get(key) is not None:
            read[key] = reader(value[key], f"{where}.{key}")
    if "ports" in value:
        read["ports"] = _ports(value["ports"], f"{where}.ports", context)
    service = doc.Service(name=name, extensions=values.extensions(value), **read)
    return replace(
        service,
        environment=_environment(service, context),
        volumes=tuple(_resolved(volume, context, where) for volume in service.volumes),
        security_opt=tuple(with_profile_in(option, context.path) for option in service.security_opt),
    )


def _environment(service: doc.Service, context: Context) -> dict[str, str | None]:
    """Return the env files' variables under the service's own; those without a value come from the caller."""
    merged: dict[str, str | None] = {}
    for file in service.env_file:
        path = context.path(file)
        merged.update(parse_env_file(path, context.read_file(path), context.env))
    merged.update(service.environment)
    # Docker's client lets the caller's environment win over an empty value, too.
    return {key: value or context.env.get(key, value) for key, value in merged.items()}


def _resolved(volume: doc.ServiceVolume, context: Context, where: str) -> doc.ServiceVolume:
    """Return a mount with the host's path made absolute."""
    if volume.type != "bind":
        return volume
    if not volume.source:
        raise NotLoaded('invalid mount config for type "bind": field Source must not be empty')
    source = volume.source
    if source.startswith("~"):
        home = context.env.get("HOME")
        if home is None:
            raise NotLoaded(f"{where}.volumes: cannot expand {source}: HOME is not set")
        source = home + source[1:]
    return replace(volume, source=context.path(source))


def _ports(entries: list[Any], where: str, context: Context) -> tuple[doc.Port, ...]:
    ports: list[doc.Port] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, dict):
            ports.append(doc.Port(**fields(entry, _PORT, f"{where}.{index}")))
            continue
        if isinstance(entry, float):
            raise NotLoaded(f"{where}.{index}: {entry} is not a port: put it in quotes")
        for port in _unfolded(values.text(entry), f"{where}.{index}"):
            if port.ip.strip("0:."):
                context.notices.append(
                    f"ignoring IP-address ({values.text(entry)}/{port.protocol}) service will listen on '0.0.0.0'"
                )
            ports.append(doc.Port(mode="ingress", target=port.target, published=port.published, protocol=port.protocol))
        if len(ports) > MAX_PORTS:
            raise NotLoaded(f"{where}: more than {MAX_PORTS} ports")
    return tuple(ports)


def _unfolded(text: str, where: str) -> tuple[PublishedPort, ...]:
    try:
        return parse_port(text)
    except ValueError as error:
        raise NotLoaded(f"{where}: {error}") from None


def _file_references(entries: list[Any], where: str) -> tuple[doc.FileReference, ...]:
    return tuple(
        doc.FileReference(**fields(entry, _FILE_REFERENCE, f"{where}.{index}"))
        if isinstance(entry, dict)
        else doc.FileReference(source=values.text(entry))
        for index, entry in enumerate(entries)
    )


def _volumes(entries: list[Any], where: str) -> tuple[doc.ServiceVolume, ...]:
    return tuple(_volume(entry, f"{where}.{index}") for index, entry in enumerate(entries))


def _volume(entry: Any, where: str) -> doc.ServiceVolume:
    if isinstance(entry, str):
        try:
            return parse_volume(entry)
        except ValueError as error:
            raise NotLoaded(f"{where}: {error}") from None
    read = fields(entry, _SERVICE_VOLUME, where)
    if "bind" in entry:
        read["bind"] = doc.BindOptions(**fields(entry["bind"], {"propagation": values.text}, f"{where}.bind"))
    if "volume" in entry:
        read["volume"] = doc.VolumeOptions(**fields(entry["volume"], _VOLUME_OPTIONS, f"{where}.volume"))
    if "tmpfs" in entry:
        read["tmpfs"] = doc.TmpfsOptions(**fields(entry["tmpfs"], {"size": values.count}, f"{where}.tmpfs"))
    return doc.ServiceVolume(**read)


def _networks(value: Any, where: str) -> dict[str, doc.ServiceNetwork | None]:
    if isinstance(value, list):
        return dict.fromkeys((values.text(name) for name in value), None)
    return {
        name: None if item is None else doc.ServiceNetwork(**fields(item, _SERVICE_NETWORK, f"{where}.{name}"))
        for name, item in value.items()
    }


def _ulimits(value: Mapping[str, Any], where: str) -> dict[str, doc.Ulimit]:
    return {
        name: doc.Ulimit(**fields(item, {"soft": values.whole, "hard": values.whole}, f"{where}.{name}"))
        if isinstance(item, dict)
        else doc.Ulimit(single=fields({name: item}, {name: values.whole}, where)[name])
        for name, item in value.items()
    }


def _healthcheck(value: Mapping[str, Any], where: str) -> doc.Healthcheck:
    return doc.Healthcheck(**fields(value, _HEALTHCHECK, where))


def _test(value: Any) -> tuple[str, ...]:
    return ("CMD-SHELL", values.text(value)) if isinstance(value, str) else values.strings(value)


def _logging(value: Mapping[str, Any], where: str) -> doc.Logging:
    return doc.Logging(**fields(value, {"driver": values.text, "options": values.pairs}, where))


def _credential_spec(value: Mapping[str, Any], where: str) -> doc.CredentialSpec:
    return doc.CredentialSpec(**fields(value, dict.fromkeys(("config", "file", "registry"), values.text), where))


def _build(value: Any, where: str) -> dict[str, Any]:
    return {"context": values.text(value)} if isinstance(value, str) else dict(value)


def _depends_on(value: Any, where: str) -> tuple[doc.Dependency, ...]:
    if isinstance(value, list):
        return tuple(doc.Dependency(service=values.text(name)) for name in value)
    for name, item in value.items():
        if values.boolean(item.get("restart", False)):
            raise NotLoaded(
                f"{where}.{name}.restart: tasks are not started again because a service that they waited for was: "
                "leave it out"
            )
    return tuple(
        doc.Dependency(service=name, **fields(item, _DEPENDENCY, f"{where}.{name}")) for name, item in value.items()
    )


def _deploy(value: Mapping[str, Any], where: str) -> doc.Deploy:
    read = fields(value, _DEPLOY, where)
    for key in ("update_config", "rollback_config"):
        if key in value:
            read[key] = doc.ChangeConfig(**fields(value[key], _CHANGE, f"{where}.{key}"))
    if "restart_policy" in value:
        read["restart_policy"] = doc.RestartPolicy(
            **fields(value["restart_policy"], _RESTART, f"{where}.restart_policy")
        )
    if "placement" in value:
        read["placement"] = doc.Placement(**fields(value["placement"], _PLACEMENT, f"{where}.placement"))
    if "resources" in value:
        read["resources"] = _resources(value["resources"], f"{where}.resources")
    return doc.Deploy(**read)


def _resources(value: Mapping[str, Any], where: str) -> doc.Resources:
    limits, reservations = value.get("limits"), value.get("reservations")
    return doc.Resources(
        limits=None if limits is None else doc.Limits(**fields(limits, _LIMITS, f"{where}.limits")),
        reservations=None
        if reservations is None
        else doc.Reservations(**fields(reservations, _RESERVATIONS, f"{where}.reservations")),
    )


def _preferences(value: list[Any]) -> tuple[doc.Preference, ...]:
    return tuple(doc.Preference(spread=values.text(item.get("spread"))) for item in value)


def _generic_resources(value: list[Any]) -> tuple[doc.GenericResource, ...]:
    specs = [item.get("discrete_resource_spec", {}) for item in value]
    return tuple(
        doc.GenericResource(kind=values.text(spec.get("kind")), value=values.whole(spec.get("value", 0)))
        for spec in specs
    )


def _extra_hosts(value: Any) -> tuple[str, ...]:
    """Return `host:address` lines; entries may use `=`, addresses brackets; an entry with neither is dropped."""
    if isinstance(value, dict):
        cut = sorted((host, values.text(address)) for host, address in value.items() if address is not None)
    else:
        texts = (values.text(item) for item in value)
        cut = [_cut(text, "=" if "=" in text else ":") for text in texts if "=" in text or ":" in text]
    return tuple(f"{host}:{_without_brackets(address)}" for host, address in cut)


def _cut(text: str, separator: str) -> tuple[str, str]:
    before, _, after = text.partition(separator)
    return before, after


def _without_brackets(address: str) -> str:
    return address[1:-1] if len(address) > 2 and address[0] == "[" and address[-1] == "]" else address


_DEPENDENCY = {"condition": values.text, "required": values.boolean}
_MODE = values.at_most(0o777_7777)
_FILE_REFERENCE = {**dict.fromkeys(("source", "target", "uid", "gid"), values.text), "mode": _MODE}
_PORT = {
    "mode": values.text,
    "target": values.at_most(2**32 - 1),
    "published": values.at_most(2**32 - 1),
    "protocol": values.text,
}
_SERVICE_VOLUME = {
    **dict.fromkeys(("type", "source", "target", "consistency"), values.text),
    "read_only": values.boolean,
}
_VOLUME_OPTIONS = {"nocopy": values.boolean, "subpath": values.text}
_SERVICE_NETWORK = {
    "aliases": values.strings,
    "driver_opts": values.pairs,
    "ipv4_address": values.text,
    "ipv6_address": values.text,
}
_HEALTHCHECK = {
    "test": _test,
    "retries": values.count,
    "disable": values.boolean,
    **dict.fromkeys(("timeout", "interval", "start_period", "start_interval"), values.duration),
}
_CHANGE = {
    "parallelism": values.count,
    "delay": values.duration,
    "failure_action": values.text,
    "monitor": values.duration,
    "max_failure_ratio": values.ratio,
    "order": values.text,
}
_RESTART = {
    "condition": values.text,
    "delay": values.duration,
    "max_attempts": values.count,
    "window": values.duration,
}
_PLACEMENT = {
    "constraints": values.strings,
    "preferences": _preferences,
    "max_replicas_per_node": values.count,
}
_LIMITS = {"cpus": values.text, "memory": values.size, "pids": values.whole}
_RESERVATIONS = {"cpus": values.text, "memory": values.size, "generic_resources": _generic_resources}
_DEPLOY = {"mode": values.text, "replicas": values.count, "labels": values.pairs, "endpoint_mode": values.text}
_SERVICE: dict[str, values.Reader] = {
    **dict.fromkeys(
        (
            *(
                "cgroupns_mode",
                "cgroup_parent",
                "container_name",
                "domainname",
                "hostname",
                "image",
                "ipc",
                "isolation",
            ),
            *("mac_address", "network_mode", "pid", "restart", "shm_size", "stop_signal", "user", "userns_mode"),
            "working_dir",
        ),
        values.text,
    ),
    **dict.fromkeys(
        (
            *("cap_add", "cap_drop", "devices", "dns", "dns_search", "env_file", "expose"),
            *("external_links", "links", "security_opt", "tmpfs"),
        ),
        values.strings,
    ),
    **dict.fromkeys(("init", "privileged", "read_only", "stdin_open", "tty"), values.boolean),
    **dict.fromkeys(("command", "entrypoint"), values.words),
    **dict.fromkeys(("labels", "sysctls"), values.pairs),
    "environment": values.pairs_or_none,
    "extra_hosts": _extra_hosts,
    "oom_score_adj": values.whole,
    "stop_grace_period": values.duration,
}
_PARTS: dict[str, Callable[[Any, str], Any]] = {
    "build": _build,
    "configs": _file_references,
    "secrets": _file_references,
    "credential_spec": _credential_spec,
    "depends_on": _depends_on,
    "deploy": _deploy,
    "healthcheck": _healthcheck,
    "logging": _logging,
    "networks": _networks,
    "ulimits": _ulimits,
    "volumes": _volumes,
}
