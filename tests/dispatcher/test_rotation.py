"""Rotating the root CA while nodes come and go, leaders change and answers are lost: no two members are ever parted."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import count
from random import Random

import msgspec
import pytest

from tests.dispatcher.swarm import AUTHORITY, CLUSTER, NOW, after, cluster_in, ident, joiner, node, swarm
from vault.crypto.certificates import (
    Role,
    identity_of,
    issue,
    issuer_of,
    new_authority,
    new_tls_key,
    request_certificate,
)
from vault.crypto.errors import InvalidJoinToken
from vault.crypto.node_seal import NodeKey
from vault.crypto.tokens import digest_of
from vault.dispatcher.authority import admit, announcement, renew
from vault.dispatcher.rotation import decide, waited_for
from vault.model.ids import Kind
from vault.model.node import Node
from vault.rpc.messages_ca import IssueRequest
from vault.rpc.renewal import Held, plan
from vault.store.changes import Change, Delete, Put
from vault.store.decision import Decision
from vault.store.snapshot import Snapshot, Stale
from vault.store.trust import begun, given_up, reported_tls_info, trust_bundle

NOW_S = NOW.timestamp()
STARTED = NOW.replace(day=1)


def decided(snapshot: Snapshot) -> Decision:
    return decide(None, snapshot, now_s=NOW_S, new_id=lambda: "")


def rotating(snapshot: Snapshot) -> Snapshot:
    return after(snapshot, Put(begun(cluster_in(snapshot), new_authority(now=NOW), now=NOW)))


def renewed(snapshot: Snapshot, name: str, *, reports: bool = True) -> Snapshot:
    """Return the store after a node was given a certificate, and said that it uses it."""
    request = request_certificate(new_tls_key(), node_key=NodeKey.generate().public())
    made = renew(snapshot, ident(name), request, now=NOW)
    snapshot = after(snapshot, *made.changes)
    return reported(snapshot, ident(name), made.answer.certificate, made.answer.trust) if reports else snapshot


def reported(snapshot: Snapshot, node_id: str, chain: bytes, trust: bytes) -> Snapshot:
    known = snapshot.nodes[node_id]
    said = msgspec.structs.replace(known.description, tls_info=reported_tls_info(chain, trust))
    return after(snapshot, Put(msgspec.structs.replace(known, description=said)))


def test_a_rotation_begins_with_the_old_root_trusted_and_the_new_one_signing() -> None:
    before = swarm(node("a"))
    cluster = cluster_in(rotating(before))
    assert cluster.root_rotation_in_progress
    assert cluster.root_rotation is not None
    assert cluster.tls_info.trust_root == cluster_in(before).tls_info.trust_root
    assert cluster.tls_info.cert_issuer_public_key != cluster_in(before).tls_info.cert_issuer_public_key
    assert cluster.join_tokens == cluster_in(before).join_tokens
    assert trust_bundle(cluster) == AUTHORITY.certificate_pem + cluster.root_rotation.certificate.encode()


def test_it_ends_when_every_node_says_that_it_uses_a_certificate_by_the_new_root() -> None:
    snapshot = rotating(swarm(node("a"), node("b")))
    assert [one.id for one in waited_for(snapshot)] == [ident("a"), ident("b")]
    assert decided(snapshot) == Decision()
    snapshot = renewed(renewed(snapshot, "a"), "b", reports=False)  # The answer to b was lost.
    assert [one.id for one in waited_for(snapshot)] == [ident("b")]
    assert decided(snapshot) == Decision()
    snapshot = renewed(snapshot, "b")
    new_root = cluster_in(snapshot).root_rotation
    snapshot = after(snapshot, *decided(snapshot).changes)
    cluster = cluster_in(snapshot)
    assert new_root is not None
    assert (cluster.root_rotation, cluster.root_rotation_in_progress) == (None, False)
    assert (cluster.tls_info.trust_root, cluster.root_key) == (new_root.certificate, new_root.key)
    assert trust_bundle(cluster) == new_root.certificate.encode()
    assert decided(snapshot) == Decision()


def test_join_tokens_name_the_new_root_when_it_is_alone_and_the_ones_before_admit_nobody() -> None:
    before = rotating(swarm(node("a")))
    old = joiner(before, "manager")
    assert admit(before, old, address="10.0.0.9", new_id="n" * 25, now=NOW)
    done = renewed(before, "a")
    done = after(done, *decided(done).changes)
    tokens, root = cluster_in(done).join_tokens, cluster_in(done).tls_info.trust_root.encode()
    for token in (tokens.worker, tokens.manager):
        assert token.startswith(f"SWMTKN-1-{digest_of(root)}-")
        assert token not in (cluster_in(before).join_tokens.worker, cluster_in(before).join_tokens.manager)
    with pytest.raises(InvalidJoinToken):
        admit(done, old, address="10.0.0.9", new_id="n" * 25, now=NOW)


def test_a_node_that_is_down_is_waited_for_until_it_is_removed() -> None:
    snapshot = renewed(rotating(swarm(node("a"), node("b", state="down"))), "a")
    assert decided(snapshot) == Decision()
    gone = after(snapshot, Delete(Kind.NODE, ident("b"), snapshot.nodes[ident("b")].version.index))
    assert decided(gone).changes


def test_a_rotation_given_up_leaves_the_old_root_signing_and_every_node_good() -> None:
    before = rotating(swarm(node("a")))
    request = request_certificate(new_tls_key(), node_key=NodeKey.generate().public())
    made = renew(before, ident("a"), request, now=NOW)
    snapshot = after(before, *made.changes)
    snapshot = after(snapshot, Put(given_up(cluster_in(snapshot))))
    cluster = cluster_in(snapshot)
    assert (cluster.root_rotation, cluster.root_rotation_in_progress) == (None, False)
    assert identity_of(made.answer.certificate, authority_pem=trust_bundle(cluster), now=NOW)
    told = announcement(snapshot, ident("a"))
    assert told is not None
    assert told.issuer == cluster_in(swarm()).tls_info.cert_issuer_public_key
    assert decided(snapshot) == Decision()


def test_an_end_that_was_decided_before_another_rotation_began_is_refused() -> None:
    ready = renewed(rotating(swarm(node("a"))), "a")
    changes = decided(ready).changes
    with pytest.raises(Stale):
        rotating(ready).apply(changes, index=ready.index + 2, now_s=NOW_S)


def test_nothing_is_decided_before_there_is_a_cluster() -> None:
    assert decided(Snapshot()) == Decision()
    assert waited_for(Snapshot()) == ()


@cache
def accepted(chain: bytes, trust: bytes) -> str:
    """Return which node a chain is of, to one that trusts these roots."""
    return identity_of(chain, authority_pem=trust, now=NOW).node_id


class Member:
    """A node as it is on its own disk, whatever the store says of it."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.online = True


