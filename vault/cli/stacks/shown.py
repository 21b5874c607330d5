"""What a deploy did, or would do, as text.

Pure; called by `vault.cli.commands.stack_deploy` with the daemon's answer.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vault.model.durations import go_duration

_SIGNS = {"create": "+", "update": "~", "remove": "-"}
_NOTHING = "(none)"
_DURATIONS = frozenset(  # Fields whose values are nanoseconds.
    (
        "StopGracePeriod",
        *(f"Healthcheck.{name}" for name in ("Interval", "Timeout", "StartPeriod", "StartInterval")),
        *(f"RestartPolicy.{name}" for name in ("Delay", "Window")),
        *(
            f"{config}.{name}"
            for config in ("UpdateConfig", "RollbackConfig")
            for name in ("Delay", "Monitor", "Deadline")
        ),
    )
)


def lines_of(changes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each object that a deploy touched, Docker's; a service that is as it was counts as updated."""
    for change in changes:
        action, kind, name = change["action"], change["kind"], change["name"]
        if action == "create":
            yield f"Creating {kind} {name}"
        elif action == "remove":
            yield f"Removing {kind} {name}"
        elif kind == "service":
            yield f"Updating service {name} (id: {change['id']})"


def services_in(changes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the services that there are after a deploy, in its order."""
    return [change["name"] for change in changes if change["kind"] == "service" and change["action"] != "remove"]


def plan_text(answer: Mapping[str, Any]) -> str:
    """Return a plan for reading: an object a line, and below one that changes, its fields, old and new."""
    changes = [change for change in answer["changes"] if change["action"] in _SIGNS]
    if not changes:
        return f"Nothing to do: stack {answer['name']} is as the files say (revision {answer['revision']}).\n"
    lines = [f"Stack {answer['name']} (revision {answer['revision']}):"]
    for change in changes:
        lines.append(f"{_SIGNS[change['action']]} {change['action']} {change['kind']} {change['name']}")
        lines += [f"      {_moved(field)}" for field in change.get("fields", ())]
    counts = {action: sum(change["action"] == action for change in changes) for action in _SIGNS}
    told = ", ".join(f"{count} to {action}" for action, count in counts.items() if count)
    return "\n".join([*lines, f"{told}. Nothing was changed.", ""])


def _moved(field: Mapping[str, Any]) -> str:
    if field["old"] is None and field["new"] is None:
        return str(field["field"])
    old, new = (_value(field["field"], field[side]) for side in ("old", "new"))
    return f"{_one_line(field['field'])}: {old} → {new}"


def _value(field: str, text: str | None) -> str:
    if text is None:
        return _NOTHING
    return go_duration(int(text)) if field in _DURATIONS and text.isdecimal() else _one_line(text)


def _one_line(text: str) -> str:
    """Return a value that keeps to its line, and does nothing to a terminal."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return escaped or '""'
