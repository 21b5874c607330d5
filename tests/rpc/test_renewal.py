"""A certificate is renewed in time, and at once when role or CA changed; what breaks off harms nothing."""

import asyncio
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.crypto.authorities import cross_sign
from vault.crypto.certificates import (
    Authority,
    Role,
    identity_of,
    issue,
    issuer_facts,
    key_for,
    new_authority,
    new_tls_key,
    request_certificate,
)
from vault.crypto.errors import InvalidCertificate
from vault.crypto.node_seal import NodeKey
from vault.crypto.plaintext import Plaintext
from vault.model.errors import VaultError
from vault.rpc import renewal
from vault.rpc.errors import CannotReach, RemoteRefusal
from vault.rpc.messages_ca import Issued, IssueRequest, TrustIs
from vault.rpc.renewal import Held, Plan, Renewal, plan

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CLUSTER, NODE = "c" * 25, "n" * 25
OLD, NEW = new_authority(now=NOW), new_authority(now=NOW)
CROSS = cross_sign(NEW.certificate_pem, OLD, now=NOW)
BOTH = OLD.certificate_pem + NEW.certificate_pem
TLS_KEY, NODE_KEY = new_tls_key(), NodeKey.generate()
HALF, MOST = timedelta(days=45), timedelta(days=72)  # And a little, for the hour before.


def certificate(
    authority: Authority = OLD, role: Role = Role.WORKER, *, key: Plaintext = TLS_KEY, node_id: str = NODE
) -> bytes:
    request = request_certificate(key, node_key=NODE_KEY.public())
    return issue(authority, request, cluster_id=CLUSTER, node_id=node_id, role=role, now=NOW)[0]


def held(chain: bytes | None = None, trust: bytes = OLD.certificate_pem) -> Held:
    return Held(tls_key=TLS_KEY, node_key=NODE_KEY, certificate=chain or certificate(), trust=trust)


def told(
    role: str = "worker", issuer: Authority = OLD, trust: bytes = OLD.certificate_pem, within_s: float = 0.0
) -> TrustIs:
    return TrustIs(trust=trust, role=role, issuer=issuer_facts(issuer.certificate_pem).public_key, within_s=within_s)


def planned(what: Held, word: TrustIs | None, share: float = 0.0) -> Plan:
    return plan(what, word, told_at=NOW, share=share)


@given(st.floats(min_value=0, max_value=1, exclude_max=True))
def test_nothing_told_renews_between_half_and_four_fifths_of_life(share: float) -> None:
    for word in (None, told()):
        due = planned(HELD, word, share).renew_at
        assert HALF - timedelta(hours=1) <= due - NOW <= MOST + timedelta(hours=1)


HELD = held()


def test_another_role_or_another_ca_renews_at_once() -> None:
    assert planned(HELD, told(role="manager")) == Plan(renew_at=NOW)
    assert planned(HELD, told(issuer=NEW, trust=BOTH)) == Plan(renew_at=NOW, trust=BOTH)
    renewed = held(certificate(NEW) + CROSS, BOTH)
    assert planned(renewed, told(issuer=NEW, trust=BOTH)).renew_at > NOW


@given(st.floats(min_value=0, max_value=1, exclude_max=True))
def test_many_nodes_renew_spread_over_the_time_they_are_told(share: float) -> None:
    due = planned(HELD, told(issuer=NEW, trust=BOTH, within_s=60), share).renew_at
    assert due == NOW + timedelta(seconds=60 * share)


def test_roots_that_do_not_vouch_for_one_s_own_certificate_are_taken_with_another_one_only() -> None:
    """A node that slept through a whole rotation is not to cut itself off."""
    assert planned(HELD, told(issuer=NEW, trust=NEW.certificate_pem)) == Plan(renew_at=NOW)
    unreadable = planned(HELD, told(trust=b"x"))
    assert unreadable == Plan(renew_at=NOW)


def test_the_end_of_a_rotation_is_taken_over_without_another_certificate() -> None:
    renewed = held(certificate(NEW) + CROSS, BOTH)
    after = planned(renewed, told(issuer=NEW, trust=NEW.certificate_pem))
    assert after.trust == NEW.certificate_pem
    assert after.renew_at > NOW


