"""Who may connect as whom: certificates of every wrong kind, renewal, rotation of the root, keys in memory only."""

import asyncio
import logging
import os
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.rpc import cluster
from tests.rpc.cluster import (
    ECHO,
    HOST,
    MANAGER,
    THE_CLUSTER,
    THE_MANAGER,
    THE_WORKER,
    WORKER,
    Cluster,
    client_of,
    now,
    serving,
)
from tests.rpc.world import Ask, Tell
from vault.crypto.certificates import Identity, Role, new_tls_key
from vault.crypto.errors import InvalidCertificate
from vault.rpc.call import Call
from vault.rpc.client import Client
from vault.rpc.credentials import Credentials
from vault.rpc.errors import CannotReach, CertificatesExpired, PeerRefused, RemoteRefusal
from vault.rpc.first_contact import fetch_root
from vault.rpc.messages_ca import AskRoot, RootCA
from vault.rpc.tls_errors import explained

STRANGER = Cluster()  # Of the same id, and another root.
LONG_AGO = now() - timedelta(days=100)


async def ask(client: Client, address: str, method: str = "node.echo") -> str:
    return (await client.ask(address, method, Ask(text="x"), Tell, 5)).text


async def test_without_a_certificate_only_what_is_allowed_can_be_called() -> None:
    async with serving() as (_, address), client_of(THE_CLUSTER.joiner()) as joiner:
        assert await ask(joiner, address, "ca.echo") == "x from a stranger"
        with pytest.raises(RemoteRefusal, match="may not call"):
            await ask(joiner, address, "node.echo")
        async with joiner.call(address, "node.echo") as call:
            with pytest.raises(RemoteRefusal, match="may not call"):
                await call.receive(Tell)


async def test_permission_is_asked_for_every_call_with_the_identity_of_the_certificate() -> None:
    asked = []

    def note(method: str, peer: Identity | None) -> None:
        asked.append((method, peer))

    async with serving(authorize=note) as (_, address), client_of() as client:
        await ask(client, address)
        await ask(client, address, "ca.echo")
    assert asked == [("node.echo", THE_WORKER.own), ("ca.echo", THE_WORKER.own)]


async def test_permission_that_fails_unexpectedly_is_no_permission() -> None:
    def broken(method: str, peer: object) -> None:
        raise KeyError(method)

    async with serving(authorize=broken) as (_, address), client_of() as client:
        with pytest.raises(RemoteRefusal, match="failed while it answered"):
            await ask(client, address)


async def test_a_node_of_another_cluster_gets_nowhere_and_the_managers_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    foreign = STRANGER.credentials(trust=THE_CLUSTER.authority.certificate_pem + STRANGER.authority.certificate_pem)
    with caplog.at_level(logging.INFO):
        async with serving() as (server, address), client_of(foreign) as client:
            with pytest.raises(CannotReach, match="its log tells whether it refused this node's certificate"):
                await ask(client, address)
            assert not server.connected
    [record] = [record for record in caplog.records if record.message == "rpc_peer_refused"]
    assert "certificate" in vars(record)["reason"]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", CertificatesExpired),
        ("TLSV1_ALERT_UNKNOWN_CA", PeerRefused),
        ("WRONG_VERSION_NUMBER", CannotReach),
        ("SOMETHING_NEW", CannotReach),
    ],
)
def test_alerts_of_the_other_end_are_told_as_what_they_mean(reason: str, kind: type[CannotReach]) -> None:
    alert = ssl.SSLError()
    alert.reason = reason
    told = explained("h:1", alert, own=THE_WORKER.own, now=now())
    assert type(told) is kind
    assert reason not in told.message


async def test_a_certificate_of_our_root_for_another_cluster_is_refused() -> None:
    other = Cluster(authority=THE_CLUSTER.authority, cluster_id="o" * 25)
    async with serving() as (_, address), client_of(other.credentials()) as client:
        with pytest.raises(PeerRefused, match="of another cluster"):
            await ask(client, address)
    async with serving(credentials=THE_MANAGER) as (_, address), client_of(other.manager()) as client:
        with pytest.raises(PeerRefused):
            await ask(client, address)


async def test_a_manager_of_another_root_is_not_believed() -> None:
    async with serving(credentials=STRANGER.manager()) as (_, address), client_of() as client:
        with pytest.raises(PeerRefused, match="not issued by this cluster's CA"):
            await ask(client, address)


async def test_a_worker_cannot_pass_for_a_manager() -> None:
    async with serving(credentials=THE_WORKER) as (_, address), client_of(THE_MANAGER) as client:
        with pytest.raises(PeerRefused, match="it is no manager"):
            await ask(client, address)


async def test_an_expired_certificate_of_ours_is_told_in_dockers_words() -> None:
    expired = THE_CLUSTER.credentials(at=LONG_AGO)
    async with serving() as (server, address), client_of(expired) as client:
        for attempt in (ask(client, address), _open(client, address)):
            with pytest.raises(CertificatesExpired) as raised:
                await attempt
            assert raised.value.ours
            text = "Swarm certificates have expired. To replace them, leave the swarm and join again."
            assert raised.value.message == text
        assert not server.connected


async def test_an_expired_certificate_of_the_manager_is_told_as_the_managers() -> None:
    expired = THE_CLUSTER.credentials(Role.MANAGER, at=LONG_AGO)
    text = rf"^cannot reach {HOST}:\d+: its certificate has expired$"
    async with serving(credentials=expired) as (_, address), client_of() as client:
        with pytest.raises(CertificatesExpired, match=text) as raised:
            await ask(client, address)
        assert not raised.value.ours


