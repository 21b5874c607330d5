"""Every key of a stack file is in the manual."""

from pathlib import Path

import pytest

from vault.stack import keys
from vault.stack.schema import Keys

MANUAL = (Path(__file__).resolve().parents[2] / "docs" / "stack-files.md").read_text()


@pytest.mark.parametrize(
    "section", ["SERVICE", "DEPLOY", "PLACEMENT", "RESOURCES", "NETWORK", "VOLUME", "SECRET", "CONFIG"]
)
def test_the_manual_says_what_becomes_of_each_key(section: str) -> None:
    known = getattr(keys, section)
    assert isinstance(known, Keys)
    assert [key.name for key in known.keys if f"`{key.name}`" not in MANUAL] == []
