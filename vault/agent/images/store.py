"""The images of this node: found by name or id, loaded, imported, pulled and removed.

Not pure.  Called by the agent's runners, which need an image for a task, and by the API.  The heavy work is done by
worker processes; this keeps the list.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from vault.agent.images.child import run_worker
from vault.agent.images.content import Content
from vault.agent.images.credentials import Ask, Credentials, nobody
from vault.agent.images.errors import (
    BadArchive,
    BadReference,
    ImageError,
    ManifestUnknown,
    PullDenied,
    RegistryFailed,
)
from vault.agent.images.image import Image, read_image
from vault.agent.images.index import read_index, write_index
from vault.agent.images.protocol import Collect, Import, Load, Progress, Pull, Request, Stored
from vault.agent.images.reference import Reference, is_id_prefix, parse
from vault.agent.images.removal import Removed, plan_removal
from vault.crypto import Plaintext
from vault.model.errors import NoSuch

logger = logging.getLogger(__name__)

_WORK_TIMEOUT_S: Final = 3600.0  # For one load, import or pull.
_COLLECT_TIMEOUT_S: Final = 600.0
_PIECE_BYTES: Final = 1 << 18

Tell = Callable[[Progress], None]


def _silent(progress: Progress) -> None:
    """Tell nobody."""


class ImageStore:
    """The images under one directory, which belongs to one daemon at a time."""

    def __init__(self, root: Path) -> None:
        """Read the list.  Raises `StoreUnreadable`; an image whose files are damaged is left out and logged."""
        self._content = Content(root=root)
        self._content.prepare()
        self._images: dict[str, Image] = {}  # By id.
        self._by_name: dict[str, str] = {}  # Ids by whole name.
        self._writing = asyncio.Lock()
        self._fetching: dict[str, asyncio.Lock] = {}
        self._gate = asyncio.Lock()  # Held while a worker is let in, and all through a collection.
        self._workers = 0
        self._collection_due = True  # What the last daemon's workers left.
        for listed in read_index(self._content):
            try:
                image = read_image(self._content, listed.manifest, listed.names, listed.size_bytes)
            except BadArchive as error:
                logger.error("image_damaged", extra={"manifest": listed.manifest.digest, "reason": error.message})
                continue
            if all(layer.is_dir() for layer in image.layers):
                self._remember(image)
            else:
                logger.error("image_damaged", extra={"manifest": listed.manifest.digest, "reason": "missing layers"})

    def list(self) -> Sequence[Image]:
        """Return all images, newest first."""
        return sorted(
            self._images.values(), key=lambda image: image.created.timestamp() if image.created else 0, reverse=True
        )

    def find(self, reference: str) -> Image | None:
        """Return the local image of a name, an id or the beginning of one; None when there is none, or no one."""
        try:
            image_id = self._by_name.get(parse(reference).full)
        except BadReference:
            image_id = None
        if image_id is not None:
            return self._images[image_id]
        if not is_id_prefix(reference):
            return None
        start = f"sha256:{reference.removeprefix('sha256:')}"
        found = [image for image in self._images.values() if image.id.startswith(start)]
        return found[0] if len(found) == 1 else None

    async def ensure(self, reference: str, *, ask: Ask = nobody) -> Image:
        """Return the local image; only without one is a registry asked, once for all who wait for it.

        ask: for credentials, when they are to be shown; if newer ones have come by the time that a registry refuses
        some, it is asked once more.
        Raises `NoSuch` with Docker's text when no registry has it for us, and the log says why; `BadArchive`, `NoSpace`
        or `WorkerFailed` when one has it and it cannot be used.
        """
        if (image := self.find(reference)) is not None:
            return image
        lock = self._fetching.setdefault(reference, asyncio.Lock())
        async with lock:
            if (image := self.find(reference)) is not None:
                return image
            try:
                return await self._pull_as(reference, ask)
            except (ManifestUnknown, PullDenied, RegistryFailed, BadReference, TimeoutError) as error:
                logger.warning("image_not_pulled", extra={"image": reference, "reason": str(error)})
                raise NoSuch("image", reference) from error
            finally:
                self._fetching.pop(reference, None)

    async def load(self, source: Path | AsyncIterator[bytes], *, tell: Tell = _silent) -> Sequence[str]:
        """Take in a docker or OCI archive; return the names it brought, the id for an image without one.

        Raises `BadArchive` or `NoSpace`; no name is changed then.
        """
        archive = _read(source) if isinstance(source, Path) else source
        stored = await self._work(Load(root=str(self._content.root)), tell, archive)
        loaded: list[str] = []
        for one in stored:
            image = await self._adopt(one)
            loaded += [parse(name).shown for name in one.names] or [image.id]
        return loaded

    async def import_(
        self,
        source: AsyncIterator[bytes],
        reference: str = "",
        changes: Sequence[str] = (),
        *,
        message: str = "",
        tell: Tell = _silent,
    ) -> Image:
        """Make an image of a tar of a root file system, under a name if one is given.

        Raises `BadReference`, `BadChange`, `BadArchive` or `NoSpace`; nothing is kept then.
        """
        names = [parse(reference).full] if reference else []
        request = Import(root=str(self._content.root), changes=[*changes], message=message)
        (stored,) = await self._work(request, tell, source)
        return await self._adopt(Stored(manifest=stored.manifest, names=names, size_bytes=stored.size_bytes))

    async def pull(self, reference: str, *, auth: Credentials | None = None, tell: Tell = _silent) -> Image:
        """Fetch an image from its registry, even if there is a local one.

        Raises `ManifestUnknown`, `PullDenied`, `RegistryFailed`, `BadArchive`, `NoSpace`, or `TimeoutError`.
        """
        name = parse(reference)
        before = self._by_name.get(name.full)
        request = Pull(
            root=str(self._content.root),
            reference=name.full,
            username=auth.username if auth else "",
            password=_plain(auth.password if auth else None),
            identity_token=_plain(auth.identity_token if auth else None),
            registry_token=_plain(auth.registry_token if auth else None),
            plain_http=_is_loopback(name),
        )
        (stored,) = await self._work(request, tell, None)
        image = await self._adopt(stored)
        news = "Image is up to date" if image.id == before else "Downloaded newer image"
        tell(Progress(status=f"Status: {news} for {name.shown}"))
        return image

    async def _pull_as(self, reference: str, ask: Ask) -> Image:
        shown = ask()
        try:
            return await self.pull(reference, auth=shown)
        except PullDenied:
            newer = ask()
            if newer is None or not newer.differs_from(shown):
                raise
            logger.info("image_pulled_with_newer_credentials", extra={"image": reference})
            return await self.pull(reference, auth=newer)

    async def remove(self, reference: str, *, used: Mapping[str, str], force: bool = False) -> Removed:
        """Take a name away, and delete the image with its last one; return what happened.

        used: ids of images that tasks use, each with a container that does.
        Raises `NoSuch`, and `Conflict` with Docker's text when the image must stay.
        """
        async with self._writing:
            image = self.find(reference)
            if image is None:
                raise NoSuch("image", reference)
            removed = plan_removal(image, reference, used=used, force=force)
            after = dict(self._images)
            if removed.deleted:
                del after[image.id]
            else:
                after[image.id] = replace(image, names=image.names - removed.names)
            await asyncio.to_thread(write_index, self._content, after.values())
            self._images = after
            self._by_name = {name: one.id for one in after.values() for name in one.names}
        if removed.deleted:
            self._collection_due = True
            try:
                await self._collect_if_due()
            except (ImageError, TimeoutError) as error:  # The image is gone all the same; its files follow later.
                logger.warning("images_not_collected", extra={"reason": str(error)})
        return removed

    async def _adopt(self, stored: Stored) -> Image:
        """Put a stored image on the list; its names are taken from the images that had them."""
        names = frozenset(stored.names)
        async with self._writing:
            image = await asyncio.to_thread(read_image, self._content, stored.manifest, names, stored.size_bytes)
            known = self._images.get(image.id)
            if known is not None:
                image = replace(image, names=names | known.names)
            after = {
                one.id: replace(one, names=one.names - names) if one.names & names else one
                for one in self._images.values()
            }
            after[image.id] = image
            await asyncio.to_thread(write_index, self._content, after.values())
            self._images = after
            self._by_name = {name: one.id for one in after.values() for name in one.names}
        logger.info("image_stored", extra={"image": image.id, "names": ",".join(sorted(stored.names))})
        return image

    def _remember(self, image: Image) -> None:
        self._images[image.id] = image
        self._by_name |= dict.fromkeys(image.names, image.id)

    async def _work(self, request: Request, tell: Tell, archive: AsyncIterator[bytes] | None) -> Sequence[Stored]:
        async with self._place_at_work():
            return await run_worker(request, tell=tell, timeout_s=_WORK_TIMEOUT_S, archive=archive)

    @asynccontextmanager
    async def _place_at_work(self) -> AsyncIterator[None]:
        """Keep the collection away while content comes in that no list knows yet.

        The first collection comes before any work: what a crash left may bear a name, and not be what it says.
        """
        await self._collect_if_due()
        async with self._gate:
            self._workers += 1
        try:
            yield
        finally:
            self._workers -= 1

    async def _collect_if_due(self) -> None:
        """Delete what nothing refers to, unless something is coming in; then the next call does it."""
        async with self._gate:
            if not self._collection_due or self._workers:
                return
            manifests = [image.manifest.digest for image in self._images.values()]
            request = Collect(root=str(self._content.root), manifests=manifests)
            await run_worker(request, tell=_silent, timeout_s=_COLLECT_TIMEOUT_S)
            self._collection_due = False


def _plain(part: Plaintext | None) -> str:
    """Return a part of credentials for the worker process that shows them to the registry."""
    return part.reveal().decode() if part is not None else ""


def _is_loopback(reference: Reference) -> bool:
    """Tell whether a registry is on this machine, where plain http is good enough, as it is to Docker."""
    host = reference.domain.rpartition(":")[0] or reference.domain
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


async def _read(path: Path) -> AsyncIterator[bytes]:
    """Yield a file."""
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece
