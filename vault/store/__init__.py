"""Immutable snapshots of the cluster, and the changes that lead from one to the next.  Pure."""

from vault.store.changes import AnyObject, Atomic, Change, Delete, Put, PutValue, Relied, kind_of, name_of
from vault.store.decision import Decider, Decision
from vault.store.snapshot import Snapshot, Stale

__all__ = [
    "AnyObject",
    "Atomic",
    "Change",
    "Decider",
    "Decision",
    "Delete",
    "Put",
    "PutValue",
    "Relied",
    "Snapshot",
    "Stale",
    "kind_of",
    "name_of",
]
