"""/volumes: this node's named volumes."""

import re
from datetime import datetime
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.bodies import decode, read
from vault.api.context import Context, Endpoint, Reach, flag
from vault.api.filters import matches_labels, parse_filters
from vault.api.ports import Volume
from vault.api.system_shapes import Full
from vault.model.base import Shape
from vault.model.errors import BadRequest, Unimplemented

FILTERS = ("name", "label", "driver", "dangling")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}")


class PostedVolume(Shape, frozen=True, kw_only=True):
    """`POST /volumes/create`."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    cluster_volume_spec: dict[str, Any] | None = None  # Known so that it can be refused by name.


class ShownVolume(Full, frozen=True, kw_only=True):
    """A volume as the Engine shows it."""

    name: str
    driver: str
    mountpoint: str
    created_at: datetime
    scope: str = "local"
    labels: dict[str, str]
    options: dict[str, str] | None


class VolumeList(Full, frozen=True, kw_only=True):
    """The answer to `/volumes`."""

    volumes: tuple[ShownVolume, ...]
    warnings: tuple[str, ...] | None = None


class Volumes:
    """Handlers of /volumes."""

    def __init__(self, context: Context) -> None:
        self.node = context.node

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        return [
            Endpoint("GET", "/volumes", self.listing, replies=VolumeList, query=("filters",), reach=Reach.NODE),
            Endpoint(
                "POST", "/volumes/create", self.create, 201, posts=PostedVolume, replies=ShownVolume, reach=Reach.NODE
            ),
            Endpoint("GET", "/volumes/{name}", self.inspect, replies=ShownVolume, reach=Reach.NODE),
            Endpoint("DELETE", "/volumes/{name}", self.remove, 204, query=("force",), reach=Reach.NODE),
        ]

    async def listing(self, request: Request) -> Response:
        """List volumes."""
        filters = parse_filters(request.query_params.get("filters", ""), FILTERS)
        names, drivers = filters.get("name", ()), filters.get("driver", ())
        found = [
            _shown(volume)
            for volume in await self.node.volumes()
            if (not names or any(name in volume.name for name in names))
            and (not drivers or volume.driver in drivers)
            and matches_labels(volume.labels, filters.get("label", ()))
        ]
        return answers.json(VolumeList(volumes=tuple(found)))

    async def create(self, request: Request) -> Response:
        """Create a volume, or show the one that has the name."""
        posted = decode(await read(request), PostedVolume)
        if posted.name and _NAME.fullmatch(posted.name) is None:
            raise BadRequest(
                f'create {posted.name[:64]}: "{posted.name[:64]}" includes invalid characters for a local volume name, '
                'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
                "If you intended to pass a host directory, use absolute path"
            )
        if posted.cluster_volume_spec is not None:
            raise Unimplemented("cluster volumes are not offered: a volume is of the node on which its task runs")
        volume = await self.node.create_volume(
            posted.name, driver=posted.driver, labels=posted.labels, options=posted.driver_opts
        )
        return answers.json(_shown(volume), HTTPStatus.CREATED)

    async def inspect(self, request: Request) -> Response:
        """Show a volume."""
        return answers.json(_shown(await self.node.volume(request.path_params["name"])))

    async def remove(self, request: Request) -> Response:
        """Remove a volume."""
        await self.node.remove_volume(request.path_params["name"], force=flag(request, "force"))
        return answers.gone()


def _shown(volume: Volume) -> ShownVolume:
    return ShownVolume(
        name=volume.name,
        driver=volume.driver,
        mountpoint=volume.mountpoint,
        created_at=volume.created_at,
        labels=dict(volume.labels),
        options=dict(volume.options) or None,
    )
