"""Which of an index's manifests is for this machine.  Pure but for asking what the machine is."""

from __future__ import annotations

import platform
from typing import Final

from vault.agent.images.documents import Descriptor, Index
from vault.agent.images.errors import ManifestUnknown

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """Return what OCI calls this machine: `amd64`, `arm64`, or the kernel's word for others."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def choose(index: Index, *, wanted: str | None = None) -> Descriptor:
    """Return the manifest for Linux on this machine; one that names no platform comes last.

    Raises `ManifestUnknown` with Docker's text when there is none.
    """
    wanted = wanted or architecture()
    for descriptor in index.manifests:
        target = descriptor.platform
        if target is not None and target.os == "linux" and target.architecture == wanted:
            return descriptor
    for descriptor in index.manifests:
        if descriptor.platform is None:
            return descriptor
    raise ManifestUnknown(f"no matching manifest for linux/{wanted} in the manifest list entries")
