"""What runs in a container: its command, environment, user and capabilities, merged as Docker merges them.

Pure: specs, the image's configuration and the text of the image's account files in, values out.
Called by `bundle` and, for commands run later, by `execs`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from vault.agent.executors.port import ImageConfig, TaskRejected
from vault.model.container import ContainerSpec
from vault.model.kernel_words import ALL_CAPABILITIES, capability

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT_PATH: Final = "/sbin/docker-init"  # Where Docker binds tini.
ID_MAX: Final = (1 << 31) - 1

# Docker's default set.  Source: moby, daemon/pkg/oci/caps/defaults.go.
DEFAULT_CAPABILITIES: Final[tuple[str, ...]] = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user as the kernel knows it."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The image's /etc/passwd and /etc/group, as text; empty when it has none."""

    passwd: str = ""
    group: str = ""


def command_of(spec: ContainerSpec, image: ImageConfig) -> tuple[str, ...]:
    """Return entrypoint and arguments.  A service's own entrypoint drops the image's arguments."""
    if spec.command:
        entrypoint, args = tuple(spec.command), tuple(spec.args)
    else:
        entrypoint, args = tuple(image.entrypoint), tuple(spec.args) or tuple(image.cmd)
    command = (*entrypoint, *args)
    if not command or not command[0]:
        raise TaskRejected("no command specified: give the service a command, or use an image that has one")
    if spec.init:
        command = (INIT_PATH, "--", *command)
    return command


def merge_env(*layers: Iterable[str]) -> tuple[str, ...]:
    """Join lists of NAME=VALUE; later ones win in place, and a bare NAME takes the variable away."""
    merged: dict[str, str | None] = {}
    for entry in (entry for layer in layers for entry in layer):
        name, separator, value = entry.partition("=")
        merged[name] = value if separator else None
    return tuple(f"{name}={value}" for name, value in merged.items() if name and value is not None)


def environment_of(spec: ContainerSpec, image: ImageConfig, *, hostname: str) -> tuple[str, ...]:
    """Return the environment of the container's first process; the runtime adds the user's HOME if it is not there."""
    base = [f"PATH={DEFAULT_PATH}", f"HOSTNAME={hostname}", *(["TERM=xterm"] if spec.tty else [])]
    return merge_env(base, image.env, spec.env)


def identity_of(user: str, accounts: Accounts, *, extra_groups: Sequence[str] = ()) -> Identity:
    """Return who `name`, `uid`, `name:group` or `uid:gid` is in the image; empty is root.

    Raises `TaskRejected` with Docker's text when the image does not know a name.
    """
    name, _, group = user.partition(":")
    row = next((row for row in _rows(accounts.passwd, 7) if name and (row[0] == name or row[2] == name)), None)
    if not name:
        row = next((row for row in _rows(accounts.passwd, 7) if row[2] == "0"), None)
    if row is not None and _is_id(row[2]) and _is_id(row[3]):
        uid, gid, login = int(row[2]), int(row[3]), row[0]
    elif not name or _is_id(name):
        uid, gid, login = int(name or "0"), 0, ""
    else:
        raise TaskRejected(f"unable to find user {name}: no matching entries in passwd file")
    if group:
        gid = _group_id(group, accounts)
        groups: list[int] = []
    else:
        groups = [
            int(row[2]) for row in _rows(accounts.group, 4) if login and login in row[3].split(",") and _is_id(row[2])
        ]
    groups = [gid, *groups, *(_group_id(extra, accounts) for extra in extra_groups)]
    return Identity(uid=uid, gid=gid, groups=tuple(dict.fromkeys(groups)))


def capabilities_of(add: Sequence[str], drop: Sequence[str], *, available: Iterable[str]) -> tuple[str, ...]:
    """Return Docker's default set, changed as asked.  `ALL` means all that vaultd itself may hand on (`available`)."""
    adds, drops = [_capability(name) for name in add], [_capability(name) for name in drop]
    offered = set(available)
    if "ALL" in adds:
        chosen = {name for name in ALL_CAPABILITIES if name in offered} - set(drops)
    elif "ALL" in drops:
        chosen = set(adds)
    else:
        chosen = (set(DEFAULT_CAPABILITIES) - set(drops)) | set(adds)
    return tuple(name for name in ALL_CAPABILITIES if name in chosen)


def _capability(name: str) -> str:
    if (known := capability(name)) is None:
        raise TaskRejected(f'invalid capability: "{name}"')
    return known


def _group_id(group: str, accounts: Accounts) -> int:
    for row in _rows(accounts.group, 3):
        if group in (row[0], row[2]) and _is_id(row[2]):
            return int(row[2])
    if not _is_id(group):
        raise TaskRejected(f"unable to find group {group}: no matching entries in group file")
    return int(group)


def _rows(text: str, fields: int) -> Iterable[list[str]]:
    """Yield the rows of an account file that have enough fields."""
    for line in text.splitlines():
        row = line.split(":")
        if len(row) >= fields and not line.startswith("#"):
            yield row


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= ID_MAX
