"""A skipped test fails the run in CI, and nowhere else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SKIPS = "import pytest\ndef test_passes(): pass\ndef test_skips(): pytest.skip('no reason')\n"
SKIPS_AS_A_WHOLE = "import pytest\npytest.importorskip('no_such_module')\n"
FAILS_AS_FORESEEN = "import pytest\n@pytest.mark.xfail\ndef test_fails(): assert False\n"


@pytest.mark.parametrize(
    ("module", "ci", "code"),
    [
        (SKIPS, "true", 1),
        (SKIPS, "", 0),
        (SKIPS_AS_A_WHOLE, "true", 1),
        (FAILS_AS_FORESEEN, "true", 0),
        ("def test_passes(): pass\n", "true", 0),
    ],
)
def test_a_skipped_test_fails_the_run_where_ci_is_true(tmp_path: Path, module: str, ci: str, code: int) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_module.py").write_text(module)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        env=os.environ | {"CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    assert ("skipped, which fails the run here" in done.stdout) == (code == 1)
