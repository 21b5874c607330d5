"""Root CAs follow one another without a moment in which a node cannot be verified; OpenSSL's program agrees."""

import dataclasses
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crypto import openssl
from vault.crypto._hazmat import pki
from vault.crypto._hazmat.pki import read_certificate
from vault.crypto.authorities import cross_sign, given_authority
from vault.crypto.certificates import (
    MAX_CHAIN,
    Authority,
    Role,
    identity_after_tls,
    identity_of,
    issue,
    issuer_facts,
    issuer_of,
    new_authority,
    new_tls_key,
    request_certificate,
)
from vault.crypto.errors import (
    CertificateExpired,
    CertificateNotYetValid,
    CryptoError,
    InvalidCertificate,
    UnusableAuthority,
)
from vault.crypto.node_seal import NodeKey
from vault.crypto.plaintext import Plaintext

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CLUSTER, NODE = "c" * 25, "n" * 25
TLS_KEY = new_tls_key()
REQUEST = request_certificate(TLS_KEY, node_key=NodeKey.generate().public())
OLD, NEW, NEWEST = (new_authority(now=NOW) for _ in range(3))
CROSS = cross_sign(NEW.certificate_pem, OLD, now=NOW)


def leaf_under(authority: Authority, *, now: datetime = NOW, role: Role = Role.WORKER) -> bytes:
    return issue(authority, REQUEST, cluster_id=CLUSTER, node_id=NODE, role=role, now=now)[0]


LEAF = leaf_under(NEW)


@pytest.mark.parametrize("trusted", [(OLD,), (NEW,), (OLD, NEW), (NEW, OLD)], ids=["old", "new", "both", "turned"])
def test_a_leaf_of_the_new_root_is_good_for_whoever_trusts_either(
    tmp_path: Path, trusted: tuple[Authority, ...]
) -> None:
    bundle = b"".join(one.certificate_pem for one in trusted)
    assert openssl.verify(tmp_path, LEAF, trusted=bundle, untrusted=CROSS, at=NOW) == "OK"
    assert identity_of(LEAF + CROSS, authority_pem=bundle, now=NOW).node_id == NODE


def test_without_the_cross_certificate_the_old_root_does_not_vouch(tmp_path: Path) -> None:
    assert openssl.verify(tmp_path, LEAF, trusted=OLD.certificate_pem, at=NOW) != "OK"
    with pytest.raises(InvalidCertificate, match="not issued by this cluster's CA"):
        identity_of(LEAF, authority_pem=OLD.certificate_pem)


def test_a_rotation_that_overtakes_another_is_vouched_for_by_the_old_root_too(tmp_path: Path) -> None:
    cross = cross_sign(NEWEST.certificate_pem, OLD, now=NOW)
    leaf = leaf_under(NEWEST)
    assert openssl.verify(tmp_path, leaf, trusted=OLD.certificate_pem, untrusted=CROSS + cross, at=NOW) == "OK"
    assert identity_of(leaf + cross, authority_pem=OLD.certificate_pem + NEW.certificate_pem, now=NOW)


def test_a_root_of_the_first_release_can_be_rotated_though_it_allows_no_ca_below_it(tmp_path: Path) -> None:
    """Under one name a cross certificate counts as the same authority."""
    key = pki.ec_generate()
    name = pki.Name(common_name="swarm-ca")
    start, end = NOW - timedelta(hours=1), NOW + timedelta(days=7300)
    first = Authority(
        certificate_pem=pki.self_sign_authority(key, name, start, end, path_length=0), key_pem=Plaintext(key)
    )
    cross = cross_sign(NEW.certificate_pem, first, now=NOW)
    assert openssl.verify(tmp_path, LEAF, trusted=first.certificate_pem, untrusted=cross, at=NOW) == "OK"
    other = own_authority(tmp_path, subject="/CN=mine")
    with pytest.raises(UnusableAuthority, match="allows no CA below it"):
        cross_sign(other[0], first, now=NOW)


def test_a_cross_certificate_signs_leaves_only(tmp_path: Path) -> None:
    as_authority = Authority(certificate_pem=CROSS, key_pem=NEW.key_pem)
    below = own_authority(tmp_path, subject="/CN=below")
    between = cross_sign_anyway(below[0], as_authority)
    leaf = leaf_under(Authority(certificate_pem=below[0], key_pem=Plaintext(below[1])))
    verdict = openssl.verify(tmp_path, leaf, trusted=OLD.certificate_pem, untrusted=CROSS + between, at=NOW)
    assert "path length constraint exceeded" in verdict


def cross_sign_anyway(certificate: bytes, authority: Authority) -> bytes:
    start, end = NOW, NOW + timedelta(days=1)
    return pki.cross_sign(certificate, authority.certificate_pem, authority.key_pem.reveal(), start, end)


