"""What a node that is to be a manager says to the leader, and what it gets: keys, and its part in the engine.

Frozen structs, bounded.  The root key and the unlock key are sealed to the node besides TLS.
"""

from typing import Annotated, Final

import msgspec

from vault.rpc.messages_ca import Pem, Text

ENTER: Final = "manager.enter"
PEERS_MAX: Final = 64

Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Peer(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A member of the engine, as a new one has to be told."""

    name: Text  # Node id.
    url: Text  # https://10.77.0.1:2380


class Enter(msgspec.Struct, frozen=True, kw_only=True):
    """This node asks for its part: it has been told that it is to be a manager."""

    peer_request: Pem  # For a peer certificate.
    peer_address: Text  # IP address at which other managers' engines reach this one, without a port.
    control_address: Text  # host:port of its control plane.


class Entered(msgspec.Struct, frozen=True, kw_only=True):
    """What the node needs to open a store that follows the others."""

    generation: Count  # Epoch of the leadership; the sealed keys are bound to it.
    counter: Count
    keys: Annotated[bytes, msgspec.Meta(max_length=1024)]  # `vault.crypto.manager_seal`
    peer_certificate: Pem
    peer_authority: Pem
    revocation_list: Annotated[bytes, msgspec.Meta(max_length=1024 * 1024)]  # PEM, for etcd's --peer-crl-file.
    engine_dir: Text = ""  # Name of the engine's directory, shared by all managers.
    peers: Annotated[tuple[Peer, ...], msgspec.Meta(max_length=PEERS_MAX)] = ()  # This node's among them.
