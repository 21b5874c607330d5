"""Rules for what confines a service's containers: seccomp and AppArmor.  Pure.

Called by `vault.store.rules_spec`.  Docker's managers take any word here, and a misspelt one would confine nothing.
"""

import base64
import binascii
from typing import Final

import msgspec

from vault.model.container import Privileges, SeccompOpts
from vault.model.errors import InvalidArgument

SECCOMP_MODES: Final = ("", "default", "unconfined", "custom")
APPARMOR_MODES: Final = ("", "default", "disabled")
PROFILE_MAX_BYTES: Final = 1 << 20


def check_privileges(privileges: Privileges | None) -> None:
    """Raise `InvalidArgument` unless a node could confine a container so."""
    if privileges is None:
        return
    if privileges.seccomp is not None:
        _check_seccomp(privileges.seccomp)
    if privileges.apparmor is not None and privileges.apparmor.mode not in APPARMOR_MODES:
        raise InvalidArgument(f'invalid AppArmor mode "{privileges.apparmor.mode}": use default or disabled')


def _check_seccomp(seccomp: SeccompOpts) -> None:
    if seccomp.mode not in SECCOMP_MODES:
        raise InvalidArgument(f'invalid seccomp mode "{seccomp.mode}": use default, unconfined or custom')
    if seccomp.mode != "custom":
        if seccomp.profile:
            raise InvalidArgument(f'a seccomp profile needs the mode custom, not "{seccomp.mode or "default"}"')
        return
    if len(seccomp.profile) > PROFILE_MAX_BYTES:
        raise InvalidArgument(f"the seccomp profile is too long: at most {PROFILE_MAX_BYTES} bytes of base64")
    try:
        profile = msgspec.json.decode(base64.b64decode(seccomp.profile, validate=True))
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        raise InvalidArgument("the seccomp profile is not base64 of a JSON object") from None
    if not isinstance(profile, dict) or not isinstance(profile.get("defaultAction"), str):
        raise InvalidArgument("the seccomp profile has no defaultAction")
