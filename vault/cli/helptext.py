"""Help in Docker's layout.  Pure, but for the width of the terminal; imported only when help is asked for."""

import shutil
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

from vault.cli.command import SWITCH

if TYPE_CHECKING:
    from vault.cli.command import Command, Group, Option

MANAGEMENT = ("config", "image", "lab", "network", "node", "secret", "service", "stack", "swarm", "volume")


def command_help(command: "Command", path: str, *, width: int | None = None) -> str:
    """Return the help of a command.  width: columns, those of the terminal if None."""
    parts = [f"Usage:  {path} {command.usage}".rstrip(), command.help or ""]
    if command.aliases:
        parts.append("Aliases:\n  " + ", ".join(command.aliases))
    options = command.options()
    if options:
        parts.append("Options:\n" + option_lines(options, width))
    return "\n\n".join(parts)


def group_help(group: "Group", path: str) -> str:
    """Return the help of a group of commands, or of `vault` itself."""
    root = " " not in path
    parts = [f"Usage:  {path} {'[OPTIONS] ' if group.options() else ''}COMMAND", group.help or ""]
    names = sorted(group.lazy)
    width = max(10, *(len(name) for name in names))

    def rows(wanted: Iterable[str]) -> str:
        return "\n".join(f"  {name.ljust(width)}  {group.lazy[name][1]}" for name in wanted)

    if root:
        parts.append("Management Commands:\n" + rows(name for name in names if name in MANAGEMENT))
        parts.append("Commands:\n" + rows(name for name in names if name not in MANAGEMENT))
    else:
        parts.append("Commands:\n" + rows(names))
    if group.options():
        parts.append("Global Options:\n" + option_lines(group.options()))
    parts.append(f"Run '{path} COMMAND --help' for more information on a command.")
    return "\n\n".join(parts)


def option_lines(options: "list[Option]", columns: int | None = None) -> str:
    """Return the table of options: names and type left, wrapped text right."""
    names = [_names(option) for option in options]
    indent = max(len(name) for name in names) + 3
    width = max(24, (columns or shutil.get_terminal_size((80, 24)).columns) - 1 - indent)
    lines: list[str] = []
    for option, name in zip(options, names, strict=True):
        text = (option.help or "") + (f" (default {option.shown_default})" if option.shown_default else "")
        paragraphs = [line for part in text.split("\n") for line in textwrap.wrap(part, width) or [""]]
        first, *rest = paragraphs or [""]
        lines.append((name.ljust(indent) + first).rstrip())
        lines += [" " * indent + line for line in rest]
    return "\n".join(lines)


def _names(option: "Option") -> str:
    short = f"-{option.flag.short}, " if option.flag.short else "    "
    kind = "" if option.type is SWITCH else f" {option.type.name}"
    return f"  {short}--{option.flag.name}{kind}"
