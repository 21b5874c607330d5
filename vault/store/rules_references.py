"""Rules for a service's claims on secrets and configs.  Pure.

Called by `vault.store.rules_service`.  Texts are Docker's where it has one.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vault.model.container import ContainerSpec, Mount
from vault.model.errors import BadRequest, InvalidArgument
from vault.model.ids import Kind
from vault.model.secret import Config, ConfigReference, FileTarget, Secret, SecretReference
from vault.store.snapshot import Snapshot

SECRETS_DIR = "/run/secrets"
MAX_TARGET_BYTES = 4095
MAX_UID = 2**32 - 2


@dataclass(frozen=True, slots=True)
class Claim:
    """A reference, whichever its kind."""

    id: str
    name: str
    file: FileTarget | None


def check_references(snapshot: Snapshot, container: ContainerSpec) -> None:
    """Raise `InvalidArgument` unless every secret and config exists under its name, and no two share a path."""
    check_targets(container)
    _check_exist(snapshot, Kind.SECRET, _claims(container.secrets))
    _check_exist(snapshot, Kind.CONFIG, _claims(container.configs))


def check_targets(container: ContainerSpec) -> None:
    """Raise `InvalidArgument` unless every reference is well formed, and no two share a path; needs no snapshot."""
    taken: dict[str, str] = {}
    _check_targets(Kind.SECRET, _claims(container.secrets), SECRETS_DIR, taken)
    _check_targets(Kind.CONFIG, _claims(container.configs), "/", taken)
    _check_apart(taken, container.mounts)


def _claims(references: Sequence[SecretReference | ConfigReference]) -> list[Claim]:
    claims = []
    for reference in references:
        match reference:
            case SecretReference():
                claims.append(Claim(reference.secret_id, reference.secret_name, reference.file))
            case ConfigReference():
                claims.append(Claim(reference.config_id, reference.config_name, reference.file))
    return claims


def _check_targets(kind: Kind, claims: Sequence[Claim], base: str, taken: dict[str, str]) -> None:
    """Check form and uniqueness of targets; `taken` maps a path in the task to the name mounted there."""
    for claim in claims:
        if not claim.id or not claim.name:
            raise InvalidArgument(f"malformed {kind} reference")
        if claim.file is None and kind is Kind.CONFIG:
            raise BadRequest("invalid Config: either File or Runtime should be set")
        if claim.file is None:
            raise InvalidArgument(f"malformed {kind} reference, no target provided")
        if not claim.file.name:
            raise InvalidArgument(f"malformed file {kind} reference, invalid target file name provided")
        _check_file(kind, claim.name, claim.file)
        path = posixpath.normpath(posixpath.join(base, claim.file.name))
        if path in taken:
            raise InvalidArgument(
                f"{kind} references '{taken[path]}' and '{claim.name}' have a conflicting target: '{claim.file.name}'"
            )
        taken[path] = claim.name


def _check_apart(taken: Mapping[str, str], mounts: Sequence[Mount]) -> None:
    """Refuse a place that cannot be: below a file, or where a mount would hide a file or be hidden by it."""
    for path, name in taken.items():
        if above := next((one for one in _above(path) if one in taken), None):
            raise InvalidArgument(f"'{name}' cannot be at {path}: '{taken[above]}' is a file at {above}")
    has_secrets = any(SECRETS_DIR in _above(path) for path in taken)
    for target in (posixpath.normpath(mount.target) for mount in mounts):
        places = (target, *_above(target))
        if hidden := next((one for one in places if one in taken), None):
            raise InvalidArgument(
                f"mount target {target} is in the way of '{taken[hidden]}' at {hidden}: move one of them"
            )
        if has_secrets and SECRETS_DIR in places:
            raise InvalidArgument(
                f"mount target {target} is in the way of the secrets in {SECRETS_DIR}: choose another"
            )


def _above(path: str) -> Iterator[str]:
    """Yield the directories that a path is in."""
    while (path := posixpath.dirname(path)) != "/" and path:
        yield path


def _check_file(kind: Kind, name: str, file: FileTarget) -> None:
    """Check what the agent will rely on: a plain path, numeric owners, permission bits."""
    parts = file.name.split("/")
    if ".." in parts or parts[-1] in ("", ".") or "\0" in file.name or len(file.name.encode()) > MAX_TARGET_BYTES:
        raise InvalidArgument(f"{kind} '{name}': the target must be the path of a file, without '..'")
    for what, number in (("uid", file.uid), ("gid", file.gid)):
        digits = number or "0"
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and int(digits) <= MAX_UID):
            raise InvalidArgument(f"{kind} '{name}': the {what} must be a number, not a user or group name")
    if not 0 <= file.mode <= 0o7777:
        raise InvalidArgument(f"{kind} '{name}': the mode must be permission bits, at most 07777")


def _check_exist(snapshot: Snapshot, kind: Kind, claims: Sequence[Claim]) -> None:
    """Raise `InvalidArgument` naming all that are missing, or that have another name than the claim says."""
    missing = []
    for claim in claims:
        found = snapshot.get(kind, claim.id)
        if not isinstance(found, Secret | Config) or found.spec.name != claim.name:
            missing.append(claim.name)
    if missing:
        noun = kind if len(missing) == 1 else f"{kind}s"
        raise InvalidArgument(f"{noun} not found: {', '.join(missing)}")
