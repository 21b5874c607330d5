"""Credentials for registries, from Docker's client configuration and the helpers that it names.

They go into a header, and nowhere else.  A helper is a program of the user's that hands out what it keeps; see
github.com/docker/docker-credential-helpers for how it is asked.
"""

import json
import os
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

from vault.cli.errors import CommandError
from vault.model.registries import HUB, host_of, registry_of

HUB_KEY: Final = "https://index.docker.io/v1/"  # What the configuration and helpers call Docker Hub.
_HELPER: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_HELPER_LIMIT_S: Final = 60  # It may ask its user something.
_TOKEN_USER: Final = "<token>"


def registry_auth(image: str, path: str | None = None) -> str | None:
    """Return X-Registry-Auth for an image's registry; None when nobody knows credentials for it.

    path: the configuration file; `$DOCKER_CONFIG/config.json` or `~/.docker/config.json` if None.
    """
    known = credentials_of(_configuration(path), key_of(image))
    return None if known is None else encoded(known)


def auth_headers(wanted: bool, image: str) -> dict[str, str]:
    """Return the header that carries credentials for an image's registry; none unless asked for."""
    if not wanted:
        return {}
    credentials = registry_auth(image)
    if credentials is None:
        raise CommandError(
            f"no credentials for the registry of {image}: Docker's client configuration (config.json) has none; "
            "log in with docker login, or leave --with-registry-auth out"
        )
    return {"X-Registry-Auth": credentials}


def stack_headers(wanted: bool, images: Iterable[str]) -> dict[str, str]:
    """Return the header that carries credentials for the registries of a stack's images; none unless asked for."""
    if not wanted:
        return {}
    configuration = _configuration(None)
    registries = dict.fromkeys(map(key_of, images))
    found = {one: known for one in registries if (known := credentials_of(configuration, one)) is not None}
    if not found:
        raise CommandError(
            "no credentials for the registries of the stack's images: Docker's client configuration (config.json) has "
            "none; log in with docker login, or leave --with-registry-auth out"
        )
    return {"X-Registry-Config": encoded(found)}


def key_of(image: str) -> str:
    """Return what the configuration calls the registry of an image."""
    registry = registry_of(image)
    return HUB_KEY if registry == HUB else registry


def credentials_of(configuration: Mapping[str, Any], registry: str) -> dict[str, str] | None:
    """Return what is known for a registry: from the helper for it, or from the file itself."""
    helpers, auths = configuration.get("credHelpers"), configuration.get("auths")
    helper = _entry(helpers, registry) or configuration.get("credsStore")
    if isinstance(helper, str) and helper:
        found = _from_helper(helper, registry)
        if found is not None:
            return found
    entry = _entry(auths, registry)
    return _from_entry(entry, registry) if isinstance(entry, dict) else None


def encoded(credentials: Mapping[str, Any]) -> str:
    """Return credentials as a header carries them."""
    text = b2a_base64(json.dumps(credentials).encode(), newline=False).decode()
    return text.replace("+", "-").replace("/", "_")


def _configuration(path: str | None) -> dict[str, Any]:
    folder = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    try:
        with open(path or os.path.join(folder, "config.json"), encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _entry(entries: Any, registry: str) -> Any:
    """Return the entry of a registry; its key may be the host alone, or a URL of it."""
    if not isinstance(entries, dict):
        return None
    host = host_of(registry)
    return entries.get(registry) or next((entry for key, entry in entries.items() if host_of(key) == host), None)


def _from_entry(entry: dict[str, Any], registry: str) -> dict[str, str] | None:
    username, password = entry.get("username") or "", entry.get("password") or ""
    if auth := entry.get("auth"):
        try:
            username, _, password = a2b_base64(auth).decode().partition(":")
        except ValueError:
            return None
    parts = {
        "username": username,
        "password": password,
        "identitytoken": entry.get("identitytoken") or "",
        "registrytoken": entry.get("registrytoken") or "",
    }
    if not any(parts.values()):
        return None
    return {name: part for name, part in parts.items() if part} | {"serveraddress": registry}


def _from_helper(name: str, registry: str) -> dict[str, str] | None:
    """Ask a helper; None when it has nothing for the registry."""
    import subprocess

    if re.fullmatch(_HELPER, name) is None:
        raise CommandError("Docker's client configuration (config.json) names a credential helper that cannot be one")
    program = f"docker-credential-{name}"
    try:
        asked = subprocess.run(
            [program, "get"], input=registry.encode(), capture_output=True, check=False, timeout=_HELPER_LIMIT_S
        )
    except OSError as error:
        raise CommandError(f"credential helper {program}: {(error.strerror or str(error)).lower()}") from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"credential helper {program} did not answer within {_HELPER_LIMIT_S} s") from None
    if asked.returncode:
        if b"credentials not found" in asked.stdout:
            return None
        raise CommandError(f"credential helper {program} failed: it ended with code {asked.returncode}")
    try:
        answer = json.loads(asked.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"credential helper {program} gave an answer that is not understood") from None
    if username == _TOKEN_USER:
        return {"identitytoken": secret, "serveraddress": registry}
    return {"username": username, "password": secret, "serveraddress": registry}