class Swarm:
    """Nodes, a store, and leaders one after another, driven by chance."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.snap = swarm(*(node(name, "manager" if name == "m" else "worker") for name in ("m", "a", "b", "c")))
        self.ids = (f"n{number:024}" for number in count(1))
        self.members = {node_id: Member(self.first(node_id)) for node_id in self.snap.nodes}
        self.tokens = [joiner(self.snap)]
        self.story: list[str] = []
        self.finished = 0

    def first(self, node_id: str) -> Held:
        tls_key, node_key = new_tls_key(), NodeKey.generate()
        request = request_certificate(tls_key, node_key=node_key.public())
        chain, _ = issue(AUTHORITY, request, cluster_id=CLUSTER, node_id=node_id, role=Role.WORKER, now=NOW)
        return Held(tls_key=tls_key, node_key=node_key, certificate=chain, trust=AUTHORITY.certificate_pem)

    # What happens.

    def operator(self) -> None:
        cluster = cluster_in(self.snap)
        if cluster.root_rotation is not None and self.random.random() < 0.3:
            self.write(Put(given_up(cluster)))
        else:
            self.write(Put(begun(cluster, new_authority(now=NOW), now=NOW)))

    def session(self) -> None:
        """A node hears what it is to have, and does it."""
        node_id = self.random.choice(sorted(self.members))
        self.hear(node_id, loses=self.random.random() < 0.2)

    def hear(self, node_id: str, *, loses: bool = False) -> None:
        member, told = self.members[node_id], announcement(self.snap, node_id)
        if not member.online or told is None:
            return
        told = msgspec.structs.replace(told, within_s=0.0)
        wanted = plan(member.held, told, told_at=STARTED, share=0.0)
        if wanted.trust is not None:
            member.held = replace(member.held, trust=wanted.trust)
        if wanted.renew_at > NOW:
            return
        tls_key = new_tls_key()
        request = request_certificate(tls_key, node_key=member.held.node_key.public())
        made = renew(self.snap, node_id, request, now=NOW)
        self.write(*made.changes)
        if loses:
            self.story.append(f"answer to {node_id} lost")
            return
        answer = made.answer
        member.held = Held(
            tls_key=tls_key, node_key=member.held.node_key, certificate=answer.certificate, trust=answer.trust
        )

    def report(self) -> None:
        self.say(self.random.choice(sorted(self.members)))

    def say(self, node_id: str) -> None:
        member = self.members[node_id]
        if member.online and node_id in self.snap.nodes:
            self.snap = reported(self.snap, node_id, member.held.certificate, member.held.trust)

    def leader(self) -> None:
        """A leader decides; another may take over before its decision is committed, or something else comes first."""
        seen = self.snap
        if self.random.random() < 0.3:
            self.random.choice((self.report, self.session, self.operator))()
        changes = decided(seen).changes
        if self.random.random() < 0.2:
            return
        try:
            self.write(*(change for change in changes if isinstance(change, Put)))
            self.finished += bool(changes)
        except Stale:
            self.story.append("refused as stale")

    def connection(self) -> None:
        member = self.members[self.random.choice(sorted(self.members))]
        member.online = not member.online or self.random.random() < 0.3

    def machine(self) -> None:
        """A machine joins with a token that an operator copied some time ago."""
        if len(self.members) > 6:
            return
        self.tokens = [*self.tokens[-2:], joiner(self.snap)]
        token = self.random.choice(self.tokens).token
        tls_key, node_key = new_tls_key(), NodeKey.generate()
        request = request_certificate(tls_key, node_key=node_key.public())
        wanted = IssueRequest(request=request, token=token)
        root = cluster_in(self.snap).tls_info.trust_root.encode()
        pinned = f"-{digest_of(root)}-" in token
        try:
            made = admit(self.snap, wanted, address="10.0.0.9", new_id=next(self.ids), now=NOW)
        except InvalidJoinToken:
            assert token not in (
                cluster_in(self.snap).join_tokens.worker,
                cluster_in(self.snap).join_tokens.manager,
            )
            return
        assert pinned, "whoever is admitted could pin the root"
        self.write(*made.changes)
        answer = made.answer
        self.members[answer.node_id] = Member(
            Held(tls_key=tls_key, node_key=node_key, certificate=answer.certificate, trust=answer.trust)
        )

    def write(self, *changes: Change) -> None:
        self.snap = after(self.snap, *changes)

    # What must hold.

    def check(self) -> None:
        """Any two members accept each other, on line or not, and every manager accepts every member."""
        trusts = {member.held.trust for member in self.members.values()} | {trust_bundle(cluster_in(self.snap))}
        for node_id, member in self.members.items():
            for trust in trusts:
                assert accepted(member.held.certificate, trust) == node_id

    def run(self, steps: int) -> None:
        acts: list[tuple[Callable[[], None], int]] = [
            (self.session, 30),
            (self.report, 30),
            (self.leader, 15),
            (self.connection, 3),
            (self.operator, 1),
            (self.machine, 1),
        ]
        for _ in range(steps):
            (act,) = self.random.choices([act for act, _ in acts], [weight for _, weight in acts])
            self.story.append(act.__name__)
            act()
            self.check()

    def heal(self) -> None:
        """Everybody is there again, and nobody asks for anything: a rotation in progress ends."""
        for member in self.members.values():
            member.online = True
        for node_id in (*self.members, *self.members):  # Once to renew, and once to hear that all have.
            self.hear(node_id)
            self.say(node_id)
            self.settle()
            self.check()

    def settle(self) -> None:
        self.write(*(change for change in decided(self.snap).changes if isinstance(change, Put)))


@pytest.mark.parametrize("seed", range(20))
def test_no_two_members_are_parted_by_a_rotation_whatever_happens_meanwhile(seed: int) -> None:
    world = Swarm(seed)
    world.run(steps=300)
    world.heal()
    cluster = cluster_in(world.snap)
    assert not cluster.root_rotation_in_progress, (seed, world.story[-25:])
    assert trust_bundle(cluster) == cluster.tls_info.trust_root.encode()
    for member in world.members.values():
        assert member.held.trust == trust_bundle(cluster)
        signer = issuer_of(member.held.certificate, authority_pem=member.held.trust)
        assert signer.public_key == cluster.tls_info.cert_issuer_public_key, (seed, world.story[-25:])


def test_the_simulation_does_finish_rotations_under_way() -> None:
    """Else it would prove little."""
    worlds = [Swarm(seed) for seed in range(4)]
    for world in worlds:
        world.run(steps=300)
    assert sum(world.finished for world in worlds) >= 2
    assert any("lost" in line for world in worlds for line in world.story)


def test_a_rotation_that_did_not_wait_would_be_noticed() -> None:
    world = Swarm(1)
    world.write(Put(begun(cluster_in(world.snap), new_authority(now=NOW), now=NOW)))
    known: list[Node] = list(waited_for(world.snap))
    assert known
    for one in known:  # Nodes that claim what they do not have.
        info = cluster_in(world.snap).tls_info
        said = msgspec.structs.replace(one.description, tls_info=info)
        held = msgspec.structs.replace(one.certificate, issuer=info.cert_issuer_public_key)  # type: ignore[type-var]
        world.write(Put(msgspec.structs.replace(one, description=said, certificate=held)))
    world.settle()
    with pytest.raises(Exception, match="not issued by this cluster's CA"):
        world.check()
