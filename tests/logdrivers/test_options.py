"""Log drivers and their options: what is taken, and each refusal with Docker's sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.model.log_options import LogFiles, UnknownDriver, log_settings
from vault.model.log_syslog import SyslogServer


@pytest.mark.parametrize(
    ("driver", "options", "files"),
    [
        ("", {}, LogFiles(max_bytes=16 << 20, files=2)),
        ("json-file", {"max-size": "10m", "max-file": "3"}, LogFiles(max_bytes=10_000_000, files=3)),
        ("json-file", {"max-size": "1.5 kB", "compress": "true"}, LogFiles(max_bytes=1500, files=2, compress=True)),
        ("local", {}, LogFiles(max_bytes=20 << 20, files=5, compress=True)),
        ("local", {"compress": "0", "max-file": "1"}, LogFiles(max_bytes=20 << 20, files=1)),
        ("syslog", {}, LogFiles(max_bytes=20 << 20, files=5, compress=True)),
        ("journald", {"cache-max-size": "1k", "cache-compress": "F"}, LogFiles(max_bytes=1000, files=5)),
    ],
)
def test_files_are_kept_as_asked(driver: str, options: dict[str, str], files: LogFiles) -> None:
    assert log_settings(driver, options).files == files


def test_none_keeps_nothing_and_takes_any_option() -> None:
    settings = log_settings("none", {"whatever": "x"})
    assert (settings.driver, settings.readable) == ("none", False)


def test_a_copy_of_what_goes_elsewhere_can_be_kept_from_readers() -> None:
    assert log_settings("syslog", {}).readable
    assert not log_settings("syslog", {"cache-disabled": "true"}).readable
    assert log_settings("json-file", {"cache-disabled": "true"}).readable


@pytest.mark.parametrize(
    ("options", "server"),
    [
        ({}, SyslogServer()),
        ({"syslog-address": "udp://logs"}, SyslogServer(scheme="udp", host="logs", port=514)),
        (
            {"syslog-address": "tcp+tls://[2001:db8::1]:6514", "syslog-format": "rfc5424", "syslog-facility": "local7"},
            SyslogServer(scheme="tcp+tls", host="2001:db8::1", port=6514, format="rfc5424", facility=23),
        ),
        (
            {"syslog-address": "unixgram:///dev/log", "syslog-facility": "9", "syslog-tls-skip-verify": ""},
            SyslogServer(scheme="unixgram", path="/dev/log", facility=9, verify=False),
        ),
    ],
)
def test_a_syslog_server_is_named(options: dict[str, str], server: SyslogServer) -> None:
    assert log_settings("syslog", options).syslog == server


def test_lengths_are_told_over_tls_in_the_newer_form_alone() -> None:
    def counted(address: str, form: str) -> bool:
        server = log_settings("syslog", {"syslog-address": address, "syslog-format": form}).syslog
        assert server is not None
        return server.counts_octets

    assert counted("tcp+tls://logs:1", "rfc5424micro")
    assert not counted("tcp+tls://logs:1", "rfc3164")
    assert not counted("tcp://logs:1", "rfc5424")


@pytest.mark.parametrize(
    ("driver", "options", "text"),
    [
        ("json-file", {"colour": "red"}, "unknown log opt 'colour' for json-file log driver"),
        ("local", {"syslog-address": "x"}, "unknown log opt 'syslog-address' for log driver local"),
        ("syslog", {"max-size": "1m"}, "unknown log opt 'max-size' for syslog log driver"),
        ("journald", {"compress": "true"}, "unknown log opt 'compress' for journald log driver"),
        ("json-file", {"max-size": "big"}, "invalid size: 'big'"),
        ("json-file", {"max-size": "1x"}, "invalid suffix: 'x'"),
        ("json-file", {"max-size": "0"}, "max-size must be a positive number"),
        ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
        ("json-file", {"max-file": "two"}, 'strconv.Atoi: parsing "two": invalid syntax'),
        ("json-file", {"max-file": "1000"}, "max-file cannot be more than 999"),
        ("json-file", {"compress": "yes"}, 'strconv.ParseBool: parsing "yes": invalid syntax'),
        (
            "json-file",
            {"compress": "true", "max-file": "1"},
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ),
        ("local", {"max-size": "x"}, "invalid value for max-size: x: invalid size: 'x'"),
        ("local", {"max-file": "1"}, "compression cannot be enabled when max file count is 1"),
        (
            "local",
            {"compress": "maybe"},
            'invalid boolean value for compress: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        ("local", {"mode": "lazy"}, "logger: logging mode not supported: lazy"),
        (
            "local",
            {"max-buffer-size": "1m"},
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        (
            "local",
            {"mode": "non-blocking", "max-buffer-size": "x"},
            "error parsing option max-buffer-size: invalid size: 'x'",
        ),
        ("syslog", {"cache-disabled": "perhaps"}, "invalid value for option cache-disabled: perhaps"),
        ("json-file", {"labels-regex": "("}, "error parsing regexp of labels-regex: `(`"),
        ("json-file", {"env-regex": "x" * 300}, "env-regex is too long: at most 256 characters"),
        ("syslog", {"syslog-facility": "local8"}, "invalid syslog facility"),
        ("syslog", {"syslog-format": "rfc1"}, "Invalid syslog format"),
        ("syslog", {"syslog-address": "http://logs"}, "unsupported scheme: 'http'"),
        ("syslog", {"syslog-address": "logs:514"}, "unsupported scheme: 'logs'"),
        ("syslog", {"syslog-address": "udp://"}, "syslog-address should be in form proto://address, got udp://"),
        (
            "syslog",
            {"syslog-address": "udp://logs:99999"},
            "syslog-address should be in form proto://address, got udp://logs:99999",
        ),
        (
            "syslog",
            {"syslog-address": "unix://log"},
            "syslog-address should be in form proto://address, got unix://log",
        ),
    ],
)
def test_what_a_driver_does_not_take_is_refused_in_dockers_words(
    driver: str, options: dict[str, str], text: str
) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  # The text is compared whole.
        log_settings(driver, options)
    assert str(refusal.value) == text


def test_a_driver_that_nobody_here_knows_is_told_by_its_name() -> None:
    with pytest.raises(UnknownDriver) as refusal:
        log_settings("gelf", {"gelf-address": "udp://logs:1"})
    assert str(refusal.value) == "logger: no log driver named 'gelf' is registered"


@given(
    st.sampled_from(["", "json-file", "local", "syslog", "journald", "none", "other"]),
    st.dictionaries(
        st.sampled_from(
            [
                "max-size",
                "max-file",
                "compress",
                "mode",
                "max-buffer-size",
                "cache-disabled",
                "cache-max-file",
                "labels-regex",
                "env",
                "tag",
                "syslog-address",
                "syslog-facility",
                "syslog-format",
                "odd",
            ]
        ),
        st.text(max_size=40),
    ),
)
def test_options_of_any_text_are_settings_or_a_sentence(driver: str, options: dict[str, str]) -> None:
    try:
        settings = log_settings(driver, options)
    except ValueError:
        return
    assert settings.driver == (driver or "json-file")
    assert settings.files.files >= (driver != "none")
