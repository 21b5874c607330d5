"""How values are written: durations, sizes, CPUs, command lines, ports, image names."""

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.model.durations import go_duration, parse_duration
from vault.model.sizes import parse_size
from vault.stack.forms import (
    number_text,
    parse_cpus,
    parse_port,
    split_command,
)
from vault.stack.image_name import tagged

MS = 1_000_000
S = 1_000 * MS


@pytest.mark.parametrize(
    ("text", "duration_ns", "printed"),
    [
        ("0", 0, "0s"),
        ("1m30s", 90 * S, "1m30s"),
        ("1.5h", 5_400 * S, "1h30m0s"),
        ("100us", 100_000, "100µs"),
        ("100µs", 100_000, "100µs"),
        ("1.0005ms", 1_000_500, "1.0005ms"),
        ("500ms", 500 * MS, "500ms"),
        ("-5s", -5 * S, "-5s"),
        (".5s", 500 * MS, "500ms"),
        ("1ns", 1, "1ns"),
        ("1h", 3_600 * S, "1h0m0s"),
        ("61.25s", 61_250 * MS, "1m1.25s"),
    ],
)
def test_a_duration_is_read_and_printed_as_in_go(text: str, duration_ns: int, printed: str) -> None:
    assert parse_duration(text) == duration_ns
    assert go_duration(duration_ns) == printed


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "invalid"),
        ("s", "invalid"),
        ("--1s", "invalid"),
        ("2562048h", "invalid"),
        ("5", "missing unit in"),
        ("1h1", "missing unit in"),
        ("-.5", "missing unit in"),
        ("5x", 'unknown unit "x" in'),
        ("1d", 'unknown unit "d" in'),
        ("1 s", 'unknown unit " s" in'),
        ("1e3s", 'unknown unit "e" in'),
        ("1hx", 'unknown unit "hx" in'),
        ("1h5y2s", 'unknown unit "y" in'),
    ],
)
def test_what_is_no_duration_is_refused_in_gos_words(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f'^time: {re.escape(problem)} duration "{text}"$'):
        parse_duration(text)


@given(st.integers(-(2**62), 2**62))
def test_a_printed_duration_reads_as_itself(duration_ns: int) -> None:
    assert parse_duration(go_duration(duration_ns)) == duration_ns


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("50M", 50 << 20), ("50", 50), ("1.5GiB", 3 << 29), ("5 kb", 5120), ("5b", 5), (".5g", 1 << 29), ("2T", 2 << 40)],
)
def test_a_size_counts_in_powers_of_1024(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "m", "-5m", "5bb", "5x", "5kbb", "5  m", "9999999P"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid (size|suffix)"):
        parse_size(text)


def test_cpus_are_billionths() -> None:
    assert parse_cpus("0.50") == 500_000_000
    assert parse_cpus("1/4") == 250_000_000
    for text in ("x", "", "1/0", "1e3x"):
        with pytest.raises(ValueError, match="rational number"):
            parse_cpus(text)
    with pytest.raises(ValueError, match="too precise"):
        parse_cpus("0.0000000001")


@pytest.mark.parametrize(
    ("number", "text"),
    [(1.0, "1"), (1e3, "1000"), (1e20, "1" + "0" * 20), (1e21, "1e+21"), (0.5, "0.5"), (1e-5, "1e-05")],
)
def test_a_number_is_printed_as_in_go(number: float, text: str) -> None:
    assert number_text(number) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('sh -c "while true; do sleep 1; done"', ("sh", "-c", "while true; do sleep 1; done")),
        ("a \"b c\" 'd e' f\\ g # h", ("a", "b c", "d e", "f g")),
        ("'' x \"\"", ("", "x", "")),
        ("a#b", ("a#b",)),
        ("# only", ()),
        ("#a\nb", ("b",)),
        ("a'b'\"c\"d", ("abcd",)),
        ('"a\\"b"', ('a"b',)),
        ("'a\\b'", ("a\\b",)),
        ("", ()),
    ],
)
def test_a_command_line_is_split_into_words(text: str, words: tuple[str, ...]) -> None:
    assert split_command(text) == words


@given(st.lists(st.text(max_size=8), max_size=5))
def test_quoted_words_come_back(words: list[str]) -> None:
    assert split_command(" ".join(shlex.quote(word) for word in words)) == tuple(words)


@pytest.mark.parametrize("text", ["'a", '"a', "a\\", '"a\\'])
def test_an_open_quote_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="EOF found"):
        split_command(text)


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [(0, 80, "tcp")]),
        ("22:22", [(22, 22, "tcp")]),
        ("53:53/UDP", [(53, 53, "udp")]),
        ("8000-8002:80", [(8000, 80, "tcp"), (8001, 80, "tcp"), (8002, 80, "tcp")]),
        ("8000-8001:80-81", [(8000, 80, "tcp"), (8001, 81, "tcp")]),
        ("9-10", [(0, 10, "tcp"), (0, 9, "tcp")]),  # Sorted as text, as Docker does.
        ("127.0.0.1:1:2", [(1, 2, "tcp")]),
        ("[::1]:3:4", [(3, 4, "tcp")]),
    ],
)
def test_the_short_form_of_a_port_unfolds(text: str, ports: list[tuple[int, int, str]]) -> None:
    assert [(port.published, port.target, port.protocol) for port in parse_port(text)] == ports


@pytest.mark.parametrize(
    "text", ["", "a", "80:", "80/foo", "65536", "1-2:3-5", "5-3:1", "1.1.1:2:3", " 80", "-1", "80:80:80"]
)
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid|no port specified"):
        parse_port(text)


@given(st.text("0123456789-:/.[]tcpudp ", max_size=30))
def test_any_text_is_a_port_or_refused(text: str) -> None:
    try:
        ports = parse_port(text)
    except ValueError:
        return
    assert all(0 <= port.target <= 65535 and 0 <= port.published <= 65535 for port in ports)


DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image", "short"),
    [
        ("busybox", "busybox:latest"),
        ("mysql:5.7", "mysql:5.7"),
        ("docker.io/library/busybox", "busybox:latest"),
        ("docker.io/user/app:1", "user/app:1"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        (f"busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"busybox:1@{DIGEST}", f"busybox:1@{DIGEST}"),
    ],
)
def test_an_image_has_a_tag_or_a_digest(image: str, short: str) -> None:
    assert tagged(image) == short


@pytest.mark.parametrize("image", ["", "UPPER", "a b", "a:", "a:b:c", "-a", "a" * 600, "a@sha256:1"])
def test_what_is_no_image_name_is_refused(image: str) -> None:
    with pytest.raises(ValueError, match="invalid reference format"):
        tagged(image)