def test_the_two_sides_of_a_connection_accept_each_other_whatever_roots_they_know(tmp_path: Path) -> None:
    """One has been told of the new root, the other has not; one has its certificate by it, the other has not."""
    now = datetime.now(UTC)
    old, new = new_authority(now=now), new_authority(now=now)
    cross = cross_sign(new.certificate_pem, old, now=now)
    both = old.certificate_pem + new.certificate_pem
    behind = (leaf_under(old, now=now), old.certificate_pem)
    ahead = (leaf_under(new, now=now) + cross, both)
    done = (leaf_under(new, now=now) + cross, new.certificate_pem)
    for one, other, meet in (
        (behind, ahead, True),
        (ahead, behind, True),
        (ahead, done, True),
        (done, ahead, True),
        (behind, done, False),  # Why a rotation waits for every node.
    ):
        assert handshake(tmp_path, one, other) is meet


def handshake(folder: Path, *ends: tuple[bytes, bytes]) -> bool:
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)]
    for context, (chain, trust) in zip(contexts, ends, strict=True):
        (folder / "node.pem").write_bytes(TLS_KEY.reveal() + chain)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_cert_chain(folder / "node.pem")
        context.load_verify_locations(cadata=trust.decode())
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        contexts[0].wrap_bio(back, there, server_hostname="swarm-worker"),
        contexts[1].wrap_bio(there, back, server_side=True),
    )
    for _ in range(3):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return all(side.version() == "TLSv1.3" and side.getpeercert() for side in sides)


def test_who_issued_a_certificate_is_told_by_key_though_the_names_are_equal() -> None:
    for bundle in (OLD.certificate_pem, NEW.certificate_pem, OLD.certificate_pem + NEW.certificate_pem):
        assert issuer_of(LEAF + CROSS, authority_pem=bundle) == issuer_facts(NEW.certificate_pem)
    assert issuer_facts(CROSS) == issuer_facts(NEW.certificate_pem)


def test_an_expired_certificate_is_told_from_a_wrong_one_and_from_one_that_is_early() -> None:
    identity = identity_of(LEAF, authority_pem=NEW.certificate_pem)
    assert identity_of(LEAF, authority_pem=NEW.certificate_pem, now=identity.not_after) == identity
    with pytest.raises(CertificateExpired, match="Swarm certificates have expired") as caught:
        identity_of(LEAF, authority_pem=NEW.certificate_pem, now=identity.not_after + timedelta(seconds=1))
    assert caught.value.status == 503
    with pytest.raises(CertificateNotYetValid, match="set this node's clock"):
        identity_of(LEAF, authority_pem=NEW.certificate_pem, now=identity.not_before - timedelta(seconds=1))
    with pytest.raises(InvalidCertificate, match="not issued") as wrong:
        identity_of(LEAF, authority_pem=OLD.certificate_pem, now=identity.not_after + timedelta(days=1))
    assert not isinstance(wrong.value, CertificateExpired)


def test_a_chain_is_no_longer_than_it_needs_to_be() -> None:
    with pytest.raises(InvalidCertificate, match="too long"):
        identity_of(LEAF + CROSS * MAX_CHAIN, authority_pem=OLD.certificate_pem)


def test_what_stands_between_must_be_an_authority() -> None:
    """A node cannot issue: its certificate is no link, though a root vouches for it."""
    as_authority = Authority(certificate_pem=LEAF, key_pem=TLS_KEY)
    forged = pki.issue_from_request(
        as_authority.certificate_pem,
        TLS_KEY.reveal(),
        REQUEST,
        pki.Leaf(
            subject=pki.Name(organization=CLUSTER, unit="swarm-manager", common_name=NODE),
            dns_names=("swarm-manager",),
            not_before=NOW,
            not_after=NOW + timedelta(days=1),
            extension_oid="2.25.146433790829098090514540118763453169472",
        ),
    )
    with pytest.raises(InvalidCertificate):
        identity_of(forged + LEAF, authority_pem=NEW.certificate_pem)


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=7))
def test_a_flipped_bit_of_a_chain_is_refused_or_changes_nothing(position: int, bit: int) -> None:
    chain = bytearray(LEAF + CROSS)
    chain[position % len(chain)] ^= 1 << bit
    try:
        identity = identity_of(bytes(chain), authority_pem=OLD.certificate_pem, now=NOW)
    except CryptoError:
        return
    assert identity == identity_of(LEAF + CROSS, authority_pem=OLD.certificate_pem, now=NOW)


def own_authority(
    folder: Path, *extra: str, subject: str = "/CN=mine", days: int = 3650, curve: str = "P-256"
) -> tuple[bytes, bytes]:
    """Return a root CA as an operator makes it: certificate and key."""
    usage = "keyUsage=critical,keyCertSign,cRLSign"
    options = [] if any(one.startswith("keyUsage") for one in extra) else ["-addext", usage]
    for one in extra or ("basicConstraints=critical,CA:true",):
        options += ["-addext", one]
    openssl.run(
        *("req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-days", str(days)),
        *("-subj", subject, "-keyout", "own.key", "-out", "own.pem", *options),
        folder=folder,
    )
    return (folder / "own.pem").read_bytes(), (folder / "own.key").read_bytes()


