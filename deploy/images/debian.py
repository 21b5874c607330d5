"""Debian packages as files: which ones an image needs, and what they hold.

apt answers both, with an empty list of installed packages: it resolves dependencies, checks signatures and
downloads.  Nothing is installed and no maintainer script runs.  Called by `recipes`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Pulled in for their maintainer scripts, which do not run here, or for tools that an image has no use for.
LEFT_OUT = frozenset({"apt", "debconf", "dpkg", "perl-base", "psmisc", "sensible-utils", "ucf"})


class AptFailed(Exception):
    """apt could not resolve or download what an image needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One downloaded package."""

    name: str
    version: str  # As Debian writes it, for example `1:10.11.19-0+deb12u1`.
    file: Path

    @property
    def upstream(self) -> str:
        """The version without epoch and Debian revision, for example `10.11.19`."""
        return self.version.split(":", 1)[-1].rsplit("-", 1)[0]


class Archive:
    """The Debian archives that this machine's apt knows, and a directory of downloads."""

    def __init__(self, downloads: Path) -> None:
        self._downloads = downloads
        self._none = downloads / "none"  # Stays empty.
        for directory in (downloads, self._none):
            (directory / "partial").mkdir(parents=True, exist_ok=True)
        self._refreshed = False

    def versions(self, name: str, *, wanted: int = 1) -> list[str]:
        """Return the versions on offer, oldest first; fetches package lists if apt knows fewer than `wanted`.

        An older list can lack what the archive has offered since.
        """
        found = self._madison(name)
        if len(found) < wanted and not self._refreshed:
            self._refresh()
            found = self._madison(name)
        if not found:
            raise AptFailed(f"apt offers no package {name!r}: check this machine's Debian sources")
        return found

    def closure(self, names: Sequence[str], *, alone: Sequence[str] = ()) -> list[Package]:
        """Download packages and all they depend on, and the packages `alone` without what those depend on.

        names, alone: `name` or `name=version`.  Returns packages sorted by name.
        """
        try:
            return self._closure(names, alone)
        except AptFailed:
            if self._refreshed:
                raise
            self._refresh()  # A list can be older than the archive, whose old files are gone.
            return self._closure(names, alone)

    def _closure(self, names: Sequence[str], alone: Sequence[str]) -> list[Package]:
        files: list[str] = []
        for action, wanted in (("install", names), ("download", alone)):
            if wanted:
                files += _file_names(self._apt(self._none, action, "--yes", "--print-uris", *wanted))
                self._apt(self._downloads, action, "--yes", "--download-only", *wanted)
        packages = [_package(self._downloads / file) for file in files]
        return sorted((p for p in packages if p.name not in LEFT_OUT), key=lambda p: p.name)

    def _apt(self, directory: Path, *arguments: str) -> str:
        """Run apt-get over a directory of downloads; it names only packages that are not yet there."""
        with _empty_state() as options:
            command = ["apt-get", "-qq", f"-oDir::Cache::archives={directory}", *options, *arguments]
            return _run(command, cwd=directory)

    def _madison(self, name: str) -> list[str]:
        lines = _run(["apt-cache", "madison", name], cwd=self._downloads).splitlines()
        found = {line.split("|")[1].strip() for line in lines}
        return sorted(found, key=_OrderedVersion)

    def _refresh(self) -> None:
        print("images: fetching package lists", file=sys.stderr)
        self._refreshed = True
        _run(["apt-get", "-qq", "-oDPkg::Lock::Timeout=300", "update"], cwd=self._downloads)


class _OrderedVersion:
    """A version that sorts as dpkg sorts it."""

    def __init__(self, version: str) -> None:
        self._version = version

    def __lt__(self, other: _OrderedVersion) -> bool:
        command = ["dpkg", "--compare-versions", self._version, "lt", other._version]
        return subprocess.run(command, check=False).returncode == 0


@contextmanager
def _empty_state() -> Iterator[list[str]]:
    """Give options under which apt believes that nothing is installed, but knows this machine's package lists."""
    with tempfile.TemporaryDirectory(prefix="images-apt-") as scratch:
        status = Path(scratch, "status")
        status.touch()
        yield [
            f"-oDir::State::status={status}",
            f"-oDir::State::extended_states={scratch}/extended",
            "-oAPT::Install-Recommends=false",
            "-oAPT::Sandbox::User=root",
            "-oDebug::NoLocking=true",
        ]


def contents(package: Package) -> subprocess.Popen[bytes]:
    """Start a process whose standard output is the package's files as a tar stream."""
    return subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package.file)], stdout=subprocess.PIPE)


def architecture() -> str:
    """Return this machine's architecture; Debian and OCI call the common ones (amd64, arm64) the same."""
    return _run(["dpkg", "--print-architecture"], cwd=Path("/")).strip()


def _file_names(printed: str) -> list[str]:
    """Pick the file names out of `--print-uris`: 'URI' FILE SIZE HASH, one a line."""
    return [line.split()[1] for line in printed.splitlines() if line.startswith("'")]


def _package(file: Path) -> Package:
    fields = _run(["dpkg-deb", "--show", "--showformat=${Package} ${Version}", str(file)], cwd=file.parent)
    name, version = fields.split()
    return Package(name=name, version=version, file=file)


def _run(command: Sequence[str], *, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AptFailed(f"{command[0]} failed: {done.stderr.strip()[-400:]}")
    return done.stdout
