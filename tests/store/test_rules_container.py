"""What no node could run is refused with what to change, and what one can run is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.model.container import ContainerSpec, DNSConfig, Ulimit
from vault.model.errors import BadRequest, InvalidArgument
from vault.model.kernel_words import ALL_CAPABILITIES
from vault.store.rules_container import check_container

FINE = ContainerSpec(
    image="busybox",
    command=("sh",),
    args=("-c", "true"),
    env=("A=1", "B", "C=a=b"),
    dir="/srv",
    hostname="web-1.example.com",
    stop_signal="SIGRTMIN+3",
    capability_add=("net_admin", "CAP_SYS_TIME", "ALL"),
    capability_drop=ALL_CAPABILITIES,
    sysctls={"net.core.somaxconn": "9", "kernel.shmmax": "1", "fs.mqueue.msg_max": "5", "kernel.domainname": "x"},
    ulimits=(Ulimit(name="nofile", soft=5, hard=-1), Ulimit(name="RLIMIT_CORE", soft=-1, hard=-1)),
    oom_score_adj=-1000,
    hosts=("10.0.0.1 db", "::1 a b", "host-gateway host.docker.internal"),
    dns_config=DNSConfig(nameservers=("1.1.1.1", "fd00::1"), search=("example.com", "."), options=("ndots:2",)),
)


def test_what_a_node_can_run_is_fine() -> None:
    check_container(FINE)
    check_container(ContainerSpec(image="busybox"))


SETTINGS = (
    " is not allowed: a container has only net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm* and "
    "kernel.domainname of its own"
)


@pytest.mark.parametrize(
    ("container", "told"),
    [
        (ContainerSpec(args=("a\0b",)), "ContainerSpec: a word of the command has a NUL byte: leave it out"),
        (ContainerSpec(env=("A=\0",)), "ContainerSpec: an environment variable has a NUL byte: leave it out"),
        (ContainerSpec(user="\0"), "ContainerSpec: user has a NUL byte: leave it out"),
        (ContainerSpec(env=("=x",)), "invalid environment variable: =x"),
        (ContainerSpec(dir="srv"), "the working directory 'srv' is invalid, it needs to be an absolute path"),
        (ContainerSpec(hostname="a b"), "invalid hostname format: a b: use up to 64 letters, digits, '-' and '.'"),
        (ContainerSpec(hostname="a\nb"), "invalid hostname format: a\nb: use up to 64 letters, digits, '-' and '.'"),
        (
            ContainerSpec(hostname="x" * 65),
            f"invalid hostname format: {'x' * 64}: use up to 64 letters, digits, '-' and '.'",
        ),
        (ContainerSpec(capability_drop=("CAP_MAGIC",)), 'invalid capability: "CAP_MAGIC"'),
        (ContainerSpec(sysctls={"vm.swappiness": "1"}), f"sysctl 'vm.swappiness'{SETTINGS}"),
        (ContainerSpec(sysctls={"kernel.hostname": "x"}), f"sysctl 'kernel.hostname'{SETTINGS}"),
        (ContainerSpec(ulimits=(Ulimit(name="files"),)), "invalid ulimit type: files"),
        (
            ContainerSpec(ulimits=(Ulimit(name="nofile", soft=-1, hard=5),)),
            "ulimit soft limit must be less than or equal to hard limit: -1 > 5",
        ),
        (
            ContainerSpec(ulimits=(Ulimit(name="nofile"), Ulimit(name="RLIMIT_NOFILE"))),
            "ulimit nofile is given twice: name each limit once",
        ),
        (ContainerSpec(oom_score_adj=1001), "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
        (ContainerSpec(hosts=("",)), 'bad format for add-host: "": write an address and a name'),
        (ContainerSpec(hosts=("10.0.0.1",)), 'bad format for add-host: "10.0.0.1": write an address and a name'),
        (ContainerSpec(hosts=("db 10.0.0.1",)), 'invalid IP address in add-host: "db"'),
        (
            ContainerSpec(dns_config=DNSConfig(nameservers=("resolver",))),
            "resolver is not an ip address: name DNS servers by their addresses",
        ),
        (
            ContainerSpec(dns_config=DNSConfig(search=("a\0b",))),
            '"a\0b" is no domain or option of DNS: write each by itself',
        ),
        (
            ContainerSpec(dns_config=DNSConfig(search=("a b",))),
            '"a b" is no domain or option of DNS: write each by itself',
        ),
    ],
)
def test_what_no_node_can_run_is_refused_with_what_to_change(container: ContainerSpec, told: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        check_container(container)
    assert raised.value.description == told


def test_a_signal_has_a_name() -> None:
    with pytest.raises(BadRequest, match=r"^invalid signal: SIGFOO$"):
        check_container(ContainerSpec(stop_signal="SIGFOO"))


WORDS = st.text(max_size=8)


@given(WORDS, st.tuples(WORDS), st.dictionaries(WORDS, WORDS, max_size=2), st.tuples(WORDS), WORDS)
def test_any_words_are_taken_or_refused(
    hostname: str, env: tuple[str], sysctls: dict[str, str], hosts: tuple[str], signal: str
) -> None:
    container = ContainerSpec(
        hostname=hostname, env=env, sysctls=sysctls, hosts=hosts, stop_signal=signal, capability_add=hosts
    )
    try:
        check_container(container)
    except (InvalidArgument, BadRequest):
        return
    assert "\n" not in hostname
    assert "\0" not in env[0]
