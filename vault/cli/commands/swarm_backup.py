"""`vault swarm backup` and `restore`: a swarm in one sealed file.

The file appears whole or not at all: it is written beside its place under another name, readable by its owner only.
"""

import base64
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

from vault.cli import human
from vault.cli.client import Client
from vault.cli.command import argument, command, option, switch
from vault.cli.commands.swarm import address_options, say_initialized
from vault.cli.commands.swarm_keys import MAX_KEY_CHARACTERS, read_key
from vault.cli.errors import CommandError
from vault.cli.shared_options import pass_client

PIECE_BYTES = 1 << 16
UNLOCK_PREFIX = "SWMKEY-1-"
PASSPHRASE_FILE = "Read the passphrase from the first line of a file"


@command("[OPTIONS] FILE", name="backup", text="Write a sealed backup of the swarm to a file")
@argument("file")
@switch("-f", "--force", text="Replace FILE if it exists")
@switch("--passphrase", text="Ask for a passphrase, even where the unlock key would seal the backup")
@option("--passphrase-file", text=PASSPHRASE_FILE)
@pass_client
def backup(client: Client, file: str, force: bool, passphrase: bool, passphrase_file: str | None) -> None:
    """Write a backup, sealed under a passphrase or, with autolock on, under the unlock key."""
    target = Path(file)
    _check_target(target, force=force)
    chosen = _chosen_passphrase(client, passphrase_file, ask=passphrase)
    posted = {} if chosen is None else {"Passphrase": base64.b64encode(chosen.encode()).decode()}
    answer = client.stream("POST", "/vault/v1/swarm/backup", {}, [json.dumps(posted).encode()])
    size = _write(target, answer.body, force=force)
    seal = "the unlock key of today" if chosen is None else "the passphrase"
    click.echo(f"Backup written to {file} ({human.size(size)}); {seal} opens it.")


@command("[OPTIONS] FILE", name="restore", text="Make a swarm of a backup, with this node as its manager")
@argument("file")
@address_options
@option("--passphrase-file", text=PASSPHRASE_FILE + "; an unlock key is read from it as well")
@pass_client
def restore(client: Client, /, file: str, passphrase_file: str | None, **given: Any) -> None:
    """Make a swarm of a backup; the key that opens it is read from a file, the terminal or standard input."""
    with _opened(file) as archive:
        key = _first_line(passphrase_file) if passphrase_file else read_key("Enter passphrase or unlock key: ")
        if not key:
            raise CommandError("no passphrase or unlock key was given: nothing can open the backup")
        part = "UnlockKey" if key.startswith(UNLOCK_PREFIX) else "Passphrase"
        opens = json.dumps({part: base64.b64encode(key.encode()).decode()}).encode()
        query = {
            "advertiseAddr": given["advertise_addr"],
            "listenAddr": given["listen_addr"],
            "dataPathAddr": given["data_path_addr"],
        }
        headers = {"X-Vault-Key": base64.urlsafe_b64encode(opens).decode()}
        answer = client.stream("POST", "/vault/v1/swarm/restore", query, _pieces(archive), headers=headers)
        node = json.loads(b"".join(answer.body))
    say_initialized(client, node, f"Swarm restored: current node ({node}) is now a manager.")


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise CommandError(f"open {path}: {(error.strerror or str(error)).lower()}") from None


def _check_target(target: Path, *, force: bool) -> None:
    if target.is_dir():
        raise CommandError(f"{target} is a directory: name a file")
    if target.exists() and not force:
        raise CommandError(f"{target} exists: choose another name, or replace it with --force")
    if not target.parent.is_dir():
        raise CommandError(f"the directory {target.parent} does not exist: make it first")


def _chosen_passphrase(client: Client, file: str | None, *, ask: bool) -> str | None:
    """Return the passphrase; None when the unlock key is to seal the backup."""
    if file:
        chosen = _first_line(file)
        if not chosen:
            raise CommandError(f"{file} holds no passphrase: write it on the first line")
        return chosen
    locked = (client.get("/swarm")["Spec"].get("EncryptionConfig") or {}).get("AutoLockManagers", False)
    if locked and not ask:
        return None
    if not sys.stdin.isatty():
        raise CommandError(
            "autolock is off, so nothing would seal the backup: give a passphrase with --passphrase-file"
        )
    chosen = read_key("Enter passphrase: ")
    if not chosen:
        raise CommandError("the passphrase is empty: nothing was written")
    if read_key("Repeat passphrase: ") != chosen:
        raise CommandError("the passphrases differ: nothing was written")
    return chosen


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline(MAX_KEY_CHARACTERS).rstrip("\r\n")
    except OSError as error:
        raise CommandError(f"open {path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not text in UTF-8") from None


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def _write(target: Path, pieces: Iterable[bytes], *, force: bool) -> int:
    """Write a file, whole or not at all; return its size."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    size = 0
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                for piece in pieces:
                    size += file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            if force:
                part.replace(target)
            else:
                os.link(part, target)  # Unlike a rename, never replaces what appeared meanwhile.
        finally:
            part.unlink(missing_ok=True)
    except FileExistsError:
        raise CommandError(f"{target} exists: choose another name, or replace it with --force") from None
    except OSError as error:
        raise CommandError(f"write {target}: {(error.strerror or str(error)).lower()}") from None
    return size
