"""Node certificates name cluster, role, node and node key; OpenSSL's program agrees."""

import base64
import dataclasses
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.crypto._hazmat import pki
from vault.crypto.certificates import (
    MAX_PEM_BYTES,
    Identity,
    Role,
    identity_of,
    issue,
    issuer_facts,
    new_authority,
    new_tls_key,
    renewal_time,
    request_certificate,
)
from vault.crypto.errors import InvalidCertificate
from vault.crypto.node_seal import NodeKey

NOW = datetime(2026, 11, 22, 12, 0, 0, 999, tzinfo=UTC)
CLUSTER, NODE = "c" * 25, "n" * 25
AUTHORITY = new_authority(now=NOW)
TLS_KEY = new_tls_key()
NODE_KEY = NodeKey.generate()
REQUEST = request_certificate(TLS_KEY, node_key=NODE_KEY.public())


def issued(request: bytes = REQUEST, role: Role = Role.WORKER) -> tuple[bytes, Identity]:
    return issue(AUTHORITY, request, cluster_id=CLUSTER, node_id=NODE, role=role, now=NOW)


CERTIFICATE, IDENTITY = issued()


def test_a_node_certificate_says_who_the_node_is_for_90_days_from_an_hour_ago() -> None:
    expected = Identity(
        cluster_id=CLUSTER,
        node_id=NODE,
        role=Role.WORKER,
        node_key=NODE_KEY.public(),
        not_before=datetime(2026, 11, 22, 11, tzinfo=UTC),
        not_after=datetime(2027, 2, 20, 12, tzinfo=UTC),
    )
    assert expected == IDENTITY
    assert identity_of(CERTIFICATE, authority_pem=AUTHORITY.certificate_pem) == IDENTITY


def test_openssl_verifies_the_chain_and_reads_the_same_names(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate_pem)
    (tmp_path / "node.pem").write_bytes(CERTIFICATE)
    at = str(int(NOW.timestamp()))
    verify = ["openssl", "verify", "-x509_strict", "-attime", at, "-CAfile", "ca.pem", "node.pem"]
    done = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "node.pem: OK\n", done.stderr
    text = subprocess.run(["openssl", "x509", "-text", "-noout"], input=CERTIFICATE, capture_output=True, check=True)
    assert f"Subject: O = {CLUSTER}, OU = swarm-worker, CN = {NODE}" in text.stdout.decode()
    assert "Issuer: CN = swarm-ca" in text.stdout.decode()


