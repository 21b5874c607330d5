"""`vault image`: import, load, ls, pull, rm; images are this node's."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import click

from vault.cli import human
from vault.cli.client import Client
from vault.cli.command import Group, argument, command, option, switch
from vault.cli.errors import ApiError, CommandError, joined
from vault.cli.screen import Line, Screen
from vault.cli.services.listing import without_digest
from vault.cli.services.registry_auth import registry_auth
from vault.cli.shared_options import asked, list_options, now_s, pass_client, show
from vault.cli.table import natural_key
from vault.cli.values.container import tagged
from vault.cli.values.kinds import LIST
from vault.cli.wire import CHUNK_BYTES

HEADERS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
}
NONE = "<none>"
BAR_CELLS = 50
_HERE = "vault.cli.commands.image:"


@click.group(
    cls=Group,
    lazy={
        "import": (_HERE + "import_", "Import the contents from a tarball to create a filesystem image"),
        "load": (_HERE + "load", "Load an image from a tar archive or STDIN"),
        "ls": (_HERE + "ls", "List images"),
        "pull": (_HERE + "pull", "Download an image from a registry"),
        "rm": (_HERE + "rm", "Remove one or more images"),
    },
    synonyms={"list": "ls", "remove": "rm"},
    help="Manage images",
)
def image() -> None:
    """Images."""


@command("[OPTIONS]", name="load", text="Load an image from a tar archive or STDIN")
@option("-i", "--input", "file", text="Read from tar archive file, instead of STDIN")
@switch("-q", "--quiet", text="Suppress the load output")
@pass_client
def load(client: Client, file: str | None, quiet: bool) -> None:
    """Take in the images of an archive that `docker save` or an OCI tool made."""
    if file is None and sys.stdin.isatty():
        raise CommandError("requested load from stdin, but stdin is empty")
    _send(client, "/images/load", {"quiet": "1" if quiet else None}, file or "-", quiet=quiet)


@command(
    "[OPTIONS] file|- [REPOSITORY[:TAG]]",
    name="import",
    text="Import the contents from a tarball to create a filesystem image",
)
@argument("file")
@argument("reference", required=False)
@option("-c", "--change", kind=LIST, many=True, text="Apply Dockerfile instruction to the created image")
@option("-m", "--message", text="Set commit message for imported image")
@pass_client
def import_(client: Client, file: str, reference: str | None, change: tuple[str, ...], message: str | None) -> None:
    """Make an image of a root file system."""
    if file.startswith(("http://", "https://")):
        raise CommandError("import from a URL is not supported: download it, and import the file")
    query = {"fromSrc": "-", "repo": reference, "message": message, "changes": list(change) or None}
    _send(client, "/images/create", query, file, quiet=False)


def _send(client: Client, path: str, query: Mapping[str, str | list[str] | None], file: str, *, quiet: bool) -> None:
    try:
        stream: BinaryIO = sys.stdin.buffer if file == "-" else open(file, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise CommandError(f"open {file}: {(error.strerror or str(error)).lower()}") from None
    with stream:
        headers = {"Content-Type": "application/x-tar"}
        answer = client.stream("POST", path, query, _pieces(stream), headers=headers)
        show_messages(messages(answer.body), Screen(sys.stdout, quiet=quiet))


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(CHUNK_BYTES * 4):
        yield piece


@command("[OPTIONS] NAME[:TAG|@DIGEST]", name="pull", text="Download an image from a registry")
@argument("reference")
@switch("-q", "--quiet", text="Suppress verbose output")
@pass_client
def pull(client: Client, reference: str, quiet: bool) -> None:
    """Fetch an image and check it against its digest."""
    whole = tagged(reference)
    if whole != reference and not quiet:
        click.echo("Using default tag: latest")
    credentials = registry_auth(whole)
    headers = {"X-Registry-Auth": credentials} if credentials else {}
    answer = client.stream("POST", "/images/create", {"fromImage": whole}, headers=headers)
    show_messages(messages(answer.body), Screen(sys.stdout, quiet=quiet))
    click.echo(canonical(whole))


def canonical(reference: str) -> str:
    """Return a reference with its registry and repository in full.  Pure."""
    first, slash, _ = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return reference
    return f"docker.io/{reference}" if slash else f"docker.io/library/{reference}"


def messages(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the JSON messages of a stream, one a line, that comes in any pieces.  Pure."""
    left = b""
    for piece in pieces:
        *lines, left = (left + piece).split(b"\n")
        yield from (json.loads(line) for line in lines if line.strip())
    if left.strip():
        yield json.loads(left)


