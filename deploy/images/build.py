"""Build the images of the tour from Debian packages, without a registry.

`make images` runs this.  Writes archives for `vault image load -i` into `.cache/images`, and does nothing while
they are there and the recipes are unchanged; `--refresh` asks apt for newer packages.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import shutil
import sys
import time
from pathlib import Path

import archive
from debian import AptFailed, Archive
from recipes import HERE, RECIPES, Workshop

CACHE = HERE.parent.parent / ".cache" / "images"


def fingerprint() -> str:
    """Return the SHA-256 of every file that decides what the images hold, besides the packages."""
    digest = hashlib.sha256()
    for path in sorted(HERE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md":
            digest.update(f"{path.relative_to(HERE)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def build(cache: Path) -> None:
    """Make every archive anew; each appears under its name only when it is whole."""
    layers = cache / "layers"
    shutil.rmtree(layers, ignore_errors=True)
    layers.mkdir(parents=True)
    workshop = Workshop(Archive(cache / "packages"), layers)
    for file, recipe in RECIPES.items():
        start_s = time.monotonic()
        image = recipe(workshop)
        scratch = cache / f"{file}.unfinished"
        image_id = archive.write(image, scratch)
        scratch.rename(cache / file)
        took_s = time.monotonic() - start_s
        print(f"images: {image.name} is {image.comment} ({image_id[:12]}, {took_s:.1f} s)", file=sys.stderr)
    shutil.rmtree(layers)


def main() -> int:
    """Build what is missing; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--refresh", action="store_true", help="build again, with the newest packages on offer")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where archives and downloads are kept")
    arguments = parser.parse_args()
    cache: Path = arguments.cache
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # A second build at the same time waits, and then finds all done.
        stamp, wanted = cache / "stamp", fingerprint()
        built = stamp.exists() and stamp.read_text() == wanted and all((cache / file).exists() for file in RECIPES)
        if built and not arguments.refresh:
            return 0
        stamp.unlink(missing_ok=True)
        try:
            build(cache)
        except AptFailed as error:
            print(f"images: {error}", file=sys.stderr)
            return 1
        stamp.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
