"""What can go wrong with images.  Each carries one sentence, so that it can cross from the worker process by name."""

from http import HTTPStatus

from vault.model.errors import VaultError


class ImageError(VaultError):
    """Something about an image that a user can be told in one sentence."""


class BadReference(ImageError):
    """The name of an image breaks Docker's grammar."""

    status = HTTPStatus.BAD_REQUEST


class BadArchive(ImageError):
    """An archive, a layer or a document of an image is damaged, or breaks a rule."""

    status = HTTPStatus.BAD_REQUEST


class BadChange(ImageError):
    """A `--change` of `image import` cannot be understood."""

    status = HTTPStatus.BAD_REQUEST


class ManifestUnknown(ImageError):
    """The registry has the repository, but not this tag or digest, or not for this machine."""

    status = HTTPStatus.NOT_FOUND


class PullDenied(ImageError):
    """The registry does not let us read the repository; it may not exist."""

    status = HTTPStatus.NOT_FOUND


class RegistryFailed(ImageError):
    """The registry cannot be reached, or answers what it should not."""


class NoSpace(ImageError):
    """The disk under the image store is full."""


class WorkerFailed(ImageError):
    """The process that handles images ended without an answer."""


class StoreUnreadable(ImageError):
    """The list of images cannot be read."""


def rebuild(name: str, text: str) -> ImageError:
    """Return the error that a worker named; an unknown name is its failure."""
    for kind in ImageError.__subclasses__():
        if kind.__name__ == name:
            return kind(text)
    return WorkerFailed(text)
