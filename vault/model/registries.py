"""Which registry the name of an image means.  Pure; loads nothing, so that commands may ask it, too."""

from typing import Final

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
