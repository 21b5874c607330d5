"""/images: this node's store of images."""

import fnmatch
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.bodies import pieces
from vault.api.context import Context, Endpoint, Reach, flag
from vault.api.filters import Filters, matches_labels, parse_filters, switch
from vault.api.image_shapes import ImageDetails, ImageSummary, Removed, details_of, summary_of
from vault.api.ports import Image
from vault.api.registry_auth import pull_auth
from vault.api.streams import progress, with_first
from vault.model.errors import BadRequest

FILTERS = ("reference", "dangling", "label", "before", "since", "until")


class Images:
    """Handlers of /images."""

    def __init__(self, context: Context) -> None:
        self.node = context.node

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        create = ("fromImage", "fromSrc", "repo", "tag", "message", "changes")
        return [
            Endpoint(
                "GET",
                "/images/json",
                self.listing,
                replies=list[ImageSummary],
                query=("all", "filters"),
                reach=Reach.NODE,
            ),
            Endpoint("POST", "/images/load", self.load, query=("quiet",), reach=Reach.NODE),
            Endpoint("POST", "/images/create", self.create, query=create, reach=Reach.NODE),
            Endpoint("GET", "/images/{name:path}/json", self.inspect, replies=ImageDetails, reach=Reach.NODE),
            Endpoint(
                "DELETE", "/images/{name:path}", self.remove, replies=list[Removed], query=("force",), reach=Reach.NODE
            ),
        ]

    async def listing(self, request: Request) -> Response:
        """List images."""
        filters = parse_filters(request.query_params.get("filters", ""), FILTERS)
        images = [_as_asked_for(filters, image) for image in await self.node.images() if _passes(filters, image)]
        return answers.json([summary_of(image) for image in images])

    async def inspect(self, request: Request) -> Response:
        """Show an image."""
        return answers.json(details_of(await self.node.image(request.path_params["name"])))

    async def load(self, request: Request) -> Response:
        """Take in an archive that `save` made."""
        return progress(await with_first(self.node.load_image(pieces(request))), watch=False)

    async def create(self, request: Request) -> Response:
        """Pull an image, or import a root file system."""
        query = request.query_params
        if query.get("fromImage"):
            reference = _reference(query["fromImage"], query.get("tag", ""))
            pulled = self.node.pull_image(reference, auth=pull_auth(request))
            return progress(await with_first(pulled), watch=True)
        if query.get("fromSrc") != "-":
            raise BadRequest('fromSrc must be "-": send the archive as the body of the request')
        repository, tag = query.get("repo", ""), query.get("tag", "")
        imported = self.node.import_image(
            pieces(request),
            reference=_reference(repository, tag) if repository else "",
            message=query.get("message", ""),
            changes=query.getlist("changes"),
        )
        return progress(await with_first(imported), watch=False)

    async def remove(self, request: Request) -> Response:
        """Remove an image."""
        removed = await self.node.remove_image(request.path_params["name"], force=flag(request, "force"))
        return answers.json([Removed(untagged=one.untagged, deleted=one.deleted) for one in removed])


def _reference(name: str, tag: str) -> str:
    if not tag:
        last = name.rsplit("/", 1)[-1]
        return name if ":" in last or "@" in last else f"{name}:latest"
    return f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"


def _passes(filters: Filters, image: Image) -> bool:
    patterns = filters.get("reference", ())
    if switch(filters, "dangling", default=False) is (bool(image.references)) and "dangling" in filters:
        return False
    if not matches_labels(image.labels, filters.get("label", ())):
        return False
    return not patterns or any(_matches(reference, pattern) for reference in image.references for pattern in patterns)


def _as_asked_for(filters: Filters, image: Image) -> Image:
    """Return an image with those of its names alone that were asked for, as Docker lists it."""
    if not (patterns := filters.get("reference", ())):
        return image

    def wanted(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if any(_matches(name, pattern) for pattern in patterns))

    return replace(image, references=wanted(image.references), digests=wanted(image.digests))


def _matches(reference: str, pattern: str) -> bool:
    name = reference.split("@", 1)[0] if "@" in reference else reference.rsplit(":", 1)[0]
    return fnmatch.fnmatchcase(reference, pattern) or fnmatch.fnmatchcase(name, pattern)
