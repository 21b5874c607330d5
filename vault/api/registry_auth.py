"""Credentials for registries in the headers of requests: read, bounded, and guarded at once; no error quotes them.

Called by the handlers of images, services and stacks.
"""

import base64
import binascii
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request

from vault.crypto.plaintext import Plaintext
from vault.model.errors import BadRequest
from vault.model.ids import NewID
from vault.model.registries import host_of
from vault.model.registry_auth import AuthConfig
from vault.store.rules_registry_auth import Given

AUTH_HEADER: Final = "X-Registry-Auth"
CONFIG_HEADER: Final = "X-Registry-Config"  # As `docker build` sends it: credentials by registry.
MAX_BYTES: Final = 64 * 1024
T = TypeVar("T")


def pull_auth(request: Request) -> Plaintext | None:
    """Return the credentials for the one image that a request names; None when it brings none.

    Raises `BadRequest`.
    """
    auth = _header(request, AUTH_HEADER, AuthConfig)
    return _guarded(msgspec.structs.replace(auth, serveraddress="")) if auth is not None else None


def service_auth(request: Request, new_id: NewID) -> Given | None:
    """Return the credentials that come with a service's spec; None when nothing is said of them.

    A header without any says that there are none: Docker's client sends that when it knows none.  Raises `BadRequest`.
    """
    auth = _header(request, AUTH_HEADER, AuthConfig)
    return Given(id=new_id(), value=_guarded(auth)) if auth is not None else None


def stack_auths(request: Request) -> dict[str, Plaintext]:
    """Return the credentials that come with a stack, by the host of the registry.  Raises `BadRequest`."""
    auths = _header(request, CONFIG_HEADER, dict[str, AuthConfig]) or {}
    guarded = {host_of(address): _guarded(auth) for address, auth in auths.items()}
    return {host: auth for host, auth in guarded.items() if auth is not None}


def _guarded(auth: AuthConfig) -> Plaintext | None:
    if not (auth.username or auth.auth or auth.identitytoken or auth.registrytoken):
        return None
    return Plaintext(msgspec.json.encode(auth))


def _header(request: Request, name: str, type_: type[T]) -> T | None:
    header = request.headers.get(name, "")
    if not header:
        return None
    if len(header) > MAX_BYTES:
        raise BadRequest(f"invalid {name} header: it is too long")
    try:
        padded = header + "=" * (-len(header) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=type_)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise BadRequest(f"invalid {name} header: it must be base64url of a JSON object") from None
