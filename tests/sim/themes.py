"""What a history is about: some of what a cluster does comes together too seldom by chance alone.

A theme makes a few things frequent; none is left out altogether.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

GOOD = ("steady",) * 12 + ("slow", "flaky", "stubborn", "finishes", "unwell")
ANY = (*GOOD, "crashes", "missing", "broken", "hung", "flaky", "crashes")
EDITS = ("image", "image", "image", "placement", "resources", "values", "force", "how", "ports", "limit", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """How often what is drawn."""

    modes: tuple[float, float, float, float] = (55, 25, 13, 7)  # Replicated, global, jobs of both kinds.
    images: tuple[str, ...] = ANY
    conditions: tuple[str, ...] = ("", "any", "any", "any", "on-failure", "none")  # Of restart policies,
    limited: float = 0.3  # and how many of them limit the attempts.
    placed: float = 0.5  # How many services say where they may run,
    reserves: float = 0.4  # how many reserve resources,
    checked: float = 0.25  # and how many have a health check.
    edits: tuple[str, ...] = EDITS  # What of a service is changed.
    calm: float = 0.72  # How much of what happens is done by people.
    refused: float = 0.02  # How much of what the leader proposes meets a full disk.
    history: tuple[int, ...] = (5, 5, 1, 0, -1)  # How many ended tasks are kept a slot; -1 = all.
    acts: Mapping[str, float] = field(default_factory=dict)  # Act or fault -> how much more often.


THEMES = (
    Theme(),
    Theme(
        modes=(5, 5, 50, 40),
        images=("finishes", "lingers", "steady", "stubborn", "flaky", "crashes"),
        acts={"update_service": 1.5, "set_availability": 4, "add_node": 4, "remove_node": 3, "cut": 4, "drain_lost": 6},
        history=(1, 0, 5),
    ),
    Theme(
        modes=(10, 85, 3, 2),
        acts={"set_availability": 3, "set_label": 2, "add_node": 3, "remove_node": 5, "create_service": 2, "reopen": 6},
    ),
    Theme(
        images=("finishes", "finishes", "crashes", "flaky", "steady", "unwell", "unwell", "broken", "missing"),
        conditions=("none", "on-failure", "on-failure", "any"),
        limited=0.6,
        checked=0.6,
        refused=0.5,
        acts={"rebalance_nodes": 2, "rebalance_service": 2, "crowd": 2},
    ),
    Theme(
        modes=(75, 25, 0, 0),
        images=(*("steady",) * 6, "slow", "flaky", "crashes", "stubborn", "finishes", "unwell"),
        placed=0.7,
        acts={
            "create_service": 0.5,
            "update_service": 2,
            "hurry": 3,
            "roll_back_service": 3,
            "set_label": 2,
            "refit": 3,
        },
    ),
    Theme(
        placed=0.9,
        reserves=0.8,
        edits=(*EDITS, "placement", "placement", "placement", "resources", "ports"),
        acts={
            "hurry": 2,
            "go_back": 3,
            "roll_back_service": 4,
            "set_availability": 2,
            "set_label": 5,
            "refit": 8,
            "rebalance_nodes": 2,
            "rebalance_service": 3,
        },
    ),
    Theme(
        modes=(75, 15, 7, 3),
        reserves=0.8,
        acts={
            "update_service": 1.5,
            "set_availability": 4,
            "add_node": 4,
            "remove_node": 5,
            "lose_power": 2,
            "rebalance_nodes": 3,
            "crowd": 3,
        },
    ),
    Theme(
        images=("steady", "steady", "steady", "slow", "stubborn", "finishes"),
        checked=0.4,
        calm=0.5,
        acts={"cut": 3, "kill_agent": 4, "strand": 6, "lose_power": 2, "refit": 4, "lose_leader": 0.5},
    ),
)


def theme_of(seed: int) -> Theme:
    """Return what the history of a seed is about."""
    return THEMES[(seed + seed // len(THEMES)) % len(THEMES)]  # With any number of nodes, which follows seeds, too.
