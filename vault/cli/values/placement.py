"""`--placement-pref` and `--generic-resource` as parts of a spec, and how an update changes those.  Pure.

The texts are Docker's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vault.cli.errors import CommandError

Part = dict[str, Any]


def preference(text: str) -> Part:
    """Return the preference that `spread=node.labels.NAME` asks for."""
    strategy, equals, over = text.partition("=")
    if not equals or "=" in over:
        raise ValueError('placement preference must be of the format "<strategy>=<arg>"')
    if strategy != "spread":
        raise ValueError(f"unsupported placement preference {strategy} (only spread is supported)")
    return {"Spread": {"SpreadDescriptor": over}}


def changed_preferences(present: Iterable[Part], added: Iterable[Part], removed: Iterable[Part]) -> list[Part]:
    """Return preferences in their order, new ones last: the order is their meaning."""
    gone = [_over(one) for one in removed]
    return [*(one for one in present if _over(one) not in gone), *added]


def _over(one: Mapping[str, Any]) -> str:
    return str((one.get("Spread") or {}).get("SpreadDescriptor", ""))


def preference_text(one: Mapping[str, Any]) -> str:
    """Return a preference as it is written on the command line."""
    return f"spread={_over(one)}"


def generic_word(text: str) -> str:
    """Return `KIND=NUMBER` unchanged."""
    if "=" not in text:
        raise ValueError(f"invalid generic-resource format `{text}` expected `name=value`")
    return text


def generic_resources(words: Sequence[str]) -> list[Part]:
    """Return what a task reserves; raise `CommandError` for what cannot be reserved."""
    from vault.model.generic_words import read

    try:
        amounts = read(words)
    except ValueError as error:
        raise CommandError(f"invalid generic resource specification: {error}") from None
    for kind, amount in amounts.items():
        if not isinstance(amount, int):
            raise CommandError(
                f"invalid generic-resource request `{kind}={amount[0]}`, Named Generic Resources is not supported for "
                "service create or update"
            )
    return [{"DiscreteResourceSpec": {"Kind": kind, "Value": amount}} for kind, amount in sorted(amounts.items())]


def changed_generic_resources(present: Iterable[Part], added: Sequence[str], removed: Sequence[str]) -> list[Part]:
    """Return reservations by kind; an added one replaces that of its kind, a removed one must be there."""
    kept = {_kind(one): one for one in present}
    for word in removed:
        kind = word.partition("=")[0]
        if kind not in kept:
            raise CommandError(f"could not remove generic-resource `{kind}` it doesn't exist")
        del kept[kind]
    kept |= {_kind(one): one for one in generic_resources(added)}
    return [kept[kind] for kind in sorted(kept)]


def _kind(one: Mapping[str, Any]) -> str:
    return str((one.get("DiscreteResourceSpec") or {}).get("Kind", ""))
