"""`vault service update`."""

import os
from typing import Any

import click

from vault.cli.client import Client
from vault.cli.command import argument, command
from vault.cli.commands.service import roll_back, warn
from vault.cli.commands.service_create import auth_headers
from vault.cli.errors import CommandError
from vault.cli.services.changes import changed_networks, changed_spec
from vault.cli.services.editing import edit
from vault.cli.services.options import UPDATE, apply
from vault.cli.services.resolve import find_references, network_id
from vault.cli.shared_options import pass_client
from vault.cli.values.container import with_environment
from vault.cli.values.references import without

_BESIDE_ROLLBACK = ("rollback", "detach", "quiet")


@command("[OPTIONS] SERVICE", name="update", text="Update a service")
@argument("reference")
@apply(UPDATE)
@pass_client
def update(client: Client, /, reference: str, **given: Any) -> None:
    """Change a service and wait until its tasks follow."""
    if given["rollback"] and any(
        value not in (None, (), False) for name, value in given.items() if name not in _BESIDE_ROLLBACK
    ):
        raise CommandError("other flags may not be combined with --rollback")
    if given["rollback"]:
        roll_back(client, reference, detach=given["detach"], quiet=given["quiet"])
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
