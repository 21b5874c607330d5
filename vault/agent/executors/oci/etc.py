"""hosts, hostname and resolv.conf of a container.

`hosts_text` and `resolv_text` are pure; `write_etc` writes the files that are bound into the container.
Called by `prepare`.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import Any, Final

from vault.agent.executors.oci.mounts import bind_entry
from vault.agent.executors.oci.paths import TaskPaths
from vault.agent.executors.port import HostEntry, NetworkView, TaskRejected
from vault.model.container import HOST_GATEWAY, ContainerSpec, DNSConfig

_LOCAL: Final = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
_FALLBACK: Final = ("8.8.8.8", "8.8.4.4")  # Docker's, when the host has only resolvers on its own loopback.


def hosts_text(spec: ContainerSpec, network: NetworkView, *, hostname: str) -> str:
    """Return /etc/hosts: the usual names, the service's own entries, then the container's addresses."""
    extra = [_extra(entry.split(), network) for entry in spec.hosts if len(entry.split()) >= 2]
    called = (hostname, hostname.partition(".")[0]) if "." in hostname else (hostname,)
    own = [_line(entry.address, *(entry.names or called)) for entry in network.hosts]
    # So that a program which looks up its own name does not wait for a resolver.
    own = own or [] if network.host else own or [_line("127.0.1.1", hostname)]
    return _LOCAL + "".join(extra) + "".join(own)


def _extra(entry: list[str], network: NetworkView) -> str:
    """Return the line of an entry of the service, in which `host-gateway` stands for the node."""
    if entry[0] != HOST_GATEWAY:
        return _line(*entry)
    if not network.gateway:
        raise TaskRejected(f"{HOST_GATEWAY}: the task cannot reach its node, put it on a network that is not internal")
    return _line(network.gateway, *entry[1:])


def _line(address: str, *names: str) -> str:
    try:
        ip_address(address)
    except ValueError as error:
        raise TaskRejected(
            f"the host entry {address!r} does not begin with an address: write `ADDRESS NAME`"
        ) from error
    return f"{address}\t{' '.join(names)}\n"


def resolv_text(dns: DNSConfig | None, network: NetworkView, host_text: str) -> str:
    """Return /etc/resolv.conf: the network's resolver, else the service's settings, else the host's (`host_text`).

    A resolver of the network asks the service's servers itself; its options stand beside the service's.  One on the
    host's loopback cannot be reached from another namespace, so those lines fall away there.
    """
    wanted = dns or DNSConfig()
    kept = [line.split() for line in host_text.splitlines() if line and line[0] not in "#;" and line.strip()]
    host = {key: [row[1:] for row in kept if row[0] == key] for key in ("nameserver", "search", "options")}
    servers = network.nameservers or wanted.nameservers or tuple(_reachable(host["nameserver"], network))
    search = wanted.search or network.search or tuple(host["search"][-1] if host["search"] else ())
    options = (*wanted.options, *_unsaid(network.options, wanted.options))
    options = options or tuple(word for row in host["options"] for word in row)
    lines = [f"nameserver {server}" for server in servers]
    lines += [f"search {' '.join(search)}"] if search and search != (".",) else []
    lines += [f"options {' '.join(options)}"] if options else []
    return "".join(line + "\n" for line in lines)


def _unsaid(options: Iterable[str], said: Iterable[str]) -> Iterator[str]:
    """Yield the options that nothing said speaks of: `ndots:0` not where there is another `ndots`."""
    names = {option.partition(":")[0] for option in said}
    return (option for option in options if option.partition(":")[0] not in names)


def _reachable(rows: Iterable[list[str]], network: NetworkView) -> list[str]:
    servers = [row[0] for row in rows if row]
    if network.host:
        return servers
    return [server for server in servers if not server.startswith("127.") and server != "::1"] or list(_FALLBACK)


def write_etc(
    paths: TaskPaths, spec: ContainerSpec, network: NetworkView, *, hostname: str, taken: set[PurePosixPath]
) -> list[dict[str, Any]]:
    """Write the files and return their mounts, but for targets the service mounts itself (`taken`)."""
    paths.etc.mkdir(mode=0o755)
    host_resolv = Path("/etc/resolv.conf")
    texts = {
        "hosts": hosts_text(spec, network, hostname=hostname),
        "hostname": hostname + "\n",
        "resolv.conf": resolv_text(
            spec.dns_config, network, host_resolv.read_text(errors="replace") if host_resolv.exists() else ""
        ),
    }
    mounts = []
    for name, text in texts.items():
        target = PurePosixPath("/etc", name)
        if target not in taken:
            place = paths.etc / name
            place.write_text(text)
            place.chmod(0o644)
            mounts.append(bind_entry(str(place), target, read_only=False))
    return mounts


__all__ = ["HostEntry", "hosts_text", "resolv_text", "write_etc"]
