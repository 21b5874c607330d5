"""Joining over the real channel: by token, from whichever manager was named, with one sentence for what goes wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import msgspec
import pytest

from tests.dispatcher.swarm import CLUSTER, FakeStore, after, cluster_in, ident, node, swarm
from vault.crypto.certificates import Authority, Role, identity_of, issue, new_authority, new_tls_key
from vault.crypto.certificates import request_certificate as request_for
from vault.crypto.errors import ClockSkew, InvalidCertificate, InvalidJoinToken, UnpinnedAuthority
from vault.crypto.node_seal import NodeKey
from vault.dispatcher.authority_service import AuthorityService
from vault.dispatcher.authorize import authorize
from vault.model.errors import VaultError
from vault.rpc.client import Client
from vault.rpc.credentials import Credentials
from vault.rpc.errors import (
    CallBroken,
    CannotReach,
    NoAnswer,
    NotLeader,
    RemoteRefusal,
    VersionMismatch,
)
from vault.rpc.first_contact import fetch_root
from vault.rpc.joining import Joined, NoManagerThere, join, with_port
from vault.rpc.messages_ca import Issued, IssueRequest, RootCA
from vault.rpc.server import Server
from vault.store.changes import Put
from vault.store.trust import begun, rotated_tokens, signer, trust_bundle

NOW = datetime.now(UTC)
AUTHORITY = new_authority(now=NOW)
HOST = "127.14.0.1"


class World:
    """A swarm whose managers share a store, and a machine that wants in."""

    def __init__(self) -> None:
        self.store = FakeStore(swarm(node("m", "manager"), authority=AUTHORITY))
        self.leader = ("", "")
        self.numbers = iter(range(10, 100))

    def token(self, role: str = "worker") -> str:
        text: str = getattr(cluster_in(self.store.committed).join_tokens, role)
        return text

    @asynccontextmanager
    async def manager(self, store: FakeStore | None = None) -> AsyncIterator[str]:
        """Run a manager; yield its address."""
        service = AuthorityService(
            store or self.store,
            now=lambda: datetime.now(UTC),
            new_id=lambda: f"n{next(self.numbers):024}",
            leader=lambda: self.leader,
        )
        signs = signer(cluster_in(self.store.committed))
        key = new_tls_key()
        request = request_for(key, node_key=NodeKey.generate().public())
        certificate, _ = issue(
            signs.authority, request, cluster_id=CLUSTER, node_id=ident("m"), role=Role.MANAGER, now=NOW
        )
        credentials = Credentials(
            trust=trust_bundle(cluster_in(self.store.committed)),
            certificate=certificate + signs.cross_certificate,
            key=key,
        )
        server = Server(
            service.handlers(), credentials, lambda method, who: authorize(self.store.committed, method, who)
        )
        await server.start(HOST, 0)
        try:
            yield f"{HOST}:{server.port}"
        finally:
            await server.close()

    async def join(
        self, *addresses: str, token: str = "", now: datetime | None = None, timeout_s: float = 5.0
    ) -> Joined:
        return await join(
            token=token or self.token(),
            addresses=addresses,
            fetch_root=fetch_root,
            client_for=lambda trust: Client(Credentials(trust=trust)),
            now=lambda: now or datetime.now(UTC),
            hostname="host",
            timeout_s=timeout_s,
            pause_s=0.01,
        )


@pytest.mark.parametrize("role", ["worker", "manager"])
async def test_a_machine_becomes_a_node_whose_certificate_the_managers_take(role: str) -> None:
    world = World()
    async with world.manager() as address:
        joined = await world.join(address, token=world.token(role))
        known = world.store.committed.nodes[joined.identity.node_id]
        assert (joined.identity.role.value, known.spec.role) == (f"swarm-{role}", role)
        assert (known.seal_key, known.status.addr) == (joined.node_key.public(), "127.0.0.1")
        client = Client(Credentials(trust=joined.trust, certificate=joined.certificate, key=joined.tls_key))
        request = request_for(new_tls_key(), node_key=joined.node_key.public())
        again = await client.ask(address, "ca.issue", IssueRequest(request=request), Issued, 5)
        await client.close()
    assert again.node_id == joined.identity.node_id
    assert len(world.store.committed.nodes) == 2


async def test_machines_that_join_at_one_moment_by_one_token_are_nodes_of_their_own() -> None:
    world = World()
    async with world.manager() as address:
        joined = await asyncio.gather(*(world.join(address, token=world.token("manager")) for _ in range(3)))
    assert len({one.identity.node_id for one in joined}) == 3
    for one in joined:
        known = world.store.committed.nodes[one.identity.node_id]
        assert (known.spec.role, known.seal_key) == ("manager", one.node_key.public())


async def test_while_the_root_is_rotated_machines_join_by_the_token_of_the_old_one() -> None:
    world = World()
    token = world.token()
    cluster = cluster_in(world.store.committed)
    world.store.committed = after(world.store.committed, Put(begun(cluster, new_authority(now=NOW), now=NOW)))
    async with world.manager() as address:
        joined = await world.join(address, token=token)
    cluster = cluster_in(world.store.committed)
    assert joined.trust == trust_bundle(cluster)
    assert identity_of(joined.certificate, authority_pem=AUTHORITY.certificate_pem) == joined.identity


async def test_a_manager_that_does_not_lead_sends_the_joiner_to_the_one_that_does() -> None:
    world = World()
    follower = FakeStore(world.store.committed)
    follower.leads = False
    async with world.manager(follower) as first, world.manager() as leading:
        world.leader = (ident("m"), leading)
        joined = await world.join(first)
    assert joined.identity.node_id in world.store.committed.nodes


async def test_addresses_that_lead_nowhere_do_no_harm_beside_one_that_does() -> None:
    world = World()
    async with world.manager() as address:
        assert await world.join("127.14.0.9:9", "nowhere.invalid", address)


async def refused(world: World, *addresses: str, **more: str | datetime | float) -> VaultError:
    before = world.store.committed
    with pytest.raises(VaultError) as caught:
        await world.join(*addresses, **more)  # type: ignore[arg-type]
    assert world.store.committed is before
    return caught.value


async def test_a_rotated_token_is_refused_in_docker_s_words() -> None:
    world = World()
    token = world.token()
    rotated = rotated_tokens(cluster_in(world.store.committed), worker=True, manager=True)
    world.store.committed = after(world.store.committed, Put(rotated))
    async with world.manager() as address:
        error = await refused(world, address, token=token)
    assert isinstance(error, RemoteRefusal)
    assert (error.status, error.message) == (
        HTTPStatus.BAD_REQUEST,
        "A valid join token is necessary to join this cluster",
    )


async def test_a_malformed_token_is_refused_before_anybody_is_asked() -> None:
    assert isinstance(await refused(World(), "127.14.0.9:9", token="SWMTKN-1-x"), InvalidJoinToken)


async def test_the_token_of_another_swarm_does_not_match_the_ca_and_sends_no_secret() -> None:
    other = swarm(authority=new_authority(now=NOW))
    world = World()
    async with world.manager() as address:
        error = await refused(world, address, token=cluster_in(other).join_tokens.worker)
    assert isinstance(error, UnpinnedAuthority)
    assert error.message.startswith("remote CA does not match fingerprint of the join token")


@pytest.mark.parametrize(("days", "where"), [(-1, "behind"), (30, "ahead of")])
async def test_a_clock_too_far_off_is_named(days: int, where: str) -> None:
    world = World()
    async with world.manager() as address:
        error = await refused(world, address, now=datetime.now(UTC) + timedelta(days=days))
    assert isinstance(error, ClockSkew)
    assert f"{where} the manager's, too far for certificates to work: set the clock" in error.message


async def test_where_no_manager_is_the_sentence_says_what_to_give() -> None:
    error = await refused(World(), "127.14.0.9:9")
    assert isinstance(error, NoManagerThere)
    assert error.message == (
        "cannot reach 127.14.0.9:9: connection refused: give the address of a manager, "
        "as `vault swarm join-token worker` prints it there"
    )


async def test_something_that_is_no_manager_is_told_from_one() -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(other, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    error = await refused(World(), f"{HOST}:{port}")
    server.close()
    assert isinstance(error, NoManagerThere)
    assert "does not speak TLS" in error.message


async def test_what_a_manager_said_is_told_rather_than_that_another_was_silent() -> None:
    other = swarm(authority=new_authority(now=NOW))
    world = World()
    async with world.manager() as address:
        error = await refused(world, "127.14.0.9:9", address, token=cluster_in(other).join_tokens.worker)
    assert isinstance(error, UnpinnedAuthority)


async def test_while_nobody_leads_the_joiner_asks_on_and_says_so_in_the_end() -> None:
    world = World()
    world.store.leads = False
    async with world.manager() as address:
        error = await refused(world, address, timeout_s=0.3)
    assert isinstance(error, NotLeader)
    assert "knows of no leader" in error.message


class Scripted:
    """A manager's answers, one after another; an error is raised."""

    def __init__(self, *script: Issued | VaultError | None) -> None:
        self.script = list(script)
        self.asked: list[tuple[str, IssueRequest]] = []
        self.closed = False
        self.store = FakeStore(swarm(authority=AUTHORITY))

    async def ask(self, address: str, method: str, message: object, reply_type: object, timeout_s: float) -> Issued:
        assert isinstance(message, IssueRequest)
        self.asked.append((address, message))
        said = self.script.pop(0)
        if isinstance(said, VaultError):
            raise said
        key = message.request
        signed, _ = issue(AUTHORITY, key, cluster_id=CLUSTER, node_id="n" * 25, role=Role.WORKER, now=NOW)
        trust = AUTHORITY.certificate_pem
        return said or Issued(cluster_id=CLUSTER, node_id="n" * 25, certificate=signed, trust=trust)

    async def close(self) -> None:
        self.closed = True

    async def joined(self, *addresses: str) -> Joined:
        async def root(address: str) -> RootCA:
            return RootCA(certificate=AUTHORITY.certificate_pem, now=NOW, node_life_s=90 * 86400)

        return await join(
            token=cluster_in(self.store.committed).join_tokens.worker,
            addresses=addresses,
            fetch_root=root,
            client_for=lambda trust: self,
            now=lambda: NOW,
            hostname="host",
            timeout_s=2,
            pause_s=0,
        )


