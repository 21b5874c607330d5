"""`vault swarm ca`: show the root CA, or replace it and watch every node get a certificate of the new one."""

import hashlib
import sys
import time
from typing import Any

import click

from vault.cli.client import Client
from vault.cli.command import Kind, command, option, switch
from vault.cli.commands.swarm import EXTERNAL_CA
from vault.cli.errors import CommandError
from vault.cli.screen import Line, Screen
from vault.cli.shared_options import pass_client
from vault.cli.values.kinds import DURATION

POLL_S = 0.2
BAR_WIDTH = 50
MAX_PEM_BYTES = 1 << 20
_ISSUER = ("CertIssuerSubject", "CertIssuerPublicKey")


@command("[OPTIONS]", name="ca", text="Display and rotate the root CA")
@option(
    "--ca-cert",
    kind=Kind("pem-file", str),
    text="Path to the PEM-formatted root CA certificate to use for the new cluster",
)
@option("--ca-key", kind=Kind("pem-file", str), text="Path to the PEM-formatted root CA key to use for the new cluster")
@option(
    "--cert-expiry", kind=DURATION, shown="2160h0m0s", text="Validity period for node certificates (ns|us|ms|s|m|h)"
)
@switch("-d", "--detach", text="Exit immediately instead of waiting for the root rotation to converge")
@option("--external-ca", kind=EXTERNAL_CA, text="Specifications of one or more certificate signing endpoints")
@switch("-q", "--quiet", text="Suppress progress output")
@switch("--rotate", text="Rotate the swarm CA - if no certificate or key are provided, new ones will be generated")
@pass_client
def ca(client: Client, /, **given: Any) -> None:
    """Print the root CA's certificate, after a rotation if one was asked for."""
    found = client.get("/swarm")
    if not given["rotate"]:
        for name in ("ca_cert", "ca_key", "cert_expiry", "external_ca"):
            if given[name] is not None:
                flag = name.replace("_", "-")
                raise CommandError(f"`--{flag}` flag requires the `--rotate` flag to update the CA")
        _print_root(found)
        return
    if given["ca_cert"] and not given["ca_key"]:
        raise CommandError(
            "the --ca-cert flag requires that a --ca-key flag and/or --external-ca flag be provided as well"
        )
    client.post("/swarm/update", rotated(found["Spec"], given), version=found["Version"]["Index"])
    if given["detach"]:
        return
    watch(client, Screen(sys.stdout, quiet=given["quiet"]))
    _print_root(client.get("/swarm"))


def rotated(spec: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a swarm's spec that asks for another root CA: the given one, or one that the managers make."""
    config = dict(spec.get("CAConfig") or {})
    if given["cert_expiry"] is not None:
        config["NodeCertExpiry"] = given["cert_expiry"]
    config["SigningCACert"] = _pem(given["ca_cert"])
    config["SigningCAKey"] = _pem(given["ca_key"])
    if not config["SigningCACert"] and not config["SigningCAKey"]:
        config["ForceRotate"] = config.get("ForceRotate", 0) + 1
    return {**spec, "CAConfig": config}


def watch(client: Client, screen: Screen) -> None:
    """Show how many nodes have certificates of the new root, until all have."""
    try:
        while not drawn(client.get("/swarm"), client.get("/nodes"), screen):
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        screen.say("Operation continuing in background.")
        raise


def drawn(swarm: dict[str, Any], nodes: list[dict[str, Any]], screen: Screen) -> bool:
    """Draw how far a rotation is; return whether it is over."""
    wanted = swarm.get("TLSInfo") or {}
    digest = hashlib.sha256(wanted.get("TrustRoot", "").encode()).hexdigest()
    known = [node["Description"].get("TLSInfo") or {} for node in nodes]
    certificates = sum(all(one.get(part) == wanted.get(part) for part in _ISSUER) for one in known)
    roots = sum(one.get("TrustRoot") == wanted.get("TrustRoot") for one in known)
    ended = certificates == len(nodes) and not swarm.get("RootRotationInProgress")
    screen.draw(Line("desired root digest", f"sha256:{digest}"))
    for key, done in (
        ("  rotated TLS certificates", certificates),
        ("  rotated CA certificates", roots if ended else 0),
    ):
        padding = " " * (len("  rotated TLS certificates") - len(key))
        screen.draw(Line(key, f"{padding}{done}/{len(nodes)} nodes{bar(done, len(nodes))}"))
    return ended and roots == len(nodes)


def bar(done: int, total: int) -> str:
    """Return a bar that shows how much is done; "" off a terminal."""
    if not sys.stdout.isatty():
        return ""
    filled = BAR_WIDTH * done // max(1, total)
    return f" [{'=' * max(0, filled - 1)}{'>' if filled else ''}{' ' * (BAR_WIDTH - filled)}]"


def _pem(path: str | None) -> str:
    if not path:
        return ""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_PEM_BYTES).decode("ascii")
    except OSError as error:
        raise CommandError(f"open {path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not PEM: it must be text that begins with -----BEGIN") from None


def _print_root(swarm: dict[str, Any]) -> None:
    root = (swarm.get("TLSInfo") or {}).get("TrustRoot", "").strip()
    if not root:
        raise CommandError("No CA information available")
    click.echo(root)
