"""How our commands differ from click's: lines are read as Docker reads them, and help and complaints look as Docker's.

`Command` and `Group` replace click's parsing by `flags.split`, so `-it`, `--detach=false` and options that end at the
image work.  `Group` imports the module of a command when it is used, which keeps start-up short.  `main` prints the
errors.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar

import click

from vault.cli.errors import CommandError, UsageProblem
from vault.cli.flags import Flag, split

Function = TypeVar("Function", bound=Callable[..., Any])
HELP = Flag("help", switch=True)


class Kind(click.ParamType[Any]):
    """A type of option values: its name in help, and the pure function that reads a text or raises `ValueError`."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self.read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value of an option's text."""
        if not isinstance(value, str):
            return value
        try:
            return self.read(value)
        except ValueError as error:
            shown = param.flag.shown if isinstance(param, Option) else "argument"
            raise UsageProblem(f'invalid argument "{value}" for "{shown}" flag: {error}') from None


def _read_switch(text: str) -> bool:
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


SWITCH = Kind("", _read_switch)
STRING = Kind("string", str)


class Option(click.Option):
    """An option; `flag` is what `flags.split` needs to know of it, `shown_default` what help says after the text."""

    def __init__(self, names: Sequence[str], *, shown_default: str = "", **settings: Any) -> None:
        super().__init__(names, **settings)
        self.shown_default = shown_default
        long = next(name for name in names if name.startswith("--"))
        short = next((name[1:] for name in names if name[0] == "-" and name[1] != "-"), "")
        self.flag = Flag(long[2:], short, self.type is SWITCH)


def option(
    *names: str, kind: Kind = STRING, many: bool = False, default: Any = None, shown: str = "", text: str = ""
) -> Callable[[Function], Function]:
    """Declare an option.  Not given: `default`, or () when it may be given `many` times.  `shown`: default in help."""
    return click.option(
        *names, cls=Option, type=kind, multiple=many, default=() if many else default, shown_default=shown, help=text
    )


def switch(
    *names: str, default: bool | None = False, shown: str = "", text: str = ""
) -> Callable[[Function], Function]:
    """Declare an option that is on or off."""
    return click.option(*names, cls=Option, type=SWITCH, default=default, shown_default=shown, help=text)


def argument(name: str, *, required: bool = True, many: bool = False) -> Callable[[Function], Function]:
    """Declare an argument."""
    return click.argument(name, required=required, nargs=-1 if many else 1)


class Reading:
    """The half of a command that reads its line; shared by commands and groups."""

    name: str | None
    params: list[click.Parameter]
    usage: str = ""
    interspersed = True

    def options(self) -> list[Option]:
        """Options in the order of help."""
        return sorted((p for p in self.params if isinstance(p, Option)), key=lambda option: option.flag.name)

    def canonical(self, words: Sequence[str]) -> list[str] | None:
        """Return the line as `--name=value … -- argument …`; None if help was asked for."""
        given, arguments = split(
            words, [*(option.flag for option in self.options()), HELP], interspersed=self.interspersed
        )
        if any(flag is HELP and value == "true" for flag, value in given):
            return None
        return [*(f"--{flag.name}={value}" for flag, value in given), "--", *arguments]


