"""Programs of the system that a lab uses, run to their end.  Not pure; blocking."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vault.lab.errors import ProgramFailed

_LIMIT_S: Final = 30.0
_PACKAGES: Final = {
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "setsid": "util-linux",
    "mount": "mount",
    "losetup": "mount",
    "mkfs.ext4": "e2fsprogs",
}


def run(program: str, *arguments: str | Path, script: str = "", inside: Path | None = None) -> str:
    """Run a program with a script as its input; return what it printed.

    inside: file of the network namespace to run it in.  Raises `ProgramFailed` with the first line of its complaint.
    """
    entered = ["nsenter", f"--net={inside}", "--"] if inside else []
    try:
        done = subprocess.run(
            [*entered, program, *arguments], input=script, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except FileNotFoundError as error:
        missing = str(error.filename)
        raise ProgramFailed(missing, f"not installed: install the package {_PACKAGES.get(missing, missing)}") from None
    except subprocess.TimeoutExpired:
        raise ProgramFailed(program, f"no answer within {_LIMIT_S:.0f} s: look at the kernel's log") from None
    if done.returncode != 0:
        raise ProgramFailed(program, _reason(program, done.stderr, done.returncode))
    return done.stdout


def _reason(program: str, said: str, code: int) -> str:
    if code == 127 or "failed to execute" in said:  # nsenter's words for a program that is not there.
        return f"not installed: install the package {_PACKAGES.get(program, program)}"
    lines: Sequence[str] = said.strip().splitlines()
    return lines[0] if lines else f"exit code {code}"
