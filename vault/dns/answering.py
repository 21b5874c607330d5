"""What to answer a task: from the names on its networks, or nothing, and then the servers above are asked.

Pure but for the order of addresses, which is drawn anew for each answer.  Called by `vault.dns.serving`.

The rules are those of Docker's embedded resolver (libnetwork), with these differences:
- TTL 0 instead of 600 s, so that no cache between us and the program keeps an address that is gone.
- A name that is known has no other records than its addresses: the answer to any other type is "none" (NODATA), where
  Docker asks the servers above, whose "no such name" some libraries take for an answer to every type.
- A service without serving tasks, by round robin, is known and has none; Docker asks the servers above.
- VIPs have names too, and an address of the task's own networks that nobody has is "no such name" at once.
"""

import random
from collections.abc import Sequence
from typing import Final

from vault.dns.names import NetworkNames
from vault.dns.wire import INTERNET, MAX_MESSAGE_BYTES, Query, Rcode, Type, write_name, write_reply

_ADDRESS_TYPES: Final = {4: Type.A, 16: Type.AAAA}
_V4: Final = (b"in-addr", b"arpa")
_V6: Final = (b"ip6", b"arpa")
_NIBBLES: Final = 32


def answer(query: Query, networks: Sequence[NetworkNames], *, over_tcp: bool) -> bytes | None:
    """Return the reply of those who know; None when the name is nobody's on these networks."""
    max_bytes = MAX_MESSAGE_BYTES if over_tcp else query.udp_bytes
    if query.class_ != INTERNET:
        return None
    labels = tuple(label.lower() for label in query.labels)
    if query.type == Type.PTR and labels[-2:] in (_V4, _V6):
        return _answer_pointer(query, labels, networks, max_bytes)
    addresses = resolve(labels, networks)
    if addresses is None:
        return None
    if query.edns:
        return write_reply(query, Rcode.BADVERS, max_bytes=max_bytes)
    records = [(_ADDRESS_TYPES[len(address)], address) for address in addresses]
    if query.type != Type.ANY:
        records = [record for record in records if record[0] == query.type]
    random.shuffle(records)
    return write_reply(query, Rcode.NOERROR, records, max_bytes=max_bytes)


def resolve(labels: tuple[bytes, ...], networks: Sequence[NetworkNames]) -> list[bytes] | None:
    """Return the addresses of a name in small letters; None when nobody has it.

    The whole name is looked for on every network first, in their order; then what is left of the last dot, on a network
    that is called as what is right of it; and so on, as names of services and of networks may have dots themselves.
    """
    if any(b"." in label for label in labels):
        return None
    for length in range(len(labels), 0, -1):
        name, domain = b".".join(labels[:length]), b".".join(labels[length:])
        for network in networks:
            if not domain or network.domain == domain:
                addresses = network.addresses(name)
                if addresses is not None:
                    return addresses
    return None


def _answer_pointer(
    query: Query, labels: tuple[bytes, ...], networks: Sequence[NetworkNames], max_bytes: int
) -> bytes | None:
    address = _reversed_address(labels)
    if address is None:
        return None
    for network in networks:
        name = network.name_of(address)
        written = write_name(name) if name is not None else None
        if written is not None:
            return write_reply(query, Rcode.NOERROR, [(Type.PTR, written)], max_bytes=max_bytes)
    if any(network.covers(address) for network in networks):
        return write_reply(query, Rcode.NXDOMAIN, max_bytes=max_bytes)
    return None


def _reversed_address(labels: tuple[bytes, ...]) -> bytes | None:
    """Return the packed address that a name below in-addr.arpa or ip6.arpa stands for; None if it is none."""
    digits = labels[-3::-1]
    try:
        if labels[-2:] == _V4:
            return bytes(map(int, digits)) if len(digits) == 4 and all(map(bytes.isdigit, digits)) else None
        if len(digits) == _NIBBLES and all(len(digit) == 1 for digit in digits):
            return bytes.fromhex(b"".join(digits).decode("ascii"))
    except ValueError:
        pass
    return None
