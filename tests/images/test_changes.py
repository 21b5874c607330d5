"""The instructions of `image import --change`."""

from typing import Any

import pytest

from vault.agent.images.changes import apply
from vault.agent.images.errors import BadChange


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ('CMD ["sh", "-c", "x"]', "Cmd", ["sh", "-c", "x"]),
        ("cmd echo hi  there", "Cmd", ["/bin/sh", "-c", "echo hi  there"]),
        ('ENTRYPOINT ["/run"]', "Entrypoint", ["/run"]),
        ("USER 1000:1000", "User", "1000:1000"),
        ("WORKDIR /srv", "WorkingDir", "/srv"),
        ("STOPSIGNAL SIGINT", "StopSignal", "SIGINT"),
        ("EXPOSE 80 53/UDP", "ExposedPorts", {"80/tcp": {}, "53/udp": {}}),
        ("VOLUME /a /b", "Volumes", {"/a": {}, "/b": {}}),
        ('VOLUME ["/a b"]', "Volumes", {"/a b": {}}),
        ('LABEL a=1 b="two words"', "Labels", {"a": "1", "b": "two words"}),
        ("HEALTHCHECK NONE", "Healthcheck", {"Test": ["NONE"]}),
        ("HEALTHCHECK CMD curl -f x || exit 1", "Healthcheck", {"Test": ["CMD-SHELL", "curl -f x || exit 1"]}),
        (
            'healthcheck --interval=5s  --timeout=1500ms --retries=2 cmd ["curl", "a b"]',
            "Healthcheck",
            {"Test": ["CMD", "curl", "a b"], "Interval": 5 * 10**9, "Timeout": 15 * 10**8, "Retries": 2},
        ),
        (
            "HEALTHCHECK --start-period=1m --start-interval=1s CMD x",
            "Healthcheck",
            {"Test": ["CMD-SHELL", "x"], "StartPeriod": 60 * 10**9, "StartInterval": 10**9},
        ),
        ("LABEL note all of this", "Labels", {"note": "all of this"}),
    ],
)
def test_each_instruction_sets_its_field(change: str, key: str, value: Any) -> None:
    assert apply([change])[key] == value


def test_variables_are_set_in_order_and_a_later_one_replaces_an_earlier() -> None:
    env = apply(["ENV A=1 B=2", "ENV PATH=/bin", "ENV A three words"])["Env"]
    assert env == ["B=2", "PATH=/bin", "A=three words"]


@pytest.mark.parametrize(
    "change",
    [
        *("", "CMD", "FROM scratch", "RUN x", "ENV A", "ENV =x", "LABEL a='", "EXPOSE x", "EXPOSE 0", "EXPOSE 70000"),
        *("HEALTHCHECK", "HEALTHCHECK CMD", "HEALTHCHECK curl x", "HEALTHCHECK NONE x", "HEALTHCHECK --interval=5s"),
        *("HEALTHCHECK --interval=5s NONE", "HEALTHCHECK --bogus=1 CMD x", "HEALTHCHECK --interval CMD x"),
        *("HEALTHCHECK --interval=5 CMD x", "HEALTHCHECK --timeout=1us CMD x", "HEALTHCHECK --retries=0 CMD x"),
        *("HEALTHCHECK --retries=many CMD x", "HEALTHCHECK --interval=-5s CMD x"),
    ],
)
def test_what_makes_no_sense_is_refused(change: str) -> None:
    with pytest.raises(BadChange):
        apply([change])
