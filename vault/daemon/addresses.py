"""Which address this node advertises, and which it listens on."""

import fcntl
import ipaddress
import re
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from vault.model.errors import BadRequest
from vault.rpc.server import listening

_ENGINE_LINKS = re.compile(r"(lo|docker.*|br-.*|veth.*|vault.*|virbr.*|cni.*)")
_SIOCGIFADDR = 0x8915
PORT = 2377  # Control plane.
_NO_LISTEN = "listen address must be an IP address or network interface (with optional port number)"
_NO_ADDRESS = "advertise address must be a non-zero IP address or network interface (with optional port number)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address of this machine, without prefix length."""

    link: str
    text: str


def advertised(wanted: str, found: Sequence[Address]) -> str:
    """Return the address that `--advertise-addr` means; with none given, the only one there is.

    `wanted`: an address, a link's name, either with `:PORT`, or "".  Raises `BadRequest` in Docker's words.
    """
    if wanted:
        return _named(wanted, found)
    usable = [address for address in found if not _ENGINE_LINKS.fullmatch(address.link)]
    if not usable:
        return "127.0.0.1"  # A machine by itself; others could not reach it anyway.
    if len(usable) > 1:
        first, second = usable[0], usable[1]
        where = (
            f"a single interface ({first.text} and {second.text} on {first.link})"
            if first.link == second.link
            else f"different interfaces ({first.text} on {first.link} and {second.text} on {second.link})"
        )
        raise BadRequest(
            f"could not choose an IP address to advertise since this system has multiple addresses on {where} - "
            "specify one with --advertise-addr"
        )
    return usable[0].text


def _named(wanted: str, found: Sequence[Address]) -> str:
    host = wanted
    if wanted.count(":") == 1 or wanted.startswith("["):
        host, _, port = wanted.rpartition(":")
        if port and not (port.isdigit() and 0 < int(port) < 65536):
            raise BadRequest(_NO_ADDRESS)
        host = host.strip("[]")
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        on_link = [address.text for address in found if address.link == host]
        if not on_link:
            raise BadRequest(_NO_ADDRESS) from None
        return on_link[0]
    if parsed.is_unspecified:
        raise BadRequest(_NO_ADDRESS)
    return str(parsed)


def listened(wanted: str, address: str, found: Sequence[Address]) -> str:
    """Return "host:port" that the control plane listens on; raises `BadRequest`.

    wanted: `--listen-addr`, an address or a link's name, with a port or not; "" or 0.0.0.0 = all addresses, but a
    node that advertises a loopback address is for this machine alone, and listens on that.
    """
    host, port = wanted, str(PORT)
    if wanted.count(":") == 1 or wanted.startswith("["):
        host, _, port = wanted.rpartition(":")
        host = host.strip("[]")
    if not (port.isdigit() and 0 < int(port) < 65536):
        raise BadRequest(_NO_LISTEN)
    if host in ("", "0.0.0.0", "::"):  # noqa: S104
        host = address if ipaddress.ip_address(address).is_loopback else host or "0.0.0.0"  # noqa: S104
    else:
        try:
            host = str(ipaddress.ip_address(host))
        except ValueError:
            host = next((one.text for one in found if one.link == host), "")
            if not host:
                raise BadRequest(_NO_LISTEN) from None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_and_port(listen: str) -> tuple[str, int]:
    """Return what "host:port" names; an IPv6 address is in brackets there, and not here."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def check_free(listen: str) -> None:
    """Raise `CannotListen` while something else has the "host:port" that the control plane is to listen on."""
    listening(*host_and_port(listen)).close()


def toward(address: str) -> str:
    """Return which address of this machine packets to `host[:port]` come from; "" when there is no way there."""
    host, colon, port = address.rpartition(":")
    host = (host if colon and port.isdigit() else address).strip("[]")
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, PORT))  # Sends nothing.
            found: str = probe.getsockname()[0]
    except (OSError, ValueError):
        return ""
    return found


def local_addresses() -> tuple[Address, ...]:
    """Return the IPv4 addresses of this machine, by link."""
    found = []
    for _, link in socket.if_nameindex():
        if (address := _address_of(link)) is not None:
            found.append(Address(link=link, text=address))
    return tuple(found)


def _address_of(link: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", link.encode()[:15]))
        except OSError:
            return None  # No IPv4 address on it.
    return socket.inet_ntoa(answer[20:24])
