"""Credentials for registries: those that came with a service, kept for the nodes that pull its image.

Docker keeps them in the service's spec (`PullOptions.RegistryAuth`).  Here they are an object of their own whose value
is a sealed record, so that no spec, no task and no answer of the API can carry them.
"""

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