class Command(Reading, click.Command):
    """A command.  `usage` is what its usage line says after the path, such as `[OPTIONS] SECRET [file|-]`."""

    def __init__(
        self, *args: Any, usage: str = "", aliases: Sequence[str] = (), interspersed: bool = True, **settings: Any
    ) -> None:
        super().__init__(*args, **{**settings, "add_help_option": False})
        self.usage = usage
        self.aliases = tuple(aliases)  # Full paths, as help shows them.
        self.interspersed = interspersed

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read a line as Docker does; usage errors name this command."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        try:
            words = self.canonical(args)
            if words is None:
                click.echo(self.get_help(ctx), color=False)
                ctx.exit()
            self._count(ctx, words[words.index("--") + 1 :])
            return super().parse_args(ctx, words)
        except UsageProblem as problem:
            raise UsageProblem(
                f"{problem}\n\n{usage_line(ctx)}\n\nRun '{ctx.command_path} --help' for more information"
            ) from None

    def get_help(self, ctx: click.Context) -> str:
        """Help in Docker's layout."""
        from vault.cli.helptext import command_help

        return command_help(self, ctx.command_path)

    def _count(self, ctx: click.Context, arguments: Sequence[str]) -> None:
        wanted = [p for p in self.params if isinstance(p, click.Argument)]
        least = sum(1 for p in wanted if p.required)
        most = None if any(p.nargs == -1 for p in wanted) else len(wanted)
        if least <= len(arguments) and (most is None or len(arguments) <= most):
            return
        path, hint = ctx.command_path, "Run"
        if most is None:
            problem, hint = f"requires at least {least} argument{'s' if least > 1 else ''}", "See"
        elif most == 0:
            problem = "accepts no arguments"
        elif least == most:
            problem = f"requires {most} argument{'s' if most > 1 else ''}"
        elif least == 0:
            problem = f"requires at most {most} argument{'s' if most > 1 else ''}"
        else:
            problem = f"requires at least {least} and at most {most} arguments"
        raise CommandError(
            f"vault: '{path}' {problem}\n\n{usage_line(ctx)}\n\n{hint} '{path} --help' for more information"
        )


class Group(Reading, click.Group):
    """A group whose commands are imported when used.

    `lazy` maps a name to (`module:attribute`, one line of help); `hidden` names are synonyms that help leaves out.
    """

    interspersed = False

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, tuple[str, str]],
        synonyms: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(*args, add_help_option=False, **settings)
        self.lazy = lazy
        self.synonyms = synonyms or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, for help and completion."""
        return sorted(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none of that name."""
        name = self.synonyms.get(cmd_name, cmd_name)
        if name not in self.lazy:
            return None
        module, _, attribute = self.lazy[name][0].partition(":")
        found = getattr(import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the group's own options; the first argument names a command, and the rest of the line is its."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        try:
            words = self.canonical(args)
        except UsageProblem as problem:
            raise UsageProblem(
                f"{problem}\n\nUsage:  {ctx.command_path} [OPTIONS] COMMAND [ARG...]\n\n"
                f"Run '{ctx.command_path} --help' for more information"
            ) from None
        if words is None:
            click.echo(self.get_help(ctx), color=False)
            ctx.exit()
        cut = words.index("--")
        if not words[cut + 1 :] and not self.invoke_without_command:
            click.echo(self.get_help(ctx), err=True, color=False)
            ctx.exit()
        # click's own reading of a group ends at the first argument too, so `--` may go.
        return super().parse_args(ctx, [*words[:cut], *words[cut + 1 :]])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names."""
        path = ctx.command_path
        command = self.get_command(ctx, args[0])
        if command is None and not ctx.resilient_parsing:
            usage = f"\n\nUsage:  {path}" if ctx.parent else ""
            raise CommandError(
                f"vault: unknown command: {path} {args[0]}{usage}\n\nRun '{path} --help' for more information"
            )
        return (self.synonyms.get(args[0], args[0]) if command else None), command, args[1:]

    def get_help(self, ctx: click.Context) -> str:
        """Help in Docker's layout."""
        from vault.cli.helptext import group_help

        return group_help(self, ctx.command_path)


def usage_line(ctx: click.Context) -> str:
    """Return `Usage:  vault secret ls [OPTIONS]`."""
    usage = ctx.command.usage if isinstance(ctx.command, Command) else ""
    return f"Usage:  {ctx.command_path} {usage}".rstrip()


def command(
    usage: str = "", *, name: str, text: str, aliases: Sequence[str] = (), interspersed: bool = True
) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command; `text` is its help."""
    return click.command(
        name, cls=Command, usage=usage, aliases=aliases, interspersed=interspersed, help=text, short_help=text
    )