async def test_an_answer_that_is_lost_is_asked_for_again_with_the_same_keys() -> None:
    asker = Scripted(CallBroken("a", "reset"), NoAnswer("b", 5), CannotReach("a", "gone"), NotLeader("m", "c:1"), None)
    await asker.joined("a", "b")
    assert [address for address, _ in asker.asked] == ["a:2377", "b:2377", "a:2377", "b:2377", "c:1"]
    assert len({message.request for _, message in asker.asked}) == 1
    assert asker.closed


async def test_managers_that_name_each_other_as_leader_are_asked_once_a_round() -> None:
    asker = Scripted(NotLeader("b", "b:2377"), NotLeader("a", "a:2377"), NotLeader("b", "b:2377"), None)
    await asker.joined("a")
    assert [address for address, _ in asker.asked] == ["a:2377", "b:2377", "a:2377", "b:2377"]


async def test_a_manager_that_was_asked_as_the_leader_is_not_asked_again_in_the_same_round() -> None:
    asker = Scripted(NotLeader("b", "b:2377"), CannotReach("b:2377", "gone"), None)
    await asker.joined("a", "b")
    assert [address for address, _ in asker.asked] == ["a:2377", "b:2377", "a:2377"]


@pytest.mark.parametrize(
    "error",
    [
        VersionMismatch("a", ours=1, theirs=2),
        RemoteRefusal(HTTPStatus.BAD_REQUEST, "A valid join token is necessary to join this cluster", "x"),
        RemoteRefusal(HTTPStatus.FORBIDDEN, "no", "x"),
    ],
)
async def test_what_asking_again_would_not_help_is_not_asked_again(error: VaultError) -> None:
    asker = Scripted(error)
    with pytest.raises(type(error)) as caught:
        await asker.joined("a")
    assert caught.value is error
    assert asker.closed


