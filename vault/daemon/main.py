"""The `vaultd` command: reads options, takes the data root, serves until it is told to end."""

import sys
from pathlib import Path

import click

from vault import __version__
from vault.daemon.settings import DATA_ROOT, LOG_LEVELS, RUN_ROOT, settings
from vault.model.errors import VaultError


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--data-root", metavar="DIR", help=f"Where state is kept.  [default: {DATA_ROOT}]")
@click.option("--run-root", metavar="DIR", help=f"Where the socket and mounts are.  [default: {RUN_ROOT}]")
@click.option("--hostname", metavar="NAME", help="Name of this node.  [default: the machine's]")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Engine label of this node; repeatable.")
@click.option(
    "--node-generic-resource",
    "generic",
    multiple=True,
    metavar="KIND=VALUE",
    help="What tasks may reserve here beside processors and memory: a number, or a name; repeatable.",
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="YAML file with settings named like the options (labels: a map, node-generic-resources: a list); options win.",
)
@click.option("--log-level", type=click.Choice(LOG_LEVELS), help="[default: info]")
@click.option("--group", metavar="NAME", help="Group that may use the socket, if it exists.  [default: vault]")
@click.option("--host", metavar="tcp://ADDR:PORT", help="Serve the API over the network too, by mutual TLS only.")
@click.option("--tlscacert", metavar="FILE", help="CA that signs the certificates of clients of --host.")
@click.option("--tlscert", metavar="FILE", help="Certificate that --host is served by.")
@click.option("--tlskey", metavar="FILE", help="Its key.")
@click.version_option(__version__, message="vaultd version %(version)s")
def main(
    data_root: str | None,
    run_root: str | None,
    hostname: str | None,
    labels: tuple[str, ...],
    generic: tuple[str, ...],
    config: Path | None,
    log_level: str | None,
    group: str | None,
    host: str | None,
    tlscacert: str | None,
    tlscert: str | None,
    tlskey: str | None,
) -> None:
    """Run the vault's daemon on this node.

    One per node, as root.  It answers on RUN_ROOT/vault.sock; `vault swarm init` makes a swarm.  Ending it, even with
    kill -9, touches no task: the next vaultd on the same roots takes them over.
    """
    from vault.daemon.compose import run

    options = {
        "data-root": data_root,
        "run-root": run_root,
        "hostname": hostname,
        "log-level": log_level,
        "group": group,
        "host": host,
        "tlscacert": tlscacert,
        "tlscert": tlscert,
        "tlskey": tlskey,
    }
    try:
        code = run(settings(options, labels, config, generic))
    except VaultError as error:
        click.echo(f"vaultd: {error.message}", err=True)
        sys.exit(1)
    sys.exit(code)
