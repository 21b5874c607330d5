"""`vault exec`: run a command in a running container of this node."""

import os
import sys

from vault.cli.client import Client
from vault.cli.command import argument, command, option, switch
from vault.cli.commands.service_create import variables_from
from vault.cli.errors import CommandError, Exit
from vault.cli.services.options import ENV
from vault.cli.shared_options import pass_client
from vault.cli.values.kinds import LIST


@command(
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    name="exec",
    text="Execute a command in a running container",
    interspersed=False,
)
@argument("container")
@argument("words", many=True)
@switch("-d", "--detach", text="Detached mode: run command in the background")
@option("-e", "--env", kind=ENV, many=True, text="Set environment variables")
@option("--env-file", kind=LIST, many=True, text="Read in a file of environment variables")
@switch("-i", "--interactive", text="Keep STDIN open even if not attached")
@switch("-t", "--tty", text="Allocate a pseudo-TTY")
@option("-u", "--user", text='Username or UID (format: "<name|uid>[:<group|gid>]")')
@option("-w", "--workdir", text="Working directory inside the container")
@pass_client
def execute(
    client: Client,
    container: str,
    words: tuple[str, ...],
    detach: bool,
    env: tuple[str, ...],
    env_file: tuple[str, ...],
    interactive: bool,
    tty: bool,
    user: str | None,
    workdir: str | None,
) -> None:
    """Run a command; its exit code is ours."""
    if tty and interactive and not detach and not sys.stdin.isatty():
        raise CommandError("the input device is not a TTY")
    request = {
        "User": user or "",
        "Privileged": False,
        "Tty": tty,
        "AttachStdin": interactive and not detach,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "Detach": detach,
        "Env": variables_from(env_file, env, os.environ) or None,
        "WorkingDir": workdir or "",
        "Cmd": list(words),
    }
    identifier = client.post(f"/containers/{container}/exec", request)["Id"]
    if detach:
        client.post(f"/exec/{identifier}/start", {"Detach": True, "Tty": tty})
        return
    from vault.cli.terminal import attach

    code = attach(client, f"/vault/v1/exec/{identifier}/start", interactive=interactive, tty=tty)
    raise Exit(code)
