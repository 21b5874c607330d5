"""Entry of the `vault` command: read the line, run the command, turn every failure into a sentence and an exit code.

The only place that prints errors and ends the process; nobody ever sees a traceback.
"""

import os
import sys
from typing import Any

import click

from vault import __version__
from vault.cli.client import API_VERSION, Client
from vault.cli.command import Group, option, switch
from vault.cli.errors import CommandError
from vault.cli.hosts import default_files, default_host

_AT = "vault.cli.commands."
COMMANDS = {
    "config": (_AT + "config:config", "Manage Swarm configs"),
    "container": (_AT + "containers:container", "Look into the containers of this node"),
    "doctor": (_AT + "doctor:doctor", "Look at this machine, and say what is missing"),
    "events": (_AT + "events:events", "Get real time events from the server"),
    "exec": (_AT + "execute:execute", "Execute a command in a running container"),
    "image": (_AT + "image:image", "Manage images"),
    "info": (_AT + "system:info", "Display system-wide information"),
    "lab": ("vault.lab.commands:lab", "Run a cluster on this machine"),
    "logs": (_AT + "logs:logs", "Fetch the logs of a container"),
    "network": (_AT + "network:network", "Manage networks"),
    "node": (_AT + "node:node", "Manage Swarm nodes"),
    "ps": (_AT + "containers:ps", "List containers"),
    "secret": (_AT + "secret:secret", "Manage Swarm secrets"),
    "service": (_AT + "service:service", "Manage Swarm services"),
    "stack": (_AT + "stack:stack", "Manage Swarm stacks"),
    "swarm": (_AT + "swarm:swarm", "Manage Swarm"),
    "version": (_AT + "system:version", "Show the version information"),
    "volume": (_AT + "volume:volume", "Manage volumes"),
    "help": (_AT + "system:help_", "Help about any command"),
}


@click.group(
    cls=Group,
    lazy=COMMANDS,
    invoke_without_command=True,
    help="A secret vault for Swarm-style clusters",
)
@option("-H", "--host", text="Daemon socket to connect to (default $VAULT_HOST, else unix:///run/vault/vault.sock)")
@switch("--tls", default=None, text="Use TLS; implied by tcp://, and always verified")
@option(
    "--tlscacert", text="Trust certs signed only by this CA (default $VAULT_CERT_PATH/ca.pem, else ~/.vault/ca.pem)"
)
@option("--tlscert", text="Path to TLS certificate file (default $VAULT_CERT_PATH/cert.pem, else ~/.vault/cert.pem)")
@option("--tlskey", text="Path to TLS key file (default $VAULT_CERT_PATH/key.pem, else ~/.vault/key.pem)")
@switch("--tlsverify", default=None, text="Use TLS and verify the remote; implied by tcp://")
@switch("-v", "--version", text="Print version information and quit")
@click.pass_context
def vault(ctx: click.Context, /, host: str | None, version: bool, **tls: Any) -> None:
    """Hold the connection that the commands share."""
    if version:
        click.echo(f"Vault version {__version__}, API version {API_VERSION}")
        ctx.exit()
    if ctx.invoked_subcommand is None:
        click.echo(vault.get_help(ctx), color=False)
        ctx.exit()
    if tls["tls"] is False or tls["tlsverify"] is False:
        raise CommandError("TLS without verification, or none, is not spoken to another host: leave that flag out")
    files = default_files(tls["tlscacert"], tls["tlscert"], tls["tlskey"])
    ctx.obj = Client(host or default_host(), files)


def run(words: list[str]) -> int:
    """Run one command line and return its exit code.  Messages go to standard error."""
    try:
        result: Any = vault.main(words, prog_name="vault", standalone_mode=False)
        sys.stdout.flush()
    except CommandError as error:
        if str(error):
            _complain(str(error))
        return error.exit_code
    except click.ClickException as error:
        _complain(error.format_message())
        return 125
    except (KeyboardInterrupt, click.Abort):
        _complain("")
        return 130
    except BrokenPipeError:
        # Who reads us has gone away; keep Python from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        _complain(f"vault: {named}{(error.strerror or str(error)).lower()}")
        return 1
    return result if isinstance(result, int) else 0


def main() -> None:
    """Console script `vault`."""
    try:
        code = run(sys.argv[1:])
    except Exception as error:  # The process ends here: a person gets a sentence, not a traceback.
        if os.environ.get("VAULT_DEBUG"):
            raise
        _complain(f"vault: internal error ({type(error).__name__}): please report it; VAULT_DEBUG=1 shows where")
        code = 1
    sys.exit(code)


def _complain(text: str) -> None:
    try:
        sys.stdout.flush()
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        return
