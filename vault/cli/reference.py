"""`docs/commands.md`, written from the commands themselves: `python -m vault.cli.reference > docs/commands.md`.

Pure, but for the last lines.  A test compares the file with what this module writes.
"""

from collections.abc import Iterator

import click

from vault.cli.command import Command, Group
from vault.cli.helptext import command_help
from vault.cli.main import vault

WIDTH = 100
INTRODUCTION = """# Commands

Written by `python -m vault.cli.reference` from the commands' own help; a test keeps the two the same.

`vault` follows the `docker` command line: the same grammar, tables, messages and exit codes for what both can do. It
talks to `vaultd` over the unix socket that `-H unix://PATH` names, else `$VAULT_HOST`, else
`unix:///run/vault/vault.sock`. Objects may be named by name, id, or the beginning of an id. Any manager takes any
command about the swarm, and passes it on to the one that leads.

From another machine: `vaultd --host tcp://ADDR:2376 --tlscacert CA --tlscert CERT --tlskey KEY` serves the same by
mutual TLS 1.3, and `vault -H tcp://ADDR:2376 --tlscacert CA --tlscert CERT --tlskey KEY` asks it. `$VAULT_HOST`,
`$VAULT_TLSCACERT`, `$VAULT_TLSCERT` and `$VAULT_TLSKEY` do instead of options, and `$VAULT_CERT_PATH` (else
`~/.vault`) is where `ca.pem`, `cert.pem` and `key.pem` are looked for. Who holds such a certificate is root on that
node.

| exit code | when |
|---|---|
| 0 | it was done |
| 1 | it failed: one sentence on standard error, for several names one a line |
| 125 | a flag is unknown or its value is wrong |
| others | of the command that `vault exec` ran; 126 and 127 when it could not be run |

Where we differ from Docker on purpose:

- A command that waits for a service ends with 1 when its change was paused, *rolled back*, overtaken by a newer one or
  late, and when tasks failed and their restart policy does not try again. Tasks that completed and are not restarted
  count as converged, and so do services without replicas (`updates.md`).
- `--update-deadline` and `--rollback-deadline` say how long an update may take before it counts as failed.
- `service update` and `scale` apply their options to the newer description when somebody else changed the service
  meanwhile.
- A wait for a job ends with 1 once its other tasks are done and one has failed for good; `service update` takes
  `--replicas` and `--max-concurrent` for jobs too (`jobs.md`).
- Off a terminal a line of progress is printed when it changes, not five times a second.
- `service update --secret-rm` and `--config-rm` take names and ids, so that
  `--secret-rm ID --secret-add source=NEW,target=OLD` rotates in one step.
- `stack deploy` is one commit of the managers: refused or broken off, it leaves nothing behind, and what did not change
  is not touched. `--plan` prints what it would change, `--rotate-changed` makes a new secret of a file that changed,
  `--prune` also takes secrets and configs that nothing uses any more (`stacks.md`); `depends_on` is honoured
  (`stack-files.md`).
- A secret or config stays while the spec that a service would roll back to refers to it; Docker lets it go.
- The `docker` command cannot `exec` with streams or `attach` here, since both need an upgraded connection: use
  `vault exec`, `vault logs -f`. What it asks of single containers, builds and plugins is refused with a sentence.
- No registry is asked by the command line; a node uses a local image as it is, and pulls what it does not have, with
  the credentials that `--with-registry-auth` sent ([registries.md](registries.md)).
- `--format` knows `table`, `json`, `{{.Field}}`, `{{json .Field}}`, `{{.Label "name"}}`, `{{index .Field "key"}}`,
  `{{join .Field ","}}`, `upper`, `lower`, `title`, `len` and `println`; anything else is refused with a sentence.
- While no manager leads, a command about the swarm waits up to 12 seconds for the next one. A create that was on its
  way when the leader was lost is then done once, and answered with its id; another write whose answer was lost ends
  with "the outcome of this write is unknown".
- `vault service update --rebalance` and `vault node rebalance` move tasks until shares are even again
  ([placement.md](placement.md)); Docker has nothing like it.
- `vault node drain --wait` waits until what ran on a node runs elsewhere, or says which task has no other place
  ([placement.md](placement.md)); Docker has nothing like it.
- `vault swarm backup` and `restore` keep a swarm in one sealed file; Docker has nothing like them.
- `vault swarm data-key` shows under which data key the store is sealed, and `--rotate` makes a new one; Docker has
  nothing like it.
- `vault events --since` begins with what is remembered: the last 256 events of the swarm, which every manager keeps for
  itself since its `vaultd` was started, so that a change of leaders loses none, and the last 256 of the containers of
  the node that was asked. Filters apply, and the two come in the order of their times. With an `--until` that has
  passed it ends there.
- `vault exec` without a terminal passes Ctrl-C and SIGTERM on to the command; the second Ctrl-C ends `vault` itself.

Shell completion: `eval "$(_VAULT_COMPLETE=bash_source vault)"` (also `zsh_source`, `fish_source`).
"""


def document() -> str:
    """Return the text of the document."""
    parts = [INTRODUCTION]
    for path, command in commands(vault, "vault"):
        text = command_help(command, path, width=WIDTH)
        parts.append(f"## {path}\n\n```\n{text}\n```\n")
    return "\n".join(parts)


def commands(group: Group, path: str) -> Iterator[tuple[str, Command]]:
    """Yield every command below a group, by path."""
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        child = group.get_command(context, name)
        if isinstance(child, Group):
            yield from commands(child, f"{path} {name}")
        elif isinstance(child, Command):
            yield f"{path} {name}", child


if __name__ == "__main__":
    click.echo(document(), nl=False)
