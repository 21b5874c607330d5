"""Clocks too far apart are told before certificates fail for reasons that nobody understands."""

from datetime import UTC, datetime, timedelta

import pytest

from vault.crypto.certificates import Role, identity_of, issue, new_authority, new_tls_key, request_certificate
from vault.crypto.clock import check_clock
from vault.crypto.errors import CertificateNotYetValid, ClockSkew, spoken
from vault.crypto.node_seal import NodeKey

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LIFE = timedelta(days=90)
REQUEST = request_certificate(new_tls_key(), node_key=NodeKey.generate().public())


@pytest.mark.parametrize("hours", [-1, 0, 1, 24, 431])
def test_an_hour_off_either_way_does_no_harm(hours: int) -> None:
    check_clock(NOW + timedelta(hours=hours), NOW, life=LIFE)


@pytest.mark.parametrize(
    ("off", "life", "text"),
    [
        (-timedelta(hours=1, seconds=1), LIFE, "1h 1s behind"),
        (-timedelta(days=400, hours=3), LIFE, "400 days 3h behind"),
        (timedelta(days=18, seconds=1), LIFE, "18 days 1s ahead of"),
        (timedelta(minutes=13), timedelta(hours=1), "13m ahead of"),
    ],
)
def test_too_far_is_one_sentence_with_what_to_do(off: timedelta, life: timedelta, text: str) -> None:
    with pytest.raises(ClockSkew) as caught:
        check_clock(NOW + off, NOW, life=life)
    assert caught.value.message == (
        f"this node's clock is {text} the manager's, too far for certificates to work: set the clock and try again"
    )
    assert (caught.value.status, caught.value.behind, caught.value.apart) == (400, off < timedelta(), abs(off))


@pytest.mark.parametrize("seconds", [0.0, 0.25, 0.999])
def test_what_passes_for_a_clock_that_is_behind_passes_for_the_certificate(seconds: float) -> None:
    """Just an hour behind works to the second; a second more does not, for either."""
    authority = new_authority(now=NOW - timedelta(days=1))
    manager = NOW + timedelta(seconds=seconds)
    certificate, _ = issue(
        authority, REQUEST, cluster_id="c" * 25, node_id="n" * 25, role=Role.WORKER, now=manager, life=LIFE
    )
    edge = manager - timedelta(hours=1)
    check_clock(edge, manager, life=LIFE)
    identity_of(certificate, authority_pem=authority.certificate_pem, now=edge)
    with pytest.raises(ClockSkew):
        check_clock(edge - timedelta(seconds=1), manager, life=LIFE)
    with pytest.raises(CertificateNotYetValid):
        identity_of(certificate, authority_pem=authority.certificate_pem, now=edge - timedelta(seconds=1))


def test_spans_are_spoken_in_two_units() -> None:
    for span, text in (
        (timedelta(), "0s"),
        (timedelta(seconds=59.9), "59s"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=2, minutes=5, seconds=9), "2 days 5m"),
        (timedelta(hours=23, minutes=59), "23h 59m"),
    ):
        assert spoken(span) == text
