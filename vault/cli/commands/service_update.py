"""`vault service update`."""

import os
from typing import Any

import click

from vault.cli.client import Client
from vault.cli.command import argument, command
from vault.cli.commands.service import roll_back, warn
from vault.cli.errors import CommandError
from vault.cli.services.changes import changed_networks, changed_spec
from vault.cli.services.editing import edit
from vault.cli.services.options import UPDATE, apply
from vault.cli.services.registry_auth import auth_headers
from vault.cli.services.resolve import find_references, network_id
from vault.cli.shared_options import pass_client
from vault.cli.values.container import with_environment
from vault.cli.values.references import without

_BESIDE = ("detach", "quiet")


@command("[OPTIONS] SERVICE", name="update", text="Update a service")
@argument("reference")
@apply(UPDATE)
@pass_client
def update(client: Client, /, reference: str, **given: Any) -> None:
    """Change a service and wait until its tasks follow."""
    for alone, act in (("rollback", roll_back), ("rebalance", rebalance)):
        if given[alone]:
            others = [name for name in given if name not in (alone, *_BESIDE)]
            if any(given[name] not in (None, (), False) for name in others):
                raise CommandError(f"other flags may not be combined with --{alone}")
            act(client, reference, detach=given["detach"], quiet=given["quiet"])
            return

    def post(found: dict[str, Any]) -> Any:
        spec = _changed(client, found["Spec"], given)
        headers = auth_headers(given["with_registry_auth"], spec["TaskTemplate"]["ContainerSpec"].get("Image", ""))
        return client.post(
            f"/services/{found['ID']}/update",
            spec,
            headers=headers,
            version=found["Version"]["Index"],
            registryAuthFrom=None if headers else "spec",
        )

    edited = edit(client, reference, post)
    warn(edited.answer)
    click.echo(reference)
    if not given["detach"]:
        from vault.cli.services.progress import wait_for

        wait_for(client, reference, before=edited.before, quiet=given["quiet"])


def rebalance(client: Client, reference: str, *, detach: bool, quiet: bool) -> None:
    """Spread a service evenly again, and wait unless told not to.  Docker has nothing like it."""
    from vault.cli.rebalancing import move_lines, node_names

    answer = client.post(f"/vault/v1/services/{reference}/rebalance")
    click.echo(reference)
    if not answer["Moves"]:
        click.echo("no task moves: it is spread as evenly as can be")
        return
    click.echo("\n".join(move_lines(answer, node_names(client))))
    if not detach:
        from vault.cli.services.progress import wait_for

        wait_for(client, reference, quiet=quiet)


def _changed(client: Client, before: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    spec = changed_spec(before, given, environ_add=with_environment(given["env_add"], os.environ))
    container = spec["TaskTemplate"]["ContainerSpec"]
    for kind in ("Secret", "Config"):
        added, removed = given[f"{kind.lower()}_add"], given[f"{kind.lower()}_rm"]
        if added or removed:
            kept = without(kind, container.get(f"{kind}s") or (), removed)
            container[f"{kind}s"] = [*kept, *find_references(client, kind, added)]
    if given["network_add"] or given["network_rm"]:
        task = spec["TaskTemplate"]
        task["Networks"] = changed_networks(
            task.get("Networks") or (),
            given["network_add"],
            given["network_rm"],
            lambda name: network_id(client, name),
        )
    return spec
