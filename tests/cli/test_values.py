"""Option values: each form Docker takes, and Docker's sentence for each it refuses."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.cli.errors import CommandError
from vault.cli.values import container, scalars
from vault.cli.values.mounts import mount
from vault.cli.values.ports import publish
from vault.cli.values.references import config_reference, resolved, secret_reference, without
from vault.model.durations import go_duration

MS = 1_000_000
S = 1000 * MS


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (scalars.duration, "1m30s", 90 * S),
        (scalars.duration, "500ms", 500 * MS),
        (scalars.duration, "1.5h", 5400 * S),
        (scalars.duration, "-2s", -2 * S),
        (scalars.duration, "0", 0),
        (scalars.duration, "10us", 10_000),
        (scalars.byte_size, "64m", 64 << 20),
        (scalars.byte_size, "1GiB", 1 << 30),
        (scalars.byte_size, "1.5k", 1536),
        (scalars.byte_size, "100", 100),
        (scalars.byte_size, "32 MB", 32 << 20),
        (scalars.byte_size, ".5Kib", 512),
        (scalars.duration, "-1.5us", -1_500),
        (scalars.nano_cpus, ".5", 500_000_000),
        (scalars.nano_cpus, "2", 2_000_000_000),
        (scalars.nano_cpus, "1/4", 250_000_000),
        (scalars.unsigned, "010", 8),
        (scalars.unsigned, "0x10", 16),
        (scalars.unsigned, "0", 0),
        (scalars.integer, "-1", -1),
        (scalars.ratio, "0.25", 0.25),
        (scalars.command_words, 'sh -c "exit 7"', ["sh", "-c", "exit 7"]),
        (scalars.command_words, r'sh -c "echo \$A \"b\"" c#d', ["sh", "-c", 'echo $A "b"', "c#d"]),
        (scalars.label, "a=b c", "a=b c"),
        (scalars.filter_pair, " Name = x=y", ("name", "x=y")),
        (container.extra_host, "h=[::1]", "h:::1"),
        (container.extra_host, "h:10.0.0.1", "h:10.0.0.1"),
        (container.dns_server, " 0:0:0:0:0:0:0:1", "::1"),
        (container.dns_search, ".", "."),
        (container.ulimit, "nofile=1024:2048", {"Name": "nofile", "Hard": 2048, "Soft": 1024}),
        (container.ulimit, "core=-1", {"Name": "core", "Hard": -1, "Soft": -1}),
        (container.network, "net", {"Target": "net"}),
        (container.network, "name=net,alias=a,alias=b", {"Target": "net", "Aliases": ["a", "b"]}),
        (container.tagged, "busybox", "busybox:latest"),
        (container.tagged, "localhost:5000/a", "localhost:5000/a:latest"),
        (container.tagged, "a@sha256:00", "a@sha256:00"),
        (container.tagged, "a:1", "a:1"),
    ],
)
def test_a_value_is_read(read: Callable[[str], Any], text: str, value: Any) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "problem"),
    [
        (scalars.duration, "5", 'time: missing unit in duration "5"'),
        (scalars.duration, "x", 'time: invalid duration "x"'),
        (scalars.duration, "1x", 'time: unknown unit "x" in duration "1x"'),
        (scalars.duration, "１s", 'time: invalid duration "１s"'),
        (scalars.duration, "", 'time: invalid duration ""'),
        (scalars.duration, "99999999999h", 'time: invalid duration "99999999999h"'),
        (scalars.byte_size, "x", "invalid size: 'x'"),
        (scalars.nano_cpus, "a", "failed to parse a as a rational number"),
        (scalars.nano_cpus, "1/0", "failed to parse 1/0 as a rational number"),
        (scalars.nano_cpus, "0.0000000001", "value is too precise"),
        (scalars.unsigned, "-1", 'strconv.ParseUint: parsing "-1": invalid syntax'),
        (scalars.unsigned, "abc", 'strconv.ParseUint: parsing "abc": invalid syntax'),
        (scalars.unsigned, "1" * 30, f'strconv.ParseUint: parsing "{"1" * 30}": value out of range'),
        (scalars.unsigned, "１", 'strconv.ParseUint: parsing "１": invalid syntax'),
        (scalars.label, "=v", "invalid label '=v': empty name"),
        (scalars.label, "a b=c", "label 'a b' contains whitespaces"),
        (scalars.filter_pair, "a", "bad format of filter (expected name=value)"),
        (scalars.command_words, '"', "EOF found when expecting closing quote"),
        (scalars.command_words, "a \\", "EOF found after escape character"),
        (
            secret_reference,
            "source=a,mode=abc",
            'invalid mode specified: strconv.ParseUint: parsing "abc": invalid syntax',
        ),
        (secret_reference, "source=a,foo=abc", "invalid field in secret request: foo"),
        (secret_reference, "target=a", "source is required"),
        (secret_reference, "a,b=c", "invalid field 'a' must be a key=value pair"),
        (config_reference, "source=a,foo=1", "invalid field in config request: foo"),
        (scalars.byte_size, "10x", "invalid suffix: 'x'"),
        (scalars.byte_size, "10 Xb", "invalid suffix: 'xb'"),
        (scalars.byte_size, "-5", "invalid size: '-5'"),
        (scalars.byte_size, "m", "invalid size: 'm'"),
        (scalars.byte_size, " 5m", "invalid size: ' 5m'"),
        (scalars.byte_size, "5ib", "invalid suffix: 'ib'"),
        (scalars.byte_size, "9999999p", "invalid size: '9999999p'"),
        (container.extra_host, "h", 'bad format for add-host: "h"'),
        (container.extra_host, "h:x", 'invalid IP address in add-host: "x"'),
        (container.dns_server, "x", "IP address is not correctly formatted: x"),
        (container.dns_search, "1.2", "1.2 is not a valid domain"),
        (container.variable, "=x", "invalid environment variable: =x"),
        (container.ulimit, "nofile", "invalid ulimit argument: nofile"),
        (container.ulimit, "x=1", "invalid ulimit type: x"),
        (container.ulimit, "nofile=2:1", "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
        (container.network, "alias=a", "network name/id is not specified"),
        (publish, "target=x", "invalid target port (x): value must be an integer: invalid syntax"),
        (publish, "target=80,mode=x", "invalid publish mode value (x): must be either 'ingress' or 'host'"),
        (publish, "published=80", "missing mandatory field 'target'"),
        (publish, "127.0.0.1:80:80", "hostip is not supported"),
        (publish, "0:80", "invalid hostPort: 0"),
        (publish, "80:80/x", "invalid proto: x"),
        (mount, "", "value is empty"),
        (mount, "type=bind,source=/a,target=/b,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
        (mount, "target", "invalid field 'target' must be a key=value pair"),
        (mount, "target=/a,bogus=1", "unknown option 'bogus' in 'bogus=1'"),
        (mount, "target=/a,image-subpath=b", "cannot mix 'image-*' options with mount type 'volume'"),
        (
            mount,
            "type=bind,source=/a,target=/b,bind-nonrecursive",
            "bind-nonrecursive is deprecated, use bind-recursive=disabled instead",
        ),
        (
            mount,
            "type=bind,source=/a,target=/b,bind-recursive=no",
            'invalid value for bind-recursive: no (must be "enabled", "disabled", "writable", or "readonly")',
        ),
        (
            mount,
            "type=bind,source=/a,target=/b,bind-recursive=writable",
            "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
        ),
        (
            mount,
            "type=bind,source=/a,target=/b,ro,bind-recursive=readonly",
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction",
        ),
        (mount, "target=", "invalid value for 'target': value is empty"),
        (mount, "target=/a,tmpfs-size=x,type=tmpfs", "invalid value for tmpfs-size: x"),
    ],
)
def test_a_wrong_value_is_refused_in_dockers_words(read: Callable[[str], Any], text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"^") as caught:
        read(text)
    assert str(caught.value) == problem


@given(st.integers(min_value=0, max_value=10**15))
def test_a_duration_that_is_printed_reads_back(nanoseconds: int) -> None:
    assert scalars.duration(go_duration(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("pw", ("pw", "pw", "0", "0", 0o444)),
        ("source=pw", ("pw", "pw", "0", "0", 0o444)),
        ("src=pw,target=/etc/pw,uid=33,gid=34,mode=0400", ("pw", "/etc/pw", "33", "34", 0o400)),
        ("source=pw,mode=0o440", ("pw", "pw", "0", "0", 0o440)),
        ('"source=a,b",target=x', ("a,b", "x", "0", "0", 0o444)),
    ],
)
def test_a_secret_may_be_given_in_short_and_long(text: str, reference: tuple[Any, ...]) -> None:
    found = secret_reference(text)
    file = found["File"]
    assert (found["SecretName"], file["Name"], file["UID"], file["GID"], file["Mode"]) == reference


def item(name: str, identifier: str) -> dict[str, Any]:
    return {"ID": identifier, "Spec": {"Name": name}}


def test_references_get_ids_by_exact_name_or_by_whole_id() -> None:
    wanted = [secret_reference("pw"), secret_reference("source=id2,target=other"), secret_reference("id3")]
    found = resolved("Secret", wanted, [item("pw", "id1"), item("pw2", "id2"), item("third", "id3")])
    assert [(ref["SecretName"], ref["SecretID"], ref["File"]["Name"]) for ref in found] == [
        ("pw", "id1", "pw"),
        ("pw2", "id2", "other"),
        ("third", "id3", "third"),
    ]


def test_an_unknown_reference_and_a_target_taken_twice_are_refused() -> None:
    with pytest.raises(CommandError, match=r"^secret not found: nosuch$"):
        resolved("Secret", [secret_reference("nosuch")], [item("nosuch2", "id")])
    twice = [secret_reference("source=a,target=x"), secret_reference("source=b,target=x")]
    with pytest.raises(CommandError, match=r"^duplicate secret target for b not allowed$"):
        resolved("Secret", twice, [item("a", "1"), item("b", "2")])


def test_references_are_removed_by_name_and_by_id() -> None:
    present = resolved(
        "Secret", [secret_reference("a"), secret_reference("b")], [item("a", "1" * 25), item("b", "2" * 25)]
    )
    for word in ("a", "1" * 25, "1" * 12):
        assert [ref["SecretName"] for ref in without("Secret", present, [word])] == ["b"]
    assert len(without("Secret", present, ["1", "nosuch"])) == 2


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("8080:80", [(8080, 80, "tcp", "ingress")]),
        ("80", [(0, 80, "tcp", "ingress")]),
        ("53:53/udp", [(53, 53, "udp", "ingress")]),
        ("8000-8001:80-81", [(8000, 80, "tcp", "ingress"), (8001, 81, "tcp", "ingress")]),
        ("published=8080,target=80,mode=host,protocol=udp", [(8080, 80, "udp", "host")]),
        ("target=80", [(0, 80, "tcp", "ingress")]),
    ],
)
def test_a_port_may_be_given_in_short_and_long(text: str, ports: list[tuple[Any, ...]]) -> None:
    found = publish(text)
    assert [(p.get("PublishedPort", 0), p["TargetPort"], p["Protocol"], p["PublishMode"]) for p in found] == ports


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("source=data,target=/x", {"Type": "volume", "Source": "data", "Target": "/x"}),
        ("type=bind,src=/a,dst=/b,ro", {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True}),
        ("type=bind,src=/a,dst=/b,readonly=false", {"Type": "bind", "Source": "/a", "Target": "/b"}),
        (
            "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770",
            {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1770}},
        ),
        (
            "source=d,target=/x,volume-nocopy,volume-label=a=b",
            {
                "Type": "volume",
                "Source": "d",
                "Target": "/x",
                "VolumeOptions": {"NoCopy": True, "Labels": {"a": "b"}},
            },
        ),
        (
            'source=d,target=/x,volume-driver=local,volume-opt=type=nfs,"volume-opt=o=addr=10.0.0.9,ro"',
            {
                "Type": "volume",
                "Source": "d",
                "Target": "/x",
                "VolumeOptions": {
                    "DriverConfig": {"Name": "local", "Options": {"type": "nfs", "o": "addr=10.0.0.9,ro"}}
                },
            },
        ),
        (
            "type=image,source=tools,target=/x,image-subpath=bin,consistency=cached",
            {
                "Type": "image",
                "Source": "tools",
                "Target": "/x",
                "Consistency": "cached",
                "ImageOptions": {"Subpath": "bin"},
            },
        ),
        (
            "type=bind,src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rprivate",
            {
                "Type": "bind",
                "Source": "/a",
                "Target": "/b",
                "ReadOnly": True,
                "BindOptions": {"ReadOnlyForceRecursive": True, "Propagation": "rprivate"},
            },
        ),
    ],
)
def test_a_mount_is_read(text: str, found: dict[str, Any]) -> None:
    assert mount(text) == found


def test_of_variables_the_last_counts_and_bare_names_come_from_the_environment() -> None:
    environ = {"HOME": "/root"}
    assert container.last_of_each(["A=1", "B=2", "A=3"]) == ["B=2", "A=3"]
    assert container.with_environment(["HOME", "NOSUCH", "A="], environ) == ["HOME=/root", "NOSUCH", "A="]
    text = "\ufeff# comment\n\nA=1 # kept\r\n  HOME\nNOSUCH\nB=x\u2028y\rz\n".encode()
    assert container.environment_lines("f", text, environ) == ["A=1 # kept", "HOME=/root", "B=x\u2028y\rz"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"A B=1", "variable 'A B' contains whitespaces on line 1"),
        (b"A=1\n=x", "no variable name on line '=x'"),
        (b"A=1\n\nB=\xff\xfe", "invalid utf8 bytes at line 3"),
    ],
)
def test_a_wrong_line_of_an_env_file_is_named(content: bytes, problem: str) -> None:
    with pytest.raises(CommandError) as caught:
        container.environment_lines("f", content, {})
    assert str(caught.value) == f"invalid env file (f): {problem}"


def test_capabilities_follow_dockers_rules_of_adding_and_dropping() -> None:
    assert container.capabilities(["net_admin", "CAP_SYS_TIME"], ["ALL", "net_admin"]) == (
        ["CAP_NET_ADMIN", "CAP_SYS_TIME"],
        ["ALL"],
    )
    assert container.changed_capabilities([], ["CAP_CHOWN"], ["chown"], []) == ([], [])
    assert container.changed_capabilities([], [], ["chown"], []) == (["CAP_CHOWN"], [])
    assert container.changed_capabilities(["CAP_CHOWN"], [], [], ["chown"]) == ([], [])
    assert container.changed_capabilities(["CAP_CHOWN"], [], ["RESET", "kill"], []) == (["CAP_KILL"], [])


READERS = [
    scalars.duration,
    scalars.byte_size,
    scalars.nano_cpus,
    scalars.unsigned,
    scalars.label,
    secret_reference,
    publish,
    mount,
    container.network,
    container.ulimit,
    container.extra_host,
    scalars.command_words,
]


PAIRS = st.lists(st.tuples(st.text("abcdehmnoprstuy-", max_size=8), st.text(max_size=6)), max_size=3)
TEXTS = st.text(max_size=40) | PAIRS.map(lambda pairs: ",".join(f"{key}={value}" for key, value in pairs))


@given(st.sampled_from(READERS), TEXTS)
def test_no_text_breaks_a_reader(read: Callable[[str], Any], text: str) -> None:
    try:
        read(text)
    except ValueError as error:
        assert "Traceback" not in str(error)  # noqa: PT017 - any other exception fails the test


def test_values_are_read_as_in_a_stack_file_without_loading_the_model() -> None:
    program = (
        "import sys; from vault.cli.values import scalars; before = 'vault.model' in sys.modules; "
        "scalars.duration('5s'); scalars.byte_size('5m'); "
        "print(before, [name for name in ('msgspec', 'yaml', 'vault.model.base') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False []\n"