def answer_for_other_keys(authority: Authority = AUTHORITY, node_id: str = "n" * 25) -> Issued:
    request = request_for(new_tls_key(), node_key=NodeKey.generate().public())
    signed, _ = issue(authority, request, cluster_id=CLUSTER, node_id=node_id, role=Role.WORKER, now=NOW)
    return Issued(cluster_id=CLUSTER, node_id=node_id, certificate=signed, trust=AUTHORITY.certificate_pem)


@pytest.mark.parametrize(
    "answer",
    [
        answer_for_other_keys(),
        answer_for_other_keys(new_authority(now=NOW)),
        msgspec.structs.replace(answer_for_other_keys(), certificate=b""),
        msgspec.structs.replace(answer_for_other_keys(), trust=b"x"),
    ],
)
async def test_a_certificate_that_is_not_what_was_asked_for_is_not_taken(answer: Issued) -> None:
    with pytest.raises(InvalidCertificate):
        await Scripted(answer).joined("a")


def test_addresses_may_leave_the_port_out() -> None:
    for given, meant in (
        ("10.0.0.1", "10.0.0.1:2377"),
        ("10.0.0.1:99", "10.0.0.1:99"),
        ("host", "host:2377"),
        ("fd00::1", "[fd00::1]:2377"),
        ("[fd00::1]", "[fd00::1]:2377"),
        ("[fd00::1]:99", "[fd00::1]:99"),
    ):
        assert with_port(given) == meant


def test_what_came_of_joining_prints_no_key() -> None:
    joined = Joined(
        tls_key=new_tls_key(),
        node_key=NodeKey.generate(),
        identity=identity_of(answer_for_other_keys().certificate, authority_pem=AUTHORITY.certificate_pem),
        certificate=b"",
        trust=b"",
        managers=(),
    )
    text = repr(joined)
    assert "PRIVATE" not in text
    assert "NodeKey(32 bytes)" in text
