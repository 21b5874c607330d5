"""Names for services that were posted without one, as Docker makes them: an adjective and a noun.

Pure: the chance is in the id it is given.
"""

from collections.abc import Callable
from itertools import chain, count

_ADJECTIVES = (
    "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "clever", "cosy", "crisp", "eager", "early",
    "fair", "fancy", "fleet", "fresh", "gentle", "glad", "golden", "grand", "happy", "hardy", "honest", "jolly",
    "keen", "kind", "light", "lively", "loyal", "lucid", "merry", "mild", "neat", "nimble", "noble", "plain",
    "polite", "proud", "quick", "quiet", "rapid", "ready", "rustic", "silent", "silver", "smart", "solid", "steady",
    "sunny", "swift", "tidy", "warm", "wise",
)  # fmt: skip
_NOUNS = (
    "acorn", "anchor", "apple", "badger", "beacon", "birch", "bridge", "brook", "canyon", "cedar", "cliff",
    "clover", "comet", "coral", "crane", "delta", "dune", "eagle", "ember", "falcon", "fern", "finch", "fjord",
    "forest", "garden", "glacier", "harbour", "hazel", "heron", "island", "juniper", "lagoon", "lantern", "lark",
    "maple", "meadow", "moon", "oak", "otter", "pebble", "pine", "quarry", "raven", "reef", "river", "robin",
    "sparrow", "spruce", "summit", "willow",
)  # fmt: skip


def name_from(object_id: str, taken: Callable[[str], bool]) -> str:
    """Return a name such as `quiet_river`, or `quiet_river2` when that is taken.

    object_id: 25 characters [0-9a-z], which choose the words.
    """
    number = int(object_id, 36)
    name = f"{_ADJECTIVES[number % len(_ADJECTIVES)]}_{_NOUNS[number // len(_ADJECTIVES) % len(_NOUNS)]}"
    candidates = chain([name], (f"{name}{suffix}" for suffix in count(2)))
    return next(candidate for candidate in candidates if not taken(candidate))