def show_messages(found: Iterable[dict[str, Any]], screen: Screen) -> None:
    """Show progress messages.  Raises `CommandError` when one says that it failed."""
    for message in found:
        if message.get("error") or message.get("errorDetail"):
            raise CommandError(message.get("error") or message["errorDetail"].get("message", "failed"))
        if message.get("stream"):
            screen.say(message["stream"].rstrip("\n"))
        elif message.get("id"):
            screen.draw(_message_line(message))
        elif message.get("status"):
            screen.say(message["status"])


def _message_line(message: dict[str, Any]) -> Line:
    detail = message.get("progressDetail") or {}
    current, total = detail.get("current") or 0, detail.get("total") or 0
    status = message.get("status", "")
    if not current and not total:
        return Line(message["id"], status)
    if total <= 0:
        return Line(message["id"], f"{status} [] {human.size(current)}", bar=True)
    cells = min(current, total) * BAR_CELLS // total
    bar = f"[{'=' * cells}>{' ' * (BAR_CELLS - cells)}]"
    return Line(message["id"], f"{status} {bar}  {human.size(current)}/{human.size(total)}", bar=True)


@command("[OPTIONS] [REPOSITORY[:TAG]]", name="ls", text="List images", aliases=("vault image ls", "vault image list"))
@argument("reference", required=False)
@switch("-a", "--all", "everything", text="Show all images (default hides intermediate images)")
@switch("--digests", text="Show digests")
@list_options
@switch("--no-trunc", text="Don't truncate output")
@pass_client
def ls(
    client: Client,
    /,
    reference: str | None,
    everything: bool,
    digests: bool,
    wanted: tuple[tuple[str, str], ...],
    form: str | None,
    quiet: bool,
    no_trunc: bool,
) -> None:
    """List images by name."""
    conditions = [*wanted, *([("reference", reference)] if reference else [])]
    found = client.get("/images/json", all="1" if everything else None, filters=asked(conditions))
    rows = [row for item in found for row in image_rows(item, now_s(), trunc=not no_trunc)]
    rows.sort(key=lambda row: (natural_key(row["Repository"]), natural_key(row["Tag"])))
    columns = ["Repository", "Tag", *(["Digest"] if digests else []), "ID", "CreatedSince", "Size"]
    if quiet:
        rows = list({row["ID"]: row for row in rows}.values())
    show(rows, headers=HEADERS, columns=columns, form=form, quiet=quiet)


def image_rows(item: Mapping[str, Any], now: float, *, trunc: bool) -> list[dict[str, Any]]:
    """Return a row for each name of an image; one without names has one row.  Pure."""
    names = [without_digest(name) for name in item.get("RepoTags") or () if name != f"{NONE}:{NONE}"]
    digests = dict(name.partition("@")[::2] for name in item.get("RepoDigests") or () if "@" in name)
    base = {
        "ID": human.short_id(item["Id"]) if trunc else item["Id"],
        "CreatedSince": human.duration(now - item["Created"]) + " ago",
        "CreatedAt": human.unix_time(item["Created"]),
        "Size": human.size(item["Size"], 3),
        "_labels": item.get("Labels"),
    }
    split = [(name.rpartition(":")[0], name.rpartition(":")[2]) for name in names] or [(NONE, NONE)]
    return [{**base, "Repository": name, "Tag": tag, "Digest": digests.get(name, NONE)} for name, tag in split]


@command(
    "[OPTIONS] IMAGE [IMAGE...]",
    name="rm",
    text="Remove one or more images",
    aliases=("vault image rm", "vault image remove"),
)
@argument("references", many=True)
@switch("-f", "--force", text="Force removal of the image")
@pass_client
def rm(client: Client, references: tuple[str, ...], force: bool) -> None:
    """Remove names of images, and images that have none left."""
    errors: list[CommandError] = []
    for reference in references:
        try:
            removed = client.request("DELETE", f"/images/{reference}", {"force": "1" if force else None})
        except ApiError as error:
            errors.append(error)
            continue
        for part in removed or ():
            for word in ("Untagged", "Deleted"):
                if part.get(word):
                    click.echo(f"{word}: {part[word]}")
    joined(errors)
