"""The entries of `security_opt`, and the files of seccomp profiles that they name.  Pure.

Called where a file is read (paths are made absolute), where it is posted (its bytes go along) and where a service is
made of it (`vault.stack.beyond`).
"""

from collections.abc import Callable
from typing import Final

_NO_FILES: Final = ("", "unconfined", "builtin")


def profile_file(option: str) -> str:
    """Return the file that an entry of `security_opt` names a seccomp profile by; "" when it names none."""
    name, value = halves(option)
    return value if name == "seccomp" and value not in _NO_FILES else ""


def with_profile_in(option: str, path: Callable[[str], str]) -> str:
    """Return an entry of `security_opt` with the file of its profile, if it names one, where `path` says it is."""
    file = profile_file(option)
    return f"seccomp:{path(file)}" if file else option


def halves(option: str) -> tuple[str, str]:
    """Return the name and the value of an entry: `name=value`, or `name:value` as of old."""
    name, _, value = option.partition("=" if "=" in option.partition(":")[0] else ":")
    return name, value