@pytest.mark.parametrize(
    "key_id", [("subjectKeyIdentifier=hash",), ("subjectKeyIdentifier=01:02:03:04", "authorityKeyIdentifier=none")]
)
def test_a_root_that_an_operator_brings_takes_over(tmp_path: Path, key_id: tuple[str, ...]) -> None:
    certificate, key = own_authority(tmp_path, "basicConstraints=critical,CA:true,pathlen:1", *key_id)
    now = datetime.now(UTC)  # After OpenSSL's, or the certificate would not be valid yet.
    old = new_authority(now=now)
    given = given_authority(b"comment\n" + certificate, Plaintext(key), now=now)
    cross = cross_sign(given.certificate_pem, old, now=now)
    leaf = leaf_under(given, now=now)
    for root in (old, given):
        assert openssl.verify(tmp_path, leaf, trusted=root.certificate_pem, untrusted=cross, at=now) == "OK"
        assert identity_of(leaf + cross, authority_pem=root.certificate_pem, now=now)


@pytest.mark.parametrize(
    ("extra", "days", "curve", "why"),
    [
        (("basicConstraints=critical,CA:false",), 3650, "P-256", "must be a self-signed CA"),
        (("basicConstraints=critical,CA:true,pathlen:0",), 3650, "P-256", "one CA below it"),
        (("basicConstraints=critical,CA:true", "keyUsage=critical,digitalSignature"), 3650, "P-256", "allow signing"),
        (("basicConstraints=critical,CA:true", "subjectKeyIdentifier=01:02"), 3650, "P-256", "self-signed CA"),
        ((), 300, "P-256", "expires too soon"),
        ((), 3650, "P-384", "could not parse"),
    ],
)
def test_a_root_that_could_not_do_its_work_is_refused(
    tmp_path: Path, extra: tuple[str, ...], days: int, curve: str, why: str
) -> None:
    certificate, key = own_authority(tmp_path, *extra, days=days, curve=curve)
    with pytest.raises(UnusableAuthority, match=why) as caught:
        given_authority(certificate, Plaintext(key), now=datetime.now(UTC))
    assert caught.value.status == 400


def test_a_root_that_is_not_valid_yet_waits(tmp_path: Path) -> None:
    certificate, key = own_authority(tmp_path)
    with pytest.raises(UnusableAuthority, match="not valid yet"):
        given_authority(certificate, Plaintext(key), now=datetime.now(UTC) - timedelta(hours=1))


@pytest.mark.parametrize("years", [-10, 10])
def test_a_cross_certificate_ends_with_the_first_of_the_two(years: int) -> None:
    successor = new_authority(now=NOW + timedelta(days=365 * years))
    cross = cross_sign(successor.certificate_pem, OLD, now=NOW)
    first = min((OLD, successor), key=lambda one: read_certificate(one.certificate_pem, "2.25.0").not_after)
    end = read_certificate(first.certificate_pem, "2.25.0").not_after
    assert read_certificate(cross, "2.25.0").not_after == end


def test_a_root_comes_alone_and_with_its_own_key(tmp_path: Path) -> None:
    certificate, key = own_authority(tmp_path)
    now = datetime.now(UTC)
    with pytest.raises(UnusableAuthority, match="cannot contain multiple certificates"):
        given_authority(certificate + OLD.certificate_pem, Plaintext(key), now=now)
    with pytest.raises(UnusableAuthority, match="does not belong"):
        given_authority(certificate, OLD.key_pem, now=now)
    encrypted = openssl.run("pkcs8", "-topk8", "-passout", "pass:x", given=key).encode()
    for bad in (b"", b"key", encrypted, openssl.run("genpkey", "-algorithm", "ed25519").encode()):
        with pytest.raises(UnusableAuthority, match="unencrypted ECDSA P-256 key"):
            given_authority(certificate, Plaintext(bad), now=now)
    signed_by_another = cross_sign_anyway(certificate, dataclasses.replace(OLD))
    with pytest.raises(UnusableAuthority, match="self-signed"):
        given_authority(signed_by_another, Plaintext(key), now=now)


@given(st.binary(max_size=400))
def test_bytes_from_outside_are_no_authority(data: bytes) -> None:
    wrapped = b"-----BEGIN CERTIFICATE-----\n" + data + b"\n-----END CERTIFICATE-----\n"
    for text in (data, wrapped):
        with pytest.raises(UnusableAuthority):
            given_authority(text, OLD.key_pem, now=NOW)
        with pytest.raises(UnusableAuthority):
            given_authority(OLD.certificate_pem, Plaintext(text), now=NOW)
        with pytest.raises(CryptoError):
            cross_sign(text, OLD, now=NOW)


@given(st.binary(max_size=400))
def test_bytes_that_no_tls_would_have_verified_are_refused_by_name(data: bytes) -> None:
    der = ssl.PEM_cert_to_DER_cert(LEAF.decode())
    assert identity_after_tls(der).node_id == NODE
    for bad in (data, der[:-1], der + b"\0", ssl.PEM_cert_to_DER_cert(CROSS.decode())):
        with pytest.raises(InvalidCertificate):
            identity_after_tls(bad)
