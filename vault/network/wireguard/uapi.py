"""What WireGuard in user space is asked and answers, in text: the protocol of its sockets.

Pure.  Used by `vault.network.wireguard.process`.  Source: https://www.wireguard.com/xplatform/ (the cross-platform
interface): lines of key=value, ended by an empty one; the answer ends with `errno=`.
"""

from collections.abc import Collection, Sequence
from typing import Final

from vault.crypto.wireguard_seal import WireGuardKey
from vault.network.wireguard.messages import Seen, State
from vault.network.wireguard.plan import KEEPALIVE_S, Peer

ASK_STATE: Final = b"get=1\n\n"
END: Final = b"\n\n"


def set_device(key: WireGuardKey, port: int) -> bytes:
    """Return the request that gives a device its key and port, and no peers."""
    return b"set=1\nprivate_key=%s\nlisten_port=%d\nreplace_peers=true\n\n" % (key.reveal().hex().encode(), port)


def change_peers(put: Sequence[Peer], remove: Sequence[bytes], speak: Collection[bytes]) -> bytes:
    """Return the request that removes peers, by public key, then adds others or changes them.

    speak: public keys of those with which keys are to be exchanged at once; a peer that is removed first begins anew.
    """
    lines = ["set=1"]
    for public_key in remove:
        lines += [f"public_key={public_key.hex()}", "remove=true"]
    for peer in put:
        host = f"[{peer.endpoint}]" if ":" in peer.endpoint else peer.endpoint
        lines += [
            f"public_key={peer.public_key.hex()}",
            f"endpoint={host}:{peer.port}",
            "replace_allowed_ips=true",
            f"allowed_ip={peer.address}/32",
        ]
        if peer.public_key in speak:  # What is to be kept alive is begun at once.
            lines.append(f"persistent_keepalive_interval={KEEPALIVE_S}")
    return "\n".join([*lines, "", ""]).encode()


def error_in(answer: bytes) -> int:
    """Return the number that an answer ends with; 0 for success.  Raises `ValueError` for what is no answer."""
    last = answer.rstrip(b"\n").rpartition(b"\n")[2]
    key, _, value = last.partition(b"=")
    if key != b"errno":
        raise ValueError("no errno at the end")
    return abs(int(value))


def state_in(answer: bytes) -> State:
    """Return what a device is.  Raises `ValueError` for what is no answer."""
    key: WireGuardKey | None = None
    port = 0
    peers: list[Seen] = []
    for line in answer.decode("ascii").split("\n"):
        name, _, value = line.partition("=")
        if name == "private_key" and value.strip("0"):
            key = WireGuardKey(bytes.fromhex(value))
        elif name == "listen_port":
            port = int(value)
        elif name == "public_key":
            peers.append(Seen(bytes.fromhex(value), "", 0, (), False))
        elif peers:
            peers[-1] = _with(peers[-1], name, value)
    return State(key, port, tuple(peers))


def _with(peer: Seen, name: str, value: str) -> Seen:
    match name:
        case "endpoint":
            host, _, port = value.rpartition(":")
            return peer._replace(endpoint=host.strip("[]"), port=int(port))
        case "allowed_ip":
            return peer._replace(addresses=(*peer.addresses, value))
        case "last_handshake_time_sec":
            return peer._replace(met=int(value) > 0)
    return peer
