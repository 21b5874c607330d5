"""Who a node is to a registry: credentials that came with a pull or with a service, and which registry they are for.

Pure.  Called by `vault.agent.runner` before it asks for an image, and by the API's pulls.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from vault.crypto.plaintext import Plaintext
from vault.model.registries import host_of, registry_of
from vault.model.registry_auth import AuthConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who we are to a registry: a user with a password, or the bearer of a token."""

    username: str = ""
    password: Plaintext | None = None
    identity_token: Plaintext | None = None  # Buys tokens at the registry's token service.
    registry_token: Plaintext | None = None  # Is one.

    def differs_from(self, other: Credentials | None) -> bool:
        """Whether a registry that refused the others may take these."""
        return other is None or self.username != other.username or any(map(_differ, self._parts(), other._parts()))

    def _parts(self) -> tuple[Plaintext | None, ...]:
        return self.password, self.identity_token, self.registry_token


Ask = Callable[[], Credentials | None]  # Returns what is known now, which may be newer than a moment ago.


def nobody() -> None:
    """Know no credentials."""


def credentials_for(value: Plaintext | None, image: str, *, of: str) -> Credentials | None:
    """Return the credentials of a service for an image; None unless they are for its registry.

    value: an `AuthConfig` as JSON.  of: the service's own image, whose registry they are for if they name none.
    """
    if value is None:
        return None
    auth = msgspec.json.decode(value.reveal(), type=AuthConfig)
    meant = host_of(auth.serveraddress) or registry_of(of)
    if meant != registry_of(image):
        return None
    username, password = _user_of(auth)
    return Credentials(
        username=username,
        password=_guarded(password),
        identity_token=_guarded(auth.identitytoken),
        registry_token=_guarded(auth.registrytoken),
    )


def _user_of(auth: AuthConfig) -> tuple[str, str]:
    if not auth.auth or auth.username:
        return auth.username, auth.password
    try:
        username, _, password = base64.b64decode(auth.auth).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return username, password


def _differ(one: Plaintext | None, other: Plaintext | None) -> bool:
    return one is not other and (one is None or other is None or one != other)


def _guarded(text: str) -> Plaintext | None:
    return Plaintext(text.encode()) if text else None
