"""The top-level networks, volumes, secrets and configs of a stack file: checked YAML mappings in, `document` parts out.

Pure; called by `vault.stack.load`.
"""

from collections.abc import Mapping
from typing import Any

from vault.stack import document as doc
from vault.stack import values
from vault.stack.errors import NotLoaded
from vault.stack.services import Context
from vault.stack.values import fields


def load_network(name: str, value: Mapping[str, Any] | None, context: Context) -> doc.Network:
    """Return a network.  Raises `NotLoaded` when two keys contradict each other."""
    value = value or {}
    read = fields(value, _NETWORK, f"networks.{name}")
    ipam = value.get("ipam", {})
    pools = tuple(doc.IPAMPool(subnet=values.text(pool.get("subnet"))) for pool in ipam.get("config", ()))
    external, read["name"] = _external("network", name, value, context, since=5)
    return doc.Network(
        **read,
        ipam=doc.IPAM(driver=values.text(ipam.get("driver")), config=pools),
        external=external,
        extensions=values.extensions(value),
    )


def load_volume(name: str, value: Mapping[str, Any] | None, context: Context) -> doc.Volume:
    """Return a volume.  Raises `NotLoaded` when two keys contradict each other."""
    value = value or {}
    read = fields(value, _VOLUME, f"volumes.{name}")
    external, read["name"] = _external("volume", name, value, context, since=4)
    for key in ("driver", "driver_opts", "labels"):
        if external and read.get(key):
            raise NotLoaded(f'conflicting parameters "external" and "{key}" specified for volume "{name}"')
    return doc.Volume(**read, external=external, extensions=values.extensions(value))


def load_file_object(kind: str, name: str, value: Mapping[str, Any], context: Context) -> doc.FileObject:
    """Return a secret or a config (`kind` says which).  Raises `NotLoaded` when two keys contradict each other."""
    read = fields(value, _FILE_OBJECT, f"{kind}s.{name}")
    external, read["name"] = _external(kind, name, value, context, since=5)
    file, driver = read.get("file", ""), read.get("driver", "")
    if external:
        if file:
            raise NotLoaded(f"{kind} {name}: {kind}.external and {kind}.file conflict; only use one of them")
    elif driver:
        if file:
            raise NotLoaded(f"{kind} {name}: {kind}.driver and {kind}.file conflict; only use {kind}.driver")
    elif not file:
        raise NotLoaded(
            f"{kind} {name}: neither {kind}.file nor {kind}.external is given: name a file, or say external"
        )
    else:
        read["file"] = context.path(file)
    return doc.FileObject(**read, external=external, extensions=values.extensions(value))


def _external(kind: str, name: str, value: Mapping[str, Any], context: Context, *, since: int) -> tuple[bool, str]:
    """Return whether an object is external, and the name it was given ("" = none).

    `external: {name: x}` is the old way, from version 3.`since` on with a notice.
    """
    external = value.get("external")
    given = values.text(value.get("name"))
    old = values.text(external.get("name")) if isinstance(external, dict) else ""
    if external is None or external is False or not (isinstance(external, dict) or values.boolean(external)):
        return False, given
    if not old:
        return True, given or name
    if given:
        raise NotLoaded(f"{kind} {name}: {kind}.external.name and {kind}.name conflict; only use {kind}.name")
    if context.minor >= since:
        context.notices.append(f"{kind} {name}: {kind}.external.name is deprecated in favor of {kind}.name")
    return True, old


_NETWORK: dict[str, values.Reader] = {
    "driver": values.text,
    "driver_opts": values.pairs,
    "internal": values.boolean,
    "attachable": values.boolean,
    "labels": values.pairs,
}
_VOLUME: dict[str, values.Reader] = {"driver": values.text, "driver_opts": values.pairs, "labels": values.pairs}
_FILE_OBJECT: dict[str, values.Reader] = {
    **dict.fromkeys(("file", "driver", "template_driver"), values.text),
    "labels": values.pairs,
    "driver_opts": values.pairs,
}
