"""Certificates for remote use, made by OpenSSL as an operator would make them."""

import subprocess
from pathlib import Path
from typing import NamedTuple

ADDRESS = "127.17.0.1"


class Files(NamedTuple):
    """A CA, and what it signed for one holder."""

    ca: Path
    certificate: Path
    key: Path

    @property
    def words(self) -> list[str]:
        """The options that name them."""
        return ["--tlscacert", str(self.ca), "--tlscert", str(self.certificate), "--tlskey", str(self.key)]


def authority(folder: Path, name: str) -> Path:
    """Make a CA; return its certificate."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    _run("req", "-x509", *_NEW, "-keyout", key, "-out", certificate, "-days", "2", "-subj", f"/CN={name}")
    return certificate


def signed(folder: Path, ca: Path, name: str, *, alternative: str = f"IP:{ADDRESS}", days: int = 2) -> Files:
    """Make a key, and a certificate for it that `ca` signed."""
    key, request, certificate = (folder / f"{ca.stem}-{name}.{end}" for end in ("key", "csr", "pem"))
    _run(
        "req",
        *_NEW,
        "-keyout",
        key,
        "-out",
        request,
        "-subj",
        f"/CN={name}",
        "-addext",
        f"subjectAltName={alternative}",
    )
    _run(
        *("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca.with_suffix(".key"), "-CAcreateserial"),
        *("-copy_extensions", "copy", "-days", days, "-out", certificate),
    )
    return Files(ca, certificate, key)


_NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _run(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=20)
