"""Parts of what is told of networks, put together, do what they would do one after the other."""

from random import Random

import pytest

from vault.agent.overlay_parts import merged
from vault.model.node import EncryptionKey, NodeEncryption
from vault.model.overlay import (
    EncryptionPeer,
    OverlayChange,
    OverlayEncryption,
    OverlayEndpoint,
    OverlayNetwork,
    OverlayService,
)
from vault.network.overlay.state import OverlayState


def change(random: Random) -> OverlayChange:
    """Return something that a manager may say; puts and removals of one thing never come in one part."""
    networks = random.sample(("a", "b", "c"), 2)
    tasks, services = random.sample(range(6), 4), random.sample(range(4), 2)
    return OverlayChange(
        full=random.random() < 0.1,
        put_networks=tuple(OverlayNetwork(id=i, name=i, vxlan_id=random.randrange(3)) for i in networks[:1]),
        remove_networks=(networks[1],) if random.random() < 0.4 else (),
        put_endpoints=tuple(
            OverlayEndpoint(network_id=random.choice("abc"), task_id=str(i), node_id="n", serving=random.random() < 0.5)
            for i in tasks[:2]
        ),
        remove_endpoints=tuple((random.choice("abc"), str(i), "n") for i in tasks[2:]),
        put_services=tuple(OverlayService(network_id="a", service_id=str(i), name="s") for i in services[:1]),
        remove_services=tuple(("a", str(i)) for i in services[1:]),
    )


@pytest.mark.parametrize("seed", range(50))
def test_a_merged_change_does_what_its_parts_do_in_a_row(seed: int) -> None:
    random = Random(seed)
    state = OverlayState()
    for _ in range(40):
        parts = [change(random) for _ in range(random.randrange(1, 5))]
        together: OverlayChange | None = None
        one_by_one = state
        for part in parts:
            together = merged(together, part)
            one_by_one = one_by_one.applied(part)
        assert together is not None
        state = state.applied(together)
        # What a part says of an unknown network is left out; a later part may make that network known.
        assert {one.network.id for one in state} == {one.network.id for one in one_by_one}
        for overlay in one_by_one:
            found = state.get(overlay.network.id)
            assert found is not None
            assert found.network == overlay.network
            assert set(overlay.endpoints.items()) <= set(found.endpoints.items())
            assert set(overlay.services.items()) <= set(found.services.items())
        state = one_by_one


def peer(node_id: str, epoch: int = 1) -> EncryptionPeer:
    key = EncryptionKey(epoch=epoch, public=bytes(32))
    return EncryptionPeer(node_id=node_id, node_addr="192.0.2.1", address="100.64.0.1", keys=(key,))


def test_those_who_encrypt_are_put_together_too() -> None:
    own = NodeEncryption(address="100.64.0.9", keys=(), sealed_to=b"")
    first = OverlayEncryption(full=True, own=own, put_peers=(peer("n1"), peer("n2")))
    then = OverlayEncryption(own=own, put_peers=(peer("n2", 2), peer("n3")), remove_peers=("n1",))
    both = merged(OverlayChange(full=True, encryption=first), OverlayChange(encryption=then)).encryption
    assert both == OverlayEncryption(full=True, own=own, put_peers=(peer("n2", 2), peer("n3")), remove_peers=("n1",))
    assert merged(OverlayChange(encryption=first), OverlayChange()).encryption == first
    assert merged(OverlayChange(), OverlayChange(encryption=then)).encryption == then
    assert merged(OverlayChange(encryption=then), OverlayChange(encryption=first)).encryption == first
