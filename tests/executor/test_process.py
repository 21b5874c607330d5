"""How a service's container and its image become one process, as Docker does it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.executor.conftest import FakeConfig
from vault.agent.executors.oci.process import (
    DEFAULT_CAPABILITIES,
    DEFAULT_PATH,
    Accounts,
    Identity,
    capabilities_of,
    command_of,
    environment_of,
    identity_of,
    merge_env,
)
from vault.agent.executors.oci.runtime import explain
from vault.agent.executors.port import TaskRejected
from vault.model.container import ContainerSpec
from vault.model.errors import BadRequest
from vault.model.kernel_words import ALL_CAPABILITIES, signal_number

ACCOUNTS = Accounts(
    passwd="root:x:0:0:root:/root:/bin/sh\n# comment\n"
    "mysql:x:999:998::/var/lib/mysql:/bin/false\nbroken:x:1\n12:x:13:14::/:\n",
    group="root:x:0:\nmysql:x:998:\nssl:x:77:mysql,www\nextra:x:78:www\n",
)


@pytest.mark.parametrize(
    ("command", "args", "entrypoint", "cmd", "wanted"),
    [
        ((), (), ("/entry",), ("serve",), ("/entry", "serve")),
        ((), ("other",), ("/entry",), ("serve",), ("/entry", "other")),
        (("/mine",), (), ("/entry",), ("serve",), ("/mine",)),
        (("/mine",), ("x",), ("/entry",), ("serve",), ("/mine", "x")),
        ((), (), (), ("sh",), ("sh",)),
    ],
)
def test_entrypoint_and_command_merge_as_in_docker(
    command: tuple[str, ...],
    args: tuple[str, ...],
    entrypoint: tuple[str, ...],
    cmd: tuple[str, ...],
    wanted: tuple[str, ...],
) -> None:
    spec = ContainerSpec(command=command, args=args)
    assert command_of(spec, FakeConfig(entrypoint=entrypoint, cmd=cmd)) == wanted


def test_an_image_without_any_command_is_refused() -> None:
    with pytest.raises(TaskRejected, match="no command specified"):
        command_of(ContainerSpec(), FakeConfig(cmd=()))


def test_init_comes_before_the_command() -> None:
    assert command_of(ContainerSpec(args=("a",), init=True), FakeConfig()) == ("/sbin/docker-init", "--", "a")


def test_the_services_environment_wins_in_place_and_a_bare_name_takes_away() -> None:
    spec = ContainerSpec(env=("B=2", "GONE", "C=x=y"), tty=True)
    merged = environment_of(spec, FakeConfig(env=("A=1", "B=1", "GONE=1")), hostname="h")
    assert merged == (f"PATH={DEFAULT_PATH}", "HOSTNAME=h", "TERM=xterm", "A=1", "B=2", "C=x=y")


def test_the_images_path_replaces_the_default_one() -> None:
    merged = environment_of(ContainerSpec(), FakeConfig(env=("PATH=/opt",)), hostname="h")
    assert merged == ("PATH=/opt", "HOSTNAME=h")


@given(st.lists(st.text(max_size=8)), st.lists(st.text(max_size=8)))
def test_merged_environments_name_each_variable_once_with_its_last_value(low: list[str], high: list[str]) -> None:
    merged = merge_env(low, high)
    names = [entry.partition("=")[0] for entry in merged]
    assert len(names) == len(set(names))
    last = {entry.partition("=")[0]: entry for entry in [*low, *high]}
    assert all(last[entry.partition("=")[0]] == entry for entry in merged)


@pytest.mark.parametrize(
    ("user", "wanted"),
    [
        ("", Identity(uid=0, gid=0, groups=(0,))),
        ("root", Identity(uid=0, gid=0, groups=(0,))),
        ("mysql", Identity(uid=999, gid=998, groups=(998, 77))),
        ("999", Identity(uid=999, gid=998, groups=(998, 77))),
        ("mysql:ssl", Identity(uid=999, gid=77, groups=(77,))),
        ("5:6", Identity(uid=5, gid=6, groups=(6,))),
        ("5", Identity(uid=5, gid=0, groups=(0,))),
        ("mysql:12345", Identity(uid=999, gid=12345, groups=(12345,))),
    ],
)
def test_users_are_looked_up_in_the_image(user: str, wanted: Identity) -> None:
    assert identity_of(user, ACCOUNTS) == wanted


def test_added_groups_may_be_names_or_numbers() -> None:
    assert identity_of("5", ACCOUNTS, extra_groups=("ssl", "9")).groups == (0, 77, 9)


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("ghost", "unable to find user ghost: no matching entries in passwd file"),
        ("root:ghosts", "unable to find group ghosts: no matching entries in group file"),
        ("-1", "unable to find user -1: no matching entries in passwd file"),
        ("99999999999", "unable to find user 99999999999: no matching entries in passwd file"),
        ("\u0665", "unable to find user \u0665: no matching entries in passwd file"),
    ],
)
def test_unknown_users_are_refused_in_dockers_words(user: str, text: str) -> None:
    with pytest.raises(TaskRejected) as refusal:
        identity_of(user, ACCOUNTS)
    assert str(refusal.value) == text


@given(st.text(max_size=30), st.text(max_size=200), st.text(max_size=200))
def test_account_files_of_any_content_give_a_user_or_a_refusal(user: str, passwd: str, group: str) -> None:
    try:
        found = identity_of(user, Accounts(passwd=passwd, group=group))
    except TaskRejected:
        return
    assert all(0 <= number < 1 << 31 for number in (found.uid, found.gid, *found.groups))


def test_capabilities_are_dockers_unless_changed() -> None:
    assert set(capabilities_of((), (), available=ALL_CAPABILITIES)) == set(DEFAULT_CAPABILITIES)
    assert len(DEFAULT_CAPABILITIES) == 14


@pytest.mark.parametrize(
    ("add", "drop", "wanted"),
    [
        (("NET_ADMIN",), ("ALL",), {"CAP_NET_ADMIN"}),
        (("cap_net_admin",), ("all",), {"CAP_NET_ADMIN"}),
        ((), ("ALL",), set()),
        (("ALL",), ("CAP_SYS_ADMIN",), set(ALL_CAPABILITIES[:30]) - {"CAP_SYS_ADMIN"}),
        (("SYS_TIME",), ("CHOWN",), (set(DEFAULT_CAPABILITIES) | {"CAP_SYS_TIME"}) - {"CAP_CHOWN"}),
    ],
)
def test_capabilities_are_added_and_dropped(add: tuple[str, ...], drop: tuple[str, ...], wanted: set[str]) -> None:
    assert set(capabilities_of(add, drop, available=ALL_CAPABILITIES[:30])) == wanted


def test_an_unknown_capability_is_refused() -> None:
    with pytest.raises(TaskRejected, match='invalid capability: "NET_MAGIC"'):
        capabilities_of(("NET_MAGIC",), (), available=ALL_CAPABILITIES)


def test_the_capabilities_are_those_of_the_kernel_header_in_its_order() -> None:
    """Numbers of some, from <linux/capability.h>; a shift by one would hand out the wrong rights."""
    numbers = {"CHOWN": 0, "KILL": 5, "NET_ADMIN": 12, "SYS_ADMIN": 21, "MKNOD": 27, "SETFCAP": 31, "BPF": 39}
    assert {name: ALL_CAPABILITIES.index("CAP_" + name) for name in numbers} == numbers
    assert len(ALL_CAPABILITIES) == 41


@pytest.mark.parametrize(
    ("name", "number"), [("SIGTERM", 15), ("term", 15), ("9", 9), ("RTMIN+3", 37), ("SIGRTMAX-1", 63), ("64", 64)]
)
def test_signals_go_by_many_names(name: str, number: int) -> None:
    assert signal_number(name) == number


@pytest.mark.parametrize("name", ["", "SIGNOTHING", "0", "65", "RTMIN+99", "-1", "TERM KILL", "9" * 5000])
def test_an_unknown_signal_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="invalid signal: "):
        signal_number(name)


@pytest.mark.parametrize(
    ("text", "program", "wanted"),
    [
        (
            "2026-01-02T03:04:05.123456Z: executable file `x` not found in $PATH: No such file or directory",
            "x",
            'exec: "x": executable file not found in $PATH',
        ),
        ("open executable: Permission denied", "/etc/passwd", 'exec: "/etc/passwd": permission denied'),
        ("executable file `/a` not found in $PATH", "/a", 'exec: "/a": stat /a: no such file or directory'),
        ("first\nmount `/x` to `/y`: Invalid argument\n", "sh", "mount `/x` to `/y`: Invalid argument"),
        ("", "sh", "the runtime gave no reason"),
        ('{"msg":"open executable: Permission denied","level":"error"}', "/x", 'exec: "/x": permission denied'),
        (
            'time="2026-11-22T23:42:18Z" level=error msg="runc create failed: unable to start container process: '
            'exec: \\"x\\": executable file not found in $PATH"',
            "x",
            'exec: "x": executable file not found in $PATH',
        ),
        (
            'exec failed: unable to start container process: exec: "/a": permission denied',
            "/a",
            'exec: "/a": permission denied',
        ),
    ],
)
def test_what_the_runtime_says_is_told_in_dockers_words(text: str, program: str, wanted: str) -> None:
    assert explain(text, program) == wanted
