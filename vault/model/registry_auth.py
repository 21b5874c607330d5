"""Credentials for registries: those that came with a service, kept for the nodes that pull its image.

Docker keeps them in the service's spec (`PullOptions.RegistryAuth`).  Here they are an object of their own whose value
is a sealed record, so that no spec, no task and no answer of the API can carry them.
"""

from typing import Final

import msgspec

from vault.model.base import Object


class RegistryAuth(Object, frozen=True, kw_only=True):
    """That a service has credentials for its registry.  The value is a record of its own; no API shows either."""

    service_id: str


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The credentials, as `X-Registry-Auth` carries them; made into `Plaintext` at once, and never printed."""

    username: str = ""
    password: str = ""
    auth: str = ""  # `username:password` in base64, instead of both.
    serveraddress: str = ""  # The registry that they are for, by host or by URL; "" = the image's.
    identitytoken: str = ""  # Buys tokens, in place of a password.
    registrytoken: str = ""  # Is one.

    def __repr__(self) -> str:
        return "AuthConfig(…)"


HUB: Final = "docker.io"
_HUB_HOSTS: Final = (HUB, "index.docker.io", "registry-1.docker.io")


def registry_of(image: str) -> str:
    """Return the host, with its port, of the registry that an image's name means."""
    first, slash, _ = image.partition("/")
    named = slash and (set(first) & set(".:[") or first == "localhost" or first != first.lower())
    return host_of(first) if named else HUB


def host_of(address: str) -> str:
    """Return the host, with its port, of a registry's address or URL."""
    host = address.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return HUB if host in _HUB_HOSTS else host
