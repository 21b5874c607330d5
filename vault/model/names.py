"""The rules for names, as Docker states them.  Pure."""

import re

from vault.model.errors import InvalidArgument

SECRET_MAX_BYTES = 511_999
CONFIG_MAX_BYTES = 1_023_999
_OBJECT_NAME = re.compile(r"[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?")
_DNS_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_-]*[a-zA-Z0-9])?")  # Docker's, but read in linear time.


def check_object_name(name: str) -> None:
    """Raise `InvalidArgument` unless `name` may name a secret or a config (1 to 64 characters)."""
    if not name:
        raise InvalidArgument("name must be provided")
    if len(name) > 64 or _OBJECT_NAME.fullmatch(name) is None:
        raise InvalidArgument(
            "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, "
            "and the start and end character must be [a-zA-Z0-9]"
        )


def check_service_name(name: str) -> None:
    """Raise `InvalidArgument` unless `name` may name a service or a network (1 to 63 characters)."""
    if not name:
        raise InvalidArgument("meta: name must be provided")
    if _DNS_NAME.fullmatch(name) is None:
        raise InvalidArgument("name must be valid as a DNS name component")
    if len(name) > 63:
        raise InvalidArgument("name must be 63 characters or fewer")


def check_secret_size(size_bytes: int) -> None:
    """Raise `InvalidArgument` unless a secret of that size may be stored (1 to 511,999 bytes)."""
    if not 0 < size_bytes <= SECRET_MAX_BYTES:
        raise InvalidArgument("secret data must be larger than 0 and less than 512000 bytes")


def check_config_size(size_bytes: int) -> None:
    """Raise `InvalidArgument` unless a config of that size may be stored (1 to 1,023,999 bytes)."""
    if not 0 < size_bytes <= CONFIG_MAX_BYTES:
        raise InvalidArgument("config data must be larger than 0 and less than 1024000 bytes")
