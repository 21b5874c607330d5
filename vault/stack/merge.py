"""Several stack files as one: what a later file says goes over what an earlier one said.

Pure; called by `vault.stack.load`.  Docker's rules: mappings merge key by key, lists are appended, a value that is
zero, false or empty changes nothing; ports merge by published port, secrets and configs by source, volumes by target,
`depends_on` by service;
command and entrypoint are replaced whole, `replicas: 0` counts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from vault.stack import document as doc

PartT = TypeVar("PartT", bound=doc.Part)


def merge(documents: Sequence[doc.Document]) -> doc.Document:
    """Return the documents' sum, in order; there is at least one."""
    merged = documents[0]
    for later in documents[1:]:
        services = dict(merged.services)
        for name, service in later.services.items():
            services[name] = _over(services[name], service) if name in services else service
        merged = replace(
            merged,
            services=services,
            networks={**merged.networks, **later.networks},
            volumes={**merged.volumes, **later.volumes},
            secrets={**merged.secrets, **later.secrets},
            configs={**merged.configs, **later.configs},
        )
    return merged


def _over(base: PartT, later: PartT) -> PartT:
    """Return `base` with what `later` says, field by field."""
    changed: dict[str, Any] = {}
    for name in base.__struct_fields__:
        rule = _RULES.get(name, _value)
        changed[name] = rule(getattr(base, name), getattr(later, name))
    return replace(base, **changed)


def _value(old: Any, new: Any) -> Any:
    """Return the general rule's result: nothing said changes nothing."""
    if old is None:
        return new
    if new is None or new == "" or new is False:
        return old
    if isinstance(new, doc.Part):
        return _over(old, new)
    if isinstance(new, Mapping):
        return {**old, **new}
    if isinstance(new, tuple):
        return (*old, *new)
    return new or old


def _given(old: Any, new: Any) -> Any:
    """Return the newer of two values, where None means not given."""
    return old if new is None else new


def _whole(old: Sequence[str], new: Sequence[str]) -> Sequence[str]:
    return new or old


def _keyed(key: Callable[[Any], int | str]) -> Callable[[Any, Any], Any]:
    """Return a rule for lists whose items are told apart by `key`; the result is sorted by it."""

    def rule(old: Sequence[Any], new: Sequence[Any]) -> tuple[Any, ...]:
        items = {key(item): item for item in (*old, *new)}
        return tuple(sorted(items.values(), key=key)) if old or new else ()

    return rule


def _depends_on(old: Sequence[doc.Dependency], new: Sequence[doc.Dependency]) -> tuple[doc.Dependency, ...]:
    """Return what a service waits for: each other service once, as the later file says, in the order of mention."""
    return tuple({one.service: one for one in (*old, *new)}.values())


def _networks(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return a service's networks; the later file's aliases replace those of the earlier."""
    merged = dict(old)
    for name, attachment in new.items():
        earlier = old.get(name)
        if attachment is None or earlier is None:
            merged[name] = attachment or earlier
            continue
        merged[name] = replace(
            earlier,
            aliases=attachment.aliases,
            driver_opts=attachment.driver_opts or earlier.driver_opts,
            ipv4_address=attachment.ipv4_address or earlier.ipv4_address,
            ipv6_address=attachment.ipv6_address or earlier.ipv6_address,
        )
    return merged


def _logging(old: doc.Logging | None, new: doc.Logging | None) -> doc.Logging | None:
    """Return a service's logging; options merge while the driver is the same."""
    if new is None or old is None:
        return new or old
    if new.driver and old.driver and new.driver != old.driver:
        return new
    return doc.Logging(driver=new.driver or old.driver, options={**old.options, **new.options})


_RULES: dict[str, Callable[[Any, Any], Any]] = {
    "command": _whole,
    "entrypoint": _whole,
    "ports": _keyed(lambda port: port.published),
    "secrets": _keyed(lambda reference: reference.source),
    "configs": _keyed(lambda reference: reference.source),
    "volumes": _keyed(lambda volume: volume.target),
    "depends_on": _depends_on,
    "networks": _networks,
    "logging": _logging,
    **dict.fromkeys(("replicas", "parallelism", "max_attempts", "retries"), _given),
}
