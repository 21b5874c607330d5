"""This node's images as the API shows them.  Translates only; `vault.agent.images` does the work."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from vault.agent.images import protocol
from vault.agent.images.credentials import credentials_for
from vault.agent.images.image import Image
from vault.agent.images.store import ImageStore, Tell
from vault.agent.worker import Worker
from vault.api import ports as api
from vault.crypto import Plaintext
from vault.model.errors import NoSuch

Lines = Sequence[api.Progress]  # What is said when the work is done.


class NodeImages:
    """The image part of `vault.api.ports.LocalNode`."""

    def __init__(self, images: ImageStore, agent: Callable[[], Worker | None]) -> None:
        self._images = images
        self._agent = agent

    async def images(self) -> Sequence[api.Image]:
        """Return all images, newest first."""
        return [_shown(image) for image in self._images.list()]

    async def image(self, reference: str) -> api.Image:
        """Return the image of a name, id or id prefix."""
        image = self._images.find(reference)
        if image is None:
            raise NoSuch("image", reference)
        return _shown(image)

    def load_image(self, archive: AsyncIterator[bytes]) -> AsyncIterator[api.Progress]:
        """Take in a docker or OCI archive."""

        async def work(tell: Tell) -> Lines:
            names = await self._images.load(archive, tell=tell)
            return [
                api.Progress(status="", stream=f"Loaded image{' ID' if name.startswith('sha256:') else ''}: {name}\n")
                for name in names
            ]

        return _told(work)

    def import_image(
        self, archive: AsyncIterator[bytes], *, reference: str, message: str, changes: Sequence[str]
    ) -> AsyncIterator[api.Progress]:
        """Make an image of a root file system; the last message's status is its id."""

        async def work(tell: Tell) -> Lines:
            image = await self._images.import_(archive, reference, changes, message=message, tell=tell)
            return [api.Progress(status=image.id)]

        return _told(work)

    def pull_image(self, reference: str, *, auth: Plaintext | None) -> AsyncIterator[api.Progress]:
        """Fetch an image from its registry."""

        async def work(tell: Tell) -> Lines:
            await self._images.pull(reference, auth=credentials_for(auth, reference, of=reference), tell=tell)
            return []

        return _told(work)

    async def remove_image(self, reference: str, *, force: bool) -> Sequence[api.RemovedImage]:
        """Untag or delete; an image that a task of this node uses stays."""
        removed = await self._images.remove(reference, used=self._used(), force=force)
        untagged = [api.RemovedImage(untagged=name) for name in removed.untagged]
        return [*untagged, api.RemovedImage(deleted=removed.deleted)] if removed.deleted else untagged

    def _used(self) -> dict[str, str]:
        agent = self._agent()
        runners = agent.known.values() if agent else ()
        return {
            image.id: runner.container.container_id
            for runner in runners
            for image in (runner.image, *runner.mounted.values())
            if image is not None
        }


async def _told(work: Callable[[Tell], Awaitable[Lines]]) -> AsyncIterator[api.Progress]:
    """Yield what `work` tells while it works, then what it returns; raises what it raises."""
    told: asyncio.Queue[api.Progress | None] = asyncio.Queue()

    def tell(progress: protocol.Progress) -> None:
        told.put_nowait(
            api.Progress(status=progress.status, id=progress.id, current=progress.current, total=progress.total)
        )

    job = asyncio.ensure_future(work(tell))
    job.add_done_callback(lambda _: told.put_nowait(None))
    try:
        while (progress := await told.get()) is not None:
            yield progress
        for line in job.result():
            yield line
    finally:
        job.cancel()


def _shown(image: Image) -> api.Image:
    config = image.config
    return api.Image(
        id=image.id,
        references=image.repo_tags,
        digests=image.repo_digests,
        created_at=image.created,
        size_bytes=image.size_bytes,
        architecture=image.architecture,
        os=image.os,
        variant=image.variant,
        author=image.author,
        comment=image.comment,
        labels=config.labels,
        env=config.env,
        entrypoint=config.entrypoint,
        command=config.cmd,
        working_dir=config.working_dir,
        user=config.user,
        stop_signal=config.stop_signal,
        exposed_ports=config.exposed_ports,
        volumes=config.volumes,
        healthcheck=config.healthcheck,
        shell=config.shell,
        layers=image.diff_ids,
    )
