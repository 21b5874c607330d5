"""Addresses `host:port` and `[host]:port`, as they stand in messages and files.  Pure."""

from vault.rpc.errors import CannotReach


def split_address(address: str) -> tuple[str, int]:
    """Return host and port.  Raises `CannotReach` for a text that is no address."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536) or "\0" in host:
        raise CannotReach(address[:300], "it is not of the form host:port")
    return host, int(port)