async def test_a_certificate_of_the_future_points_at_the_clocks() -> None:
    ahead = THE_CLUSTER.credentials(Role.MANAGER, at=now() + timedelta(days=2))
    async with serving(credentials=ahead) as (_, address), client_of() as client:
        with pytest.raises(PeerRefused, match="set the clocks"):
            await ask(client, address)


async def test_tls_below_1_3_is_refused() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving() as (server, address):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(HOST, server.port, ssl=context)
        async with client_of() as client:
            assert await ask(client, address)


async def test_a_renewed_certificate_is_used_for_new_connections_while_old_calls_run() -> None:
    server_side, client_side = THE_CLUSTER.manager("a" * 25), THE_CLUSTER.credentials(node_id="1" * 25)
    async with (
        serving(credentials=server_side) as (_, address),
        client_of(client_side) as client,
        client.call(address, "node.echo") as old,
    ):
        assert await ask(client, address) == f"x from {'1' * 25}"
        _replace(server_side, Role.MANAGER, "b" * 25)
        _replace(client_side, Role.WORKER, "2" * 25)
        await old.send(Ask(text="old"))
        assert (await old.receive(Tell)).text == f"old from {'1' * 25}"
        assert await ask(client, address) == f"x from {'2' * 25}"
        async with client.call(address, "node.echo") as new:
            assert new.peer is not None
            assert new.peer.node_id == "b" * 25
        assert old.peer is not None
        assert old.peer.node_id == "a" * 25


async def test_an_ask_that_runs_while_the_certificate_is_renewed_is_answered_and_its_connection_closed_then() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def held(call: Call) -> None:
        started.set()
        await go_on.wait()
        await cluster.echo(call)

    credentials = THE_CLUSTER.credentials(node_id="1" * 25)
    async with serving({**ECHO, "node.held": held}) as (server, address), client_of(credentials) as client:
        running = asyncio.create_task(ask(client, address, "node.held"))
        await started.wait()
        _replace(credentials, Role.WORKER, "2" * 25)
        assert await ask(client, address) == f"x from {'2' * 25}"
        assert server.connected == {"1" * 25, "2" * 25}
        go_on.set()
        assert await running == f"x from {'1' * 25}"
        await _until(lambda: server.connected == {"2" * 25})


async def test_while_the_root_is_rotated_nodes_of_both_roots_talk_to_each_other() -> None:
    both = THE_CLUSTER.authority.certificate_pem + STRANGER.authority.certificate_pem
    old, new = THE_CLUSTER.credentials(trust=both), STRANGER.credentials(trust=both)
    for of in (THE_CLUSTER, STRANGER):
        manager = of.credentials(Role.MANAGER, trust=both)
        async with serving(credentials=manager) as (_, address), client_of(old) as one, client_of(new) as two:
            assert await ask(one, address) == await ask(two, address) == f"x from {WORKER}"


def test_credentials_that_do_not_fit_change_nothing() -> None:
    credentials = THE_CLUSTER.credentials()
    own, contexts = credentials.own, (credentials.client_context(), credentials.server_context())
    trust = THE_CLUSTER.authority.certificate_pem
    certificate = THE_CLUSTER.issued(Role.WORKER, WORKER, new_tls_key())
    for wrong in (
        {"trust": trust, "certificate": certificate, "key": new_tls_key()},
        {"trust": trust, "certificate": certificate},
        {"trust": STRANGER.authority.certificate_pem, "certificate": certificate, "key": new_tls_key()},
        {"trust": b""},
    ):
        with pytest.raises(InvalidCertificate):
            credentials.replace(**wrong)  # type: ignore[arg-type]
        assert (credentials.own, credentials.generation) == (own, 0)
        assert (credentials.client_context(), credentials.server_context()) == contexts


def test_keys_reach_openssl_without_a_file_and_no_descriptor_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[str] = []

    load = ssl.SSLContext.load_cert_chain

    def noting(context: ssl.SSLContext, path: str) -> None:
        paths.append(os.readlink(path))
        load(context, path)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", noting)
    before = set(os.listdir("/proc/self/fd"))
    THE_CLUSTER.credentials()
    assert paths
    assert all(path.startswith("/memfd:") for path in paths)
    assert set(os.listdir("/proc/self/fd")) == before


async def test_no_key_is_in_any_file_written_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    key = new_tls_key()
    trust, certificate = THE_CLUSTER.authority.certificate_pem, THE_CLUSTER.issued(Role.MANAGER, MANAGER, key)
    own = Credentials(trust=trust, certificate=certificate, key=key)
    async with serving(credentials=own) as (_, address), client_of() as client:
        await ask(client, address)
    needle = key.reveal()[40:80]
    found = [path for top in (tmp_path, Path("/dev/shm")) for path in top.rglob("*") if _holds(path, needle)]
    assert found == []


async def test_first_contact_learns_the_root_and_checks_nothing() -> None:
    shown = RootCA(certificate=THE_CLUSTER.authority.certificate_pem, now=now(), node_life_s=1.0)

    async def root(call: Call) -> None:
        await call.receive(AskRoot)
        assert call.peer is None
        await call.send(shown)

    async with serving({"ca.root": root}) as (_, address):
        assert await fetch_root(address, timeout_s=5) == shown
    with pytest.raises(CannotReach):
        await fetch_root(address, timeout_s=5)


async def _open(client: Client, address: str) -> None:
    async with client.call(address, "node.echo") as call:
        await call.receive(Tell)


def _replace(credentials: Credentials, role: Role, node_id: str) -> None:
    key = new_tls_key()
    certificate = THE_CLUSTER.issued(role, node_id, key)
    credentials.replace(trust=THE_CLUSTER.authority.certificate_pem, certificate=certificate, key=key)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def _holds(path: Path, needle: bytes) -> bool:
    return path.is_file() and needle in path.read_bytes()
