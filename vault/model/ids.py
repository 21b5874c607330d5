"""Identifiers.  Each is 25 characters of [0-9a-z]; `vault.crypto.ids.new_id` draws them."""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import NewType

ClusterID = NewType("ClusterID", str)
NodeID = NewType("NodeID", str)
ServiceID = NewType("ServiceID", str)
TaskID = NewType("TaskID", str)
NetworkID = NewType("NetworkID", str)
SecretID = NewType("SecretID", str)
ConfigID = NewType("ConfigID", str)
NewID = Callable[[], str]

ID_LENGTH = 25
_ID = re.compile(r"[0-9a-z]{25}")


def is_id(text: str) -> bool:
    """Return whether `text` has the form of an object's id."""
    return _ID.fullmatch(text) is not None


class Kind(StrEnum):
    """The kinds of stored objects; the value is the word in keys, errors and events."""

    CLUSTER = "cluster"
    NODE = "node"
    SERVICE = "service"
    TASK = "task"
    NETWORK = "network"
    SECRET = "secret"
    CONFIG = "config"
    STACK = "stack"
    REGISTRY_AUTH = "pull-auth"

    def __str__(self) -> str:
        return self.value
