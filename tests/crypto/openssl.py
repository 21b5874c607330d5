"""OpenSSL's program, as the code that checks what `vault.crypto` makes and did not make it."""

import subprocess
from datetime import datetime
from pathlib import Path


def verify(folder: Path, leaf: bytes, *, trusted: bytes, untrusted: bytes = b"", crl: bytes = b"", at: datetime) -> str:
    """Return "OK", or OpenSSL's reason: strict, at a moment, with these roots and intermediates."""
    command = ["openssl", "verify", "-x509_strict", "-attime", str(int(at.timestamp()))]
    for option, name, content in (
        ("-CAfile", "roots.pem", trusted),
        ("-untrusted", "between.pem", untrusted),
        ("-CRLfile", "crl.pem", crl),
    ):
        if content:
            (folder / name).write_bytes(content)
            command += [option, name]
    if crl:
        command.append("-crl_check")
    (folder / "leaf.pem").write_bytes(leaf)
    done = subprocess.run([*command, "leaf.pem"], cwd=folder, capture_output=True, text=True, check=False)
    return "OK" if done.stdout == "leaf.pem: OK\n" else done.stderr


def run(*arguments: str, given: bytes = b"", folder: Path | None = None) -> str:
    """Return what `openssl …` prints."""
    done = subprocess.run(["openssl", *arguments], input=given, cwd=folder, capture_output=True, check=True)
    return done.stdout.decode()
