"""Secrets and configs of a task: where each file lies in the task's memory mount, and how the container sees it.

Pure.  Called by `prepare`.  Layout of the mount: `run-secrets/…` is bound whole at /run/secrets; every other file lies
at `files/<number>` and is bound by itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any, Final

from vault.agent.executors.oci.process import ID_MAX
from vault.agent.executors.port import TaskRejected
from vault.crypto.plaintext import Plaintext
from vault.model.container import ContainerSpec
from vault.model.ids import ConfigID, SecretID
from vault.model.secret import FileTarget
from vault.tmpfs.port import MemoryFile

SECRETS_TARGET: Final = PurePosixPath("/run/secrets")
_WHOLE: Final = "run-secrets"
_SINGLE: Final = "files"
_OPTIONS: Final = ["rbind", "ro", "nosuid", "nodev", "noexec", "rprivate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """The files of one task, and the mounts that show them to it."""

    files: tuple[MemoryFile, ...]
    mounts: tuple[dict[str, Any], ...]  # OCI mounts, parents first.


def plan_memory(
    spec: ContainerSpec,
    *,
    secrets: Mapping[SecretID, Plaintext],
    configs: Mapping[ConfigID, Plaintext],
    at: Path,
) -> MemoryPlan:
    """Return the files and mounts for the references of a spec; `at` is where the memory mount will be.

    Raises `TaskRejected` when a value is missing or a target cannot be.
    """
    files: dict[PurePosixPath, MemoryFile] = {}
    mounts: dict[PurePosixPath, dict[str, Any]] = {}
    for target, file, data in _wanted(spec, secrets, configs):
        if target in files:
            raise TaskRejected(f"two secrets or configs have the target {str(target)!r}: choose another for one")
        whole = SECRETS_TARGET in target.parents
        source = PurePosixPath(_WHOLE, target.relative_to(SECRETS_TARGET)) if whole else _single(len(files))
        files[target] = _memory_file(source, file, data)
        bound, path = (SECRETS_TARGET, PurePosixPath(_WHOLE)) if whole else (target, source)
        mounts[bound] = {"destination": str(bound), "type": "bind", "source": str(at / path), "options": _OPTIONS}
    ordered = sorted(mounts, key=lambda path: (len(path.parts), path))
    return MemoryPlan(files=tuple(files.values()), mounts=tuple(mounts[path] for path in ordered))


def _wanted(
    spec: ContainerSpec, secrets: Mapping[SecretID, Plaintext], configs: Mapping[ConfigID, Plaintext]
) -> Iterator[tuple[PurePosixPath, FileTarget, Plaintext]]:
    for secret in spec.secrets:
        value = secrets.get(SecretID(secret.secret_id))
        if value is None:
            raise TaskRejected(f"secret {secret.secret_name or secret.secret_id} has not reached this node")
        file = secret.file or FileTarget(name=secret.secret_name)
        yield _absolute(file.name, SECRETS_TARGET), file, value
    for config in spec.configs:
        if config.file is None:  # Only known to the runtime (a credential spec): nothing to show.
            continue
        value = configs.get(ConfigID(config.config_id))
        if value is None:
            raise TaskRejected(f"config {config.config_name or config.config_id} has not reached this node")
        yield _absolute(config.file.name, PurePosixPath("/")), config.file, value


def _absolute(name: str, base: PurePosixPath) -> PurePosixPath:
    """Return where in the container a file is wanted."""
    path = PurePosixPath(normpath(base / name))
    outside = not name.startswith("/") and base not in path.parents
    if "\0" in name or not name or name.endswith("/") or outside or path in (PurePosixPath("/"), SECRETS_TARGET):
        raise TaskRejected(f"the target {name!r} of a secret or config is not a file below {base}: choose another")
    # POSIX keeps two leading slashes; Linux does not.
    return PurePosixPath("/", *path.parts[1:])


def _single(number: int) -> PurePosixPath:
    return PurePosixPath(_SINGLE, str(number))


def _memory_file(path: PurePosixPath, file: FileTarget, data: Plaintext) -> MemoryFile:
    return MemoryFile(path=path, data=data, uid=_owner(file.uid), gid=_owner(file.gid), mode=file.mode & 0o7777)


def _owner(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= ID_MAX):
        raise TaskRejected(f"the owner {text!r} of a secret or config is not a number: give a numeric uid and gid")
    return int(text)