def test_the_two_sides_of_a_tls_connection_accept_each_other(tmp_path: Path) -> None:
    live = new_authority(now=datetime.now(UTC))
    certificate, _ = issue(live, REQUEST, cluster_id=CLUSTER, node_id=NODE, role=Role.MANAGER, now=datetime.now(UTC))
    chain = tmp_path / "node.pem"
    chain.write_bytes(certificate + TLS_KEY.reveal())
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (server, client):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(chain)
        context.load_verify_locations(cadata=live.certificate_pem.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="swarm-manager"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert all(end.version() == "TLSv1.3" and end.getpeercert() for end in ends)


def test_only_managers_carry_the_name_that_joiners_connect_to() -> None:
    assert b"swarm-ca" not in _san(CERTIFICATE)
    assert b"swarm-ca" in _san(issued(role=Role.MANAGER)[0])


def _san(certificate: bytes) -> bytes:
    ext = ["openssl", "x509", "-noout", "-ext", "subjectAltName"]
    return subprocess.run(ext, input=certificate, capture_output=True, check=True).stdout


def test_another_authority_with_the_same_name_is_refused() -> None:
    with pytest.raises(InvalidCertificate, match="not issued by this cluster's CA"):
        identity_of(CERTIFICATE, authority_pem=new_authority(now=NOW).certificate_pem)


def test_the_root_ca_is_no_node() -> None:
    with pytest.raises(InvalidCertificate):
        identity_of(AUTHORITY.certificate_pem, authority_pem=AUTHORITY.certificate_pem)


def test_a_node_certificate_cannot_issue() -> None:
    as_authority = dataclasses.replace(AUTHORITY, certificate_pem=CERTIFICATE, key_pem=TLS_KEY)
    other = request_certificate(new_tls_key(), node_key=NODE_KEY.public())
    with pytest.raises(InvalidCertificate):
        issue(as_authority, other, cluster_id=CLUSTER, node_id=NODE, role=Role.MANAGER, now=NOW)


def test_every_flipped_bit_of_a_request_is_refused_or_changes_nothing() -> None:
    """Only the text around the DER may differ (PEM is forgiving); what would be issued never does."""
    for position in range(0, len(REQUEST) * 8, 7):
        altered = bytearray(REQUEST)
        altered[position // 8] ^= 1 << position % 8
        try:
            _, identity = issued(bytes(altered))
        except InvalidCertificate:
            continue
        assert identity == IDENTITY


def test_every_flipped_bit_of_a_certificate_is_refused_or_changes_nothing() -> None:
    for position in range(0, len(CERTIFICATE) * 8, 7):
        altered = bytearray(CERTIFICATE)
        altered[position // 8] ^= 1 << position % 8
        try:
            identity = identity_of(bytes(altered), authority_pem=AUTHORITY.certificate_pem)
        except InvalidCertificate:
            continue
        assert identity == IDENTITY


def test_a_request_without_a_usable_node_key_is_refused() -> None:
    oid = "2.25.146433790829098090514540118763453169472"
    for extension in (b"", b"\x04\x20" + bytes(31), bytes(34), b"\x04\x1f" + bytes(31)):
        request = pki.request_certificate(TLS_KEY.reveal(), oid, extension)
        with pytest.raises(InvalidCertificate, match="node key"):
            issued(request)
    with pytest.raises(InvalidCertificate):
        issued(pki.request_certificate(TLS_KEY.reveal(), "2.25.1", b"\x04\x20" + bytes(32)))


def test_a_request_for_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    for kind in (["rsa:2048"], ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], ["ed25519"]):
        make = ["openssl", "req", "-new", "-nodes", "-subj", "/CN=x", "-keyout", "/dev/null", "-newkey", *kind]
        request = subprocess.run(make, capture_output=True, check=True, cwd=tmp_path).stdout
        with pytest.raises(InvalidCertificate):
            issued(request)


@given(st.binary(max_size=300))
def test_bytes_from_outside_are_refused_by_name(data: bytes) -> None:
    for kind in (b"CERTIFICATE REQUEST", b"CERTIFICATE"):
        wrapped = b"-----BEGIN " + kind + b"-----\n" + data + b"\n-----END " + kind + b"-----\n"
        for text in (data, wrapped):
            with pytest.raises(InvalidCertificate):
                issued(text)
            with pytest.raises(InvalidCertificate):
                identity_of(text, authority_pem=AUTHORITY.certificate_pem)


def test_what_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidCertificate, match="too long"):
        issued(REQUEST + b"\n" * MAX_PEM_BYTES)


def test_renewal_falls_between_half_and_four_fifths_of_life() -> None:
    life = IDENTITY.not_after - IDENTITY.not_before
    assert renewal_time(IDENTITY, share=0.0) == IDENTITY.not_before + life / 2
    assert renewal_time(IDENTITY, share=0.999999) < IDENTITY.not_before + life * 0.8
    assert life == timedelta(days=90, hours=1)


def test_tls_info_shows_subject_and_key_as_docker_does() -> None:
    """Base64 of DER: the subject as a Name, the key as SubjectPublicKeyInfo of P-256 (its start is the same always)."""
    facts = issuer_facts(AUTHORITY.certificate_pem)
    assert base64.b64decode(facts.subject).endswith(b"swarm-ca")
    assert facts.public_key.startswith("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE")
