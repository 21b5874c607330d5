"""`vault swarm data-key`: show which data key seals the store, or make a new one and watch records move to it."""

import sys
import time
from typing import Any

import click

from vault.cli import human
from vault.cli.client import Client
from vault.cli.command import command, switch
from vault.cli.commands.swarm_ca import bar
from vault.cli.screen import Line, Screen
from vault.cli.shared_options import pass_client

POLL_S = 0.2
PATH = "/vault/v1/swarm/data-key"


@command("[OPTIONS]", name="data-key", text="Display and rotate the data key that the store is sealed under")
@switch("-d", "--detach", text="Exit immediately instead of waiting until all records are sealed under the new key")
@switch("-q", "--quiet", text="Only display the number of the newest key")
@switch(
    "--rotate", text="Rotate the data key: seal new records under another one at once, and older ones in the background"
)
@pass_client
def data_key(client: Client, detach: bool, quiet: bool, rotate: bool) -> None:
    """Print the number and age of the newest data key and what is sealed under older ones; never a key."""
    if not rotate:
        found = client.get(PATH)
        click.echo(found["Term"] if quiet else status_text(found, time.time()))
        return
    made = client.post(f"{PATH}/rotate")
    if not quiet:
        click.echo(f"Successfully rotated data key: the newest is number {made['Term']} now.\n")
    if not detach:
        made = watch(client, Screen(sys.stdout, quiet=quiet), made)
    click.echo(made["Term"] if quiet else status_text(made, time.time()))


def watch(client: Client, screen: Screen, found: dict[str, Any]) -> dict[str, Any]:
    """Show how many records are sealed under the newest data key, until all are and older keys are forgotten."""
    try:
        while not drawn(found, screen):
            time.sleep(POLL_S)
            found = client.get(PATH)
    except KeyboardInterrupt:
        screen.say("Operation continuing in background.")
        raise
    return found


def drawn(found: dict[str, Any], screen: Screen) -> bool:
    """Draw how far records are sealed anew; return whether it is over."""
    total = found["Records"]
    done = total - found["OlderRecords"]
    screen.draw(Line(f"sealed under data key {found['Term']}", f"{done}/{total} records{bar(done, total)}"))
    return not found["OlderRecords"] and not found["OlderKeys"]


def status_text(found: dict[str, Any], now_s: float) -> str:
    """Return what is to be known about the newest data key.  Pure."""
    total, older = found["Records"], found["OlderRecords"]
    text = f"Data key {found['Term']}, made {human.ago(found['CreatedAt'], now_s)}: "
    if older:
        return text + (
            f"{older} of {total} records are still sealed under older keys.\n"
            "They are sealed anew in the background, and the older keys are forgotten then."
        )
    text += f"all {total} records are sealed under it"
    return text + (", and the older keys are about to be forgotten." if found["OlderKeys"] else ".")
