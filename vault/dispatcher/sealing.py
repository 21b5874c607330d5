"""Values on their way to one node: read from the store, sealed to that node's key and to their place in its stream.

Not pure: reads the store, draws chance.  Called by `vault.dispatcher.stream`.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from vault.crypto import Plaintext
from vault.crypto.node_seal import OVERHEAD_BYTES, seal_to_node
from vault.dispatcher.assignments import Wanted
from vault.model.ids import Kind
from vault.model.registry_auth import RegistryAuth
from vault.rpc.messages import SealedValue

INLINE_BYTES: Final = 32 * 1024  # Values up to this size are sealed on the event loop, in about 0.2 ms.

# Seals a value for one node: kind, id, version, sequence, value -> payload.
Seal = Callable[[Kind, str, int, int, Plaintext], bytes]


def sealer(public_key: bytes, *, cluster_id: str, node_id: str, epoch: tuple[int, int]) -> Seal:
    """Return what seals values for one node under one leadership.

    public_key: 32 bytes, as recorded when the node's certificate was issued.
    """

    def seal(kind: Kind, object_id: str, version: int, sequence: int, value: Plaintext) -> bytes:
        return seal_to_node(
            public_key,
            value,
            cluster_id=cluster_id,
            node_id=node_id,
            kind=kind,
            object_id=object_id,
            version=version,
            epoch=epoch,
            sequence=sequence,
        )

    return seal


async def sealed(seal: Seal, wanted: Wanted, value: Plaintext, sequence: int) -> SealedValue:
    """Return a value as it goes into message `sequence`."""
    (kind, known_by), version = wanted.key, wanted.obj.version.index
    if len(value) <= INLINE_BYTES:
        payload = seal(kind, known_by, version, sequence, value)
    else:
        payload = await asyncio.to_thread(seal, kind, known_by, version, sequence, value)
    return msgspec.structs.replace(refused(wanted, ""), payload=payload)


def refused(wanted: Wanted, why: str) -> SealedValue:
    """Return what goes into a message where a value should be that there is none of."""
    kind, known_by = wanted.key
    spec = None if isinstance(wanted.obj, RegistryAuth) else wanted.obj.spec
    templating = spec.templating if spec is not None else None
    return SealedValue(
        kind=kind,
        id=known_by,
        name=spec.name if spec is not None else "",
        version=wanted.obj.version.index,
        templating=templating.name if templating else "",
        error=why,
    )


def sealed_size(value: Plaintext) -> int:
    """Return about how many bytes a value takes in a message."""
    return len(value) + OVERHEAD_BYTES + 256