class World:
    """A node, its disk, and a manager that answers as it is told."""

    def __init__(self, first: Held = HELD) -> None:
        self.now = NOW
        self.first = first
        self.authority, self.role, self.trust = OLD, Role.WORKER, OLD.certificate_pem
        self.node_id = NODE
        self.failures: list[VaultError] = []
        self.request: bytes = b""  # Answered instead of the one that is asked.
        self.disk: list[str] = []
        self.prepared: list[Plaintext] = []
        self.adopted: list[Held] = []
        self.asked = 0
        self.renewal = Renewal(first, ask=self.ask, keeper=self, now=lambda: self.now, chance=lambda: 0.0)

    async def prepare(self, tls_key: Plaintext) -> None:
        self.disk.append("prepared")
        self.prepared.append(tls_key)

    async def adopt(self, what: Held) -> None:
        self.disk.append("adopted")
        self.adopted.append(what)

    async def ask(self, wanted: IssueRequest) -> Issued:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        assert self.disk[-1] == "prepared", "the key is kept before anybody could have a certificate for it"
        assert wanted.token == ""
        made, _ = issue(
            self.authority,
            self.request or wanted.request,
            cluster_id=CLUSTER,
            node_id=self.node_id,
            role=self.role,
            now=self.now,
        )
        chain = made + (CROSS if self.authority is NEW else b"")
        return Issued(cluster_id=CLUSTER, node_id=self.node_id, certificate=chain, trust=self.trust)

    async def until(self, count: int) -> None:
        """Run until the keeper was asked so many times to adopt something."""
        running = asyncio.create_task(self.renewal.run())
        try:
            async with asyncio.timeout(5):
                while len(self.adopted) < count:
                    assert not running.done(), running.exception()
                    await asyncio.sleep(0)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "RETRY_S", (0.001, 0.002))
    monkeypatch.setattr(renewal, "LOOK_AGAIN_S", 0.001)


async def test_a_certificate_past_half_of_its_life_is_renewed_with_a_fresh_key_and_the_same_seal_key() -> None:
    world = World()
    world.now = NOW + HALF + timedelta(hours=1)
    await world.until(1)
    (now_held,) = world.adopted
    assert now_held.tls_key == key_for(now_held.certificate, world.prepared)
    assert now_held.tls_key != TLS_KEY
    identity = identity_of(now_held.certificate, authority_pem=now_held.trust, now=world.now)
    assert (identity.node_id, identity.node_key) == (NODE, NODE_KEY.public())
    assert world.asked == 1


async def test_a_promotion_that_the_session_tells_brings_a_manager_s_certificate() -> None:
    world = World()
    world.role = Role.MANAGER
    world.renewal.tell(told(role="manager"))
    await world.until(1)
    assert identity_of(world.adopted[0].certificate, authority_pem=world.trust).role is Role.MANAGER


async def test_a_rotation_brings_trust_first_then_a_certificate_then_the_new_root_alone() -> None:
    world = World()
    world.authority, world.trust = NEW, BOTH
    world.renewal.tell(told(issuer=NEW, trust=BOTH))
    await world.until(2)
    first, second = world.adopted
    assert (first.certificate, first.trust) == (world.first.certificate, BOTH)
    assert identity_of(second.certificate, authority_pem=NEW.certificate_pem)
    world.renewal.tell(told(issuer=NEW, trust=NEW.certificate_pem))
    await world.until(3)
    assert world.adopted[2].trust == NEW.certificate_pem
    assert world.adopted[2].certificate == second.certificate
    assert world.asked == 1


async def test_what_fails_is_tried_again_and_nothing_is_adopted_before() -> None:
    world = World()
    world.failures = [
        CannotReach("a", "gone"),
        RemoteRefusal(HTTPStatus.SERVICE_UNAVAILABLE, "no leader", "NoLeader"),
        InvalidCertificate("x"),
    ]
    world.renewal.tell(told(role="manager"))
    world.role = Role.MANAGER
    await world.until(1)
    assert world.asked == 4
    assert world.disk == ["prepared"] * 4 + ["adopted"]


async def test_a_manager_that_has_not_heard_of_the_change_is_asked_again_not_at_once() -> None:
    """It gives what it gave before; the next answer is right."""
    world = World()
    world.renewal.tell(told(role="manager"))
    await world.until(2)
    world.role = Role.MANAGER
    await world.until(3)
    assert identity_of(world.adopted[-1].certificate, authority_pem=world.trust).role is Role.MANAGER


@pytest.mark.parametrize("other", ["node", "key"])
async def test_a_certificate_for_another_node_or_key_is_not_taken(other: str) -> None:
    world = World()
    if other == "node":
        world.node_id = "x" * 25
    else:
        world.request = request_certificate(new_tls_key(), node_key=NODE_KEY.public())
    world.renewal.tell(told(role="manager"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await world.until(1)
    assert world.asked > 1
    assert world.adopted == []


async def test_a_certificate_that_our_clock_does_not_take_is_not_taken() -> None:
    world = World()
    world.renewal.tell(told(role="manager"))
    issued_at, world.now = world.now, NOW - timedelta(hours=2)
    world.renewal = Renewal(HELD, ask=world.ask, keeper=world, now=lambda: NOW - timedelta(hours=2), chance=lambda: 0.0)
    world.now = issued_at
    world.renewal.tell(told(role="manager"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await world.until(1)
    assert world.adopted == []


def test_a_word_that_is_repeated_changes_nothing_about_when() -> None:
    world = World()
    world.renewal.tell(told(issuer=NEW, trust=BOTH, within_s=60))
    world.now = NOW + timedelta(seconds=30)
    world.renewal.tell(told(issuer=NEW, trust=BOTH, within_s=60))
    assert world.renewal._told_at == NOW
    assert not msgspec.structs.asdict(told())["within_s"]
