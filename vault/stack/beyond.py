"""Keys that Docker's swarm passes over and a node can honour all the same: `tmpfs`, `shm_size`, `security_opt`.

Pure; called by `vault.stack.convert_service`.  They mean what they mean to `docker run`; what cannot be honoured is
refused, since nobody would want to do without it unknowingly.
"""

from binascii import b2a_base64
from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from vault.model.container import AppArmorOpts, Mount, Privileges, SeccompOpts, SELinuxContext, TmpfsOptions
from vault.stack import document as doc
from vault.stack.errors import StackError
from vault.stack.load import ReadValue
from vault.stack.security_opt import halves
from vault.stack.values import size

SHM: Final = "/dev/shm"  # noqa: S108 - a mount point in the container
_ALWAYS: Final = ("rw", "nosuid", "nodev")  # What every such mount is.
_SWITCHES: Final = {"true": True, "1": True, "": True, "false": False, "0": False}
_LABELS: Final = ("user", "role", "type", "level")


def memory_mounts(service: doc.Service) -> Iterator[Mount]:
    """Yield the mounts that `tmpfs` and `shm_size` ask for.  Raises `StackError` for one that cannot be."""
    for entry in service.tmpfs:
        target, _, words = entry.partition(":")
        yield _tmpfs(target, [word for word in words.split(",") if word])
    if service.shm_size:
        yield Mount(
            type="tmpfs", target=SHM, tmpfs_options=TmpfsOptions(size_bytes=_size(service.shm_size), mode=0o1777)
        )


def _tmpfs(target: str, words: list[str]) -> Mount:
    size_bytes, mode, executable, read_only = 0, 0, False, False
    for word in words:
        name, _, value = word.partition("=")
        if name == "size":
            size_bytes = _size(value)
        elif name == "mode" and value and set(value) <= set("01234567"):
            mode = int(value, 8)
        elif word in ("exec", "noexec"):
            executable = word == "exec"
        elif word == "ro":
            read_only = True
        elif word not in _ALWAYS:
            raise StackError(f"tmpfs option '{word}' cannot be honoured: use size, mode, exec, noexec or ro")
    options = TmpfsOptions(size_bytes=size_bytes, mode=mode, options=(("exec",),) if executable else ())
    return Mount(
        type="tmpfs", target=target, read_only=read_only, tmpfs_options=options if options != TmpfsOptions() else None
    )


def _size(text: str) -> int:
    try:
        return size(text)
    except ValueError as error:
        raise StackError(str(error)) from None


def privileges(options: tuple[str, ...], read_value: ReadValue) -> Privileges:
    """Return what `security_opt` asks for.

    Raises `StackError` for what cannot be honoured, and what `read_value` raises for the file of a seccomp profile.
    """
    asked = Privileges()
    for option in options:
        match halves(option):
            case "no-new-privileges", value if value in _SWITCHES:
                asked = replace(asked, no_new_privileges=_SWITCHES[value])
            case "seccomp", "unconfined":
                asked = replace(asked, seccomp=SeccompOpts(mode="unconfined"))
            case "seccomp", "builtin":
                asked = replace(asked, seccomp=SeccompOpts(mode="default"))
            case "seccomp", file if file:
                profile = b2a_base64(read_value(file).reveal(), newline=False).decode()
                asked = replace(asked, seccomp=SeccompOpts(mode="custom", profile=profile))
            case "apparmor", "unconfined":
                asked = replace(asked, apparmor=AppArmorOpts(mode="disabled"))
            case "apparmor", "docker-default":
                asked = replace(asked, apparmor=AppArmorOpts(mode="default"))
            case "apparmor", _:
                raise StackError(f"security_opt {option}: use docker-default or unconfined")
            case "label", value:
                asked = replace(asked, selinux_context=_labelled(asked.selinux_context, option, value))
            case _:
                raise StackError(f'invalid security_opt: "{option}"')
    return asked


def _labelled(context: SELinuxContext | None, option: str, label: str) -> SELinuxContext:
    part, _, value = label.partition(":")
    if label == "disable":
        return SELinuxContext(disable=True)
    if part not in _LABELS or not value:
        raise StackError(f'invalid security_opt: "{option}"')
    return replace(context or SELinuxContext(), **{part: value})
