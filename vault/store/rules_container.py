"""Rules for what runs in a service's containers: what no node could do is refused before anything is made.  Pure.

Called by `vault.store.rules_spec` with templates filled in.  Texts are Docker's where its commands or nodes have one;
Docker's managers take all of this, and the tasks fail.
"""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from vault.model.container import HOST_GATEWAY, ContainerSpec, DNSConfig, Ulimit
from vault.model.errors import InvalidArgument
from vault.model.kernel_words import capability, is_own_setting, rlimit, signal_number

HOSTNAME_BYTES: Final = 64  # Linux takes no more.
OOM_SCORES: Final = range(-1000, 1001)


def check_container(container: ContainerSpec) -> None:
    """Raise `InvalidArgument` or `BadRequest` for the first thing that no node could do."""
    if (container.stop_grace_period or 0) < 0:
        raise InvalidArgument("ContainerSpec: stop-grace-period cannot be negative")
    _check_words(container)
    if container.stop_signal:
        signal_number(container.stop_signal)
    for name in (*container.capability_add, *container.capability_drop):
        if capability(name) is None:
            raise InvalidArgument(f'invalid capability: "{name}"')
    for name in container.sysctls:
        if not is_own_setting(name):
            raise InvalidArgument(
                f"sysctl '{name}' is not allowed: a container has only net.*, fs.mqueue.*, kernel.msg*, kernel.sem, "
                "kernel.shm* and kernel.domainname of its own"
            )
    _check_ulimits(container.ulimits)
    if container.oom_score_adj not in OOM_SCORES:
        raise InvalidArgument(f"Invalid value {container.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    _check_hosts(container.hosts)
    _check_dns(container.dns_config or DNSConfig())


def _check_words(container: ContainerSpec) -> None:
    for what, word in _words(container):
        if "\0" in word:
            raise InvalidArgument(f"ContainerSpec: {what} has a NUL byte: leave it out")
    for variable in container.env:
        if not variable.partition("=")[0]:
            raise InvalidArgument(f"invalid environment variable: {variable}")
    if container.dir and not container.dir.startswith("/"):
        raise InvalidArgument(f"the working directory '{container.dir}' is invalid, it needs to be an absolute path")
    name = container.hostname
    if len(name.encode()) > HOSTNAME_BYTES or not name.isprintable() or " " in name:
        raise InvalidArgument(
            f"invalid hostname format: {name[:HOSTNAME_BYTES]}: use up to {HOSTNAME_BYTES} letters, digits, '-' and '.'"
        )


def _words(container: ContainerSpec) -> Iterator[tuple[str, str]]:
    yield from (("a word of the command", word) for word in (*container.command, *container.args))
    yield from (("an environment variable", word) for word in container.env)
    yield from (("dir", container.dir), ("user", container.user))


def _check_ulimits(ulimits: tuple[Ulimit, ...]) -> None:
    named = set()
    for ulimit in ulimits:
        name = rlimit(ulimit.name)
        if name is None:
            raise InvalidArgument(f"invalid ulimit type: {ulimit.name}")
        if name in named:
            raise InvalidArgument(f"ulimit {name} is given twice: name each limit once")
        named.add(name)
        if ulimit.hard >= 0 and (ulimit.soft < 0 or ulimit.soft > ulimit.hard):
            raise InvalidArgument(
                f"ulimit soft limit must be less than or equal to hard limit: {ulimit.soft} > {ulimit.hard}"
            )


def _check_hosts(hosts: tuple[str, ...]) -> None:
    for entry in hosts:
        address, *names = entry.split()[:2] or [""]
        if not names:
            raise InvalidArgument(f'bad format for add-host: "{entry}": write an address and a name')
        if address != HOST_GATEWAY and not _is_address(address):
            raise InvalidArgument(f'invalid IP address in add-host: "{address}"')


def _check_dns(dns: DNSConfig) -> None:
    for server in dns.nameservers:
        if not _is_address(server):
            raise InvalidArgument(f"{server} is not an ip address: name DNS servers by their addresses")
    for word in (*dns.search, *dns.options):
        if not word.isprintable() or word.split() != [word]:
            raise InvalidArgument(f'"{word}" is no domain or option of DNS: write each by itself')


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
