"""The systemd unit: systemd accepts it, and it keeps what tasks need to outlive the daemon."""

import subprocess
from configparser import RawConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "vaultd.service"


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    installed = tmp_path / "vaultd.service"
    installed.write_text(UNIT.read_text().replace("/usr/local/bin/vaultd", str(ROOT / ".venv/bin/vaultd")))
    done = subprocess.run(["systemd-analyze", "verify", str(installed)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "vaultd.service" not in done.stderr


def test_ending_the_daemon_ends_no_task_and_hides_no_mount() -> None:
    unit = RawConfigParser(strict=False, comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    assert service["KillMode"] == "process"
    assert service["Delegate"] == "yes"
    assert service["OOMPolicy"] == "continue"
    own_namespace = ("Protect", "Private", "ReadOnly", "ReadWrite", "Inaccessible")
    assert not [key for key in service if key.startswith(own_namespace)]
