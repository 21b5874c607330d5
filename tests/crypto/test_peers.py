"""Certificates of etcd's peers: for one address, for ten years, until they are revoked; OpenSSL's program agrees."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crypto import openssl
from vault.crypto.certificates import identity_of, new_authority, new_tls_key, request_certificate
from vault.crypto.errors import InvalidCertificate
from vault.crypto.node_seal import NodeKey
from vault.crypto.peers import issue_peer, new_peer_authority, request_peer, revocation_list, serial_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CLUSTER, NODE = "c" * 25, "n" * 25
PEERS = new_peer_authority(now=NOW)
REQUEST = request_peer(new_tls_key())


def issued(address: str = "10.0.0.1", request: bytes = REQUEST) -> tuple[bytes, str]:
    return issue_peer(PEERS, request, cluster_id=CLUSTER, node_id=NODE, address=address, now=NOW)


def test_a_peer_certificate_is_for_one_address_both_ends_and_ten_years(tmp_path: Path) -> None:
    certificate, serial = issued()
    last = NOW + timedelta(days=3649)
    assert openssl.verify(tmp_path, certificate, trusted=PEERS.certificate_pem, at=last) == "OK"
    assert "expired" in openssl.verify(
        tmp_path, certificate, trusted=PEERS.certificate_pem, at=last + timedelta(days=2)
    )
    text = openssl.run(
        "x509", "-noout", "-subject", "-serial", "-ext", "subjectAltName,extendedKeyUsage", given=certificate
    )
    assert f"subject=O = {CLUSTER}, CN = {NODE}" in text
    assert f"DNS:{NODE}, IP Address:10.0.0.1" in text
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in text
    assert int(text.split("serial=")[1].split()[0], 16) == int(serial, 16)
    assert serial_of(certificate) == serial


def test_ipv6_addresses_are_addresses() -> None:
    text = openssl.run("x509", "-noout", "-ext", "subjectAltName", given=issued("fd00::1")[0])
    assert "IP Address:FD00:0:0:0:0:0:0:1" in text
    for bad in ("", "host", "10.0.0.1:2380", "[fd00::1]"):
        with pytest.raises(InvalidCertificate):
            issued(bad)


def test_a_revoked_peer_is_refused_and_the_others_are_not(tmp_path: Path) -> None:
    kept, _ = issued()
    gone, serial = issued()
    for serials, verdicts in (((), ("OK", "OK")), ((serial,), ("OK", "certificate revoked"))):
        crl = revocation_list(PEERS, serials, now=NOW)
        for certificate, verdict in zip((kept, gone), verdicts, strict=True):
            for at in (NOW, NOW + timedelta(days=3600)):
                said = openssl.verify(tmp_path, certificate, trusted=PEERS.certificate_pem, crl=crl, at=at)
                assert verdict in said
    text = openssl.run("crl", "-noout", "-text", given=crl)
    assert serial.upper().zfill(len(serial) + len(serial) % 2) in text


def test_peer_and_node_certificates_are_not_taken_for_each_other(tmp_path: Path) -> None:
    root = new_authority(now=NOW)
    peer, _ = issued()
    with pytest.raises(InvalidCertificate):
        identity_of(peer, authority_pem=root.certificate_pem)
    with pytest.raises(InvalidCertificate, match="no node certificate"):
        identity_of(peer, authority_pem=PEERS.certificate_pem)
    assert openssl.verify(tmp_path, peer, trusted=root.certificate_pem, at=NOW) != "OK"


def test_a_node_s_request_is_good_for_its_key_alone() -> None:
    """Its extension, the seal key, does not get into a peer certificate."""
    request = request_certificate(new_tls_key(), node_key=NodeKey.generate().public())
    text = openssl.run("x509", "-noout", "-text", given=issued(request=request)[0])
    assert "2.25.1464" not in text


@given(st.binary(max_size=300))
def test_bytes_from_outside_are_no_request(data: bytes) -> None:
    wrapped = b"-----BEGIN CERTIFICATE REQUEST-----\n" + data + b"\n-----END CERTIFICATE REQUEST-----\n"
    for text in (data, wrapped, REQUEST + bytes(16 * 1024)):
        with pytest.raises(InvalidCertificate):
            issued(request=text)


def test_a_flipped_bit_of_a_request_is_refused_or_changes_nothing() -> None:
    key = openssl.run("x509", "-noout", "-pubkey", given=issued()[0])
    for position in range(0, len(REQUEST) * 8, 11):
        altered = bytearray(REQUEST)
        altered[position // 8] ^= 1 << position % 8
        try:
            certificate, _ = issued(request=bytes(altered))
        except InvalidCertificate:
            continue
        assert openssl.run("x509", "-noout", "-pubkey", given=certificate) == key
