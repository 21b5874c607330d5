"""Names of images: `busybox` is docker.io/library/busybox:latest, and is shown as busybox:latest.

Pure.  Source: the grammar and the normal form of `distribution/reference`.  Called by all of this package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from vault.agent.images.errors import BadReference

_HOST: Final = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_DOMAIN: Final = rf"(?:{_HOST}(?:\.{_HOST})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_ID: Final = re.compile(r"[0-9a-f]{64}")
_MAX_NAME: Final = 255
_HUB: Final = "docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A whole name: where, what, and which; exactly one of tag and digest is set."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """The name without tag and digest, as Docker shows it: `busybox`, `localhost:5000/team/app`."""
        if self.domain != _HUB:
            return f"{self.domain}/{self.path}"
        return self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path

    @property
    def shown(self) -> str:
        """The name as Docker shows it: `busybox:latest`, `busybox@sha256:…`."""
        return self.repository + self._which

    @property
    def full(self) -> str:
        """The name that is stored: `docker.io/library/busybox:latest`."""
        return f"{self.domain}/{self.path}{self._which}"

    @property
    def _which(self) -> str:
        return f"@{self.digest}" if self.digest else f":{self.tag}"

    def at(self, digest: str) -> Reference:
        """Return the name of exactly this content in the same repository."""
        return replace(self, tag="", digest=digest)


def parse(text: str) -> Reference:
    """Return the whole name that a user's text stands for; a digest wins over a tag.

    Raises `BadReference`, with Docker's text where it has one.
    """
    if _ID.fullmatch(text):
        raise BadReference(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    name, at, digest = text.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise BadReference("invalid reference format")
    name, tag = _split_tag(name)
    domain, path = _split_domain(name)
    if path != path.lower() and _PATH.fullmatch(path.lower()):
        raise BadReference(f"invalid reference format: repository name ({path}) must be lowercase")
    if not re.fullmatch(_DOMAIN, domain) or not _PATH.fullmatch(path) or (tag and not _TAG.fullmatch(tag)):
        raise BadReference("invalid reference format")
    if len(domain) + 1 + len(path) > _MAX_NAME:
        raise BadReference(f"repository name must not be more than {_MAX_NAME} characters")
    return Reference(domain=domain, path=path, tag="" if digest else tag or "latest", digest=digest)


def _split_tag(name: str) -> tuple[str, str]:
    head, colon, tail = name.rpartition(":")
    if not colon or "/" in tail:  # The colon of a port is followed by a path.
        return name, ""
    if not tail:
        raise BadReference("invalid reference format")
    return head, tail


def _split_domain(name: str) -> tuple[str, str]:
    """Docker's rule: the first part is a domain if it has a dot or a colon, or is localhost, or has capitals."""
    first, slash, rest = name.partition("/")
    if not slash or not (set(first) & set(".:[") or first == "localhost" or first != first.lower()):
        first, rest = _HUB, name
    if first == f"index.{_HUB}":
        first = _HUB
    if first == _HUB and "/" not in rest:
        rest = f"library/{rest}"
    return first, rest


def is_id_prefix(text: str) -> bool:
    """Tell whether a text may be an image id or its beginning, with or without `sha256:`."""
    return re.fullmatch(r"(?:sha256:)?[0-9a-f]{1,64}", text) is not None
