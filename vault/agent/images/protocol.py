"""What is said between the store and its worker process: one request, then messages, each a line of JSON.

Pure.  After the request, standard input carries the archive of `Load` and `Import`.
"""

from __future__ import annotations

import msgspec

from vault.agent.images.documents import Descriptor


class Load(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Take in a docker or OCI archive."""

    root: str


class Import(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make an image of a root file system."""

    root: str
    changes: list[str] = []
    message: str = ""


class Pull(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Fetch an image from its registry.  What is secret of it is in no argument list and no environment."""

    root: str
    reference: str
    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    plain_http: bool = False  # Whether http is tried where https does not answer.

    def __repr__(self) -> str:
        return f"Pull({self.reference!r})"


class Collect(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Delete what no image of the list uses."""

    root: str
    manifests: list[str]


Request = Load | Import | Pull | Collect


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """One step forward, as Docker's JSON stream has it."""

    status: str
    id: str = ""
    current: int = 0
    total: int = 0


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An image whose content is in place."""

    manifest: Descriptor
    names: list[str]  # Whole names, with tag or digest.
    size_bytes: int


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """All is done."""

    images: list[Stored] = []


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Nothing is done: the name of an error class, and its sentence."""

    error: str
    text: str


Message = Progress | Finished | Failed
