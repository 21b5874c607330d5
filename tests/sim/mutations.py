"""`python -m tests.sim.mutations`: break each decider on purpose and play histories until the simulator notices.

Works on a scratch copy of the code.  Prints a table of breaks, after how many histories each was noticed, and by what;
returns 1 when one was not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.sim.breaks import Break, listed

ROOT = Path(__file__).parents[2]
MOST_HISTORIES = 400  # For one break.
LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Noticed:
    """After how many histories a break was noticed (None: it was not), and what was violated."""

    histories: int | None
    sentence: str = ""


def notice(scratch: Path, most: int, seed: int = 0) -> Noticed:
    """Play histories of the code in `scratch` until one fails."""
    command = [sys.executable, "-m", "tests.sim", "--seed", str(seed), "--histories", str(most)]
    environment = {**os.environ, "PYTHONPATH": str(scratch)}
    try:
        played = subprocess.run(
            command, cwd=scratch, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return Noticed(None, f"still playing after {LIMIT_S:.0f} s")
    if played.returncode == 0:
        return Noticed(None)
    lines = played.stdout.splitlines()
    for sentence, line in pairwise(lines):
        if line.startswith("seed "):
            return Noticed(int(line.removeprefix("seed ")) - seed + 1, sentence)
    return Noticed(1, (played.stderr.splitlines() or ["no word"])[-1])


@contextmanager
def copied() -> Iterator[Path]:
    """Make a scratch copy of what histories are played with."""
    with TemporaryDirectory(prefix="vault-sim-") as name:
        scratch = Path(name)
        shutil.copytree(ROOT / "vault", scratch / "vault")
        shutil.copytree(ROOT / "tests" / "sim", scratch / "tests" / "sim")
        shutil.copy(ROOT / "tests" / "__init__.py", scratch / "tests")
        yield scratch


@contextmanager
def broken(scratch: Path, edit: Break) -> Iterator[None]:
    """Break a scratch copy for a while.  Raises `DoesNotFit`."""
    path = scratch / "vault" / edit.path
    whole = path.read_text()
    path.write_text(edit.applied(whole))
    try:
        yield
    finally:
        path.write_text(whole)


def main() -> int:
    """Try the breaks that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mutations", description=__doc__)
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="breaks whose name or path has this text; may be repeated"
    )
    parser.add_argument("--histories", type=int, default=MOST_HISTORIES, help="for one break, at most")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    asked = parser.parse_args()
    texts = asked.only or [""]
    chosen = [edit for edit in listed() if any(text in edit.name or text in edit.path for text in texts)]
    line = "| {} | `{}` | {} | {} |" if asked.markdown else "{:<44} {:<30} {:>5}  {}"
    missed = 0
    with copied() as scratch:
        whole = notice(scratch, 5)
        if whole.histories is not None:
            print(f"histories fail though nothing is broken: {whole.sentence}")
            return 1
        for edit in chosen:
            with broken(scratch, edit):
                found = notice(scratch, asked.histories)
            missed += found.histories is None
            after = "never" if found.histories is None else found.histories
            print(line.format(edit.name, edit.path, after, found.sentence[:100]), flush=True)
    print(f"{len(chosen)} breaks, {missed} not noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
