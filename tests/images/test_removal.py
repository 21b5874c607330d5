"""What `image rm` takes away, and when it refuses."""

from pathlib import Path

import pytest

from tests.images.archives import digest
from vault.agent.images.documents import Descriptor
from vault.agent.images.image import Image, ImageConfig
from vault.agent.images.removal import plan_removal
from vault.model.errors import Conflict

ID = "sha256:" + "ab" * 32
SHA = "sha256:" + "cd" * 32
HUB = "docker.io/library/"
USED = {ID: "4ba00cff43c1ffff"}


def named(*names: str) -> Image:
    return Image(
        id=ID, manifest=Descriptor(digest=digest(b""), size=0), names=frozenset(names), size_bytes=0, created=None,
        architecture="amd64", os="linux", variant="", author="", comment="", diff_ids=(), config=ImageConfig(),
        layers=(Path("/x"),),
    )  # fmt: skip


def test_the_last_name_takes_the_image_with_it() -> None:
    removed = plan_removal(named(HUB + "a:1"), "a:1", used={}, force=False)
    assert (removed.untagged, removed.deleted) == (("a:1",), ID)


def test_another_name_keeps_the_image() -> None:
    removed = plan_removal(named(HUB + "a:1", HUB + "b:1"), "a:1", used=USED, force=False)
    assert (removed.untagged, removed.deleted) == (("a:1",), "")


def test_a_digest_goes_with_the_last_tag_of_its_repository() -> None:
    removed = plan_removal(named(HUB + "a:1", HUB + f"a@{SHA}"), "a:1", used={}, force=False)
    assert (removed.untagged, removed.deleted) == (("a:1", f"a@{SHA}"), ID)
    removed = plan_removal(named(HUB + "a:1", HUB + "a:2", HUB + f"a@{SHA}"), "a:1", used={}, force=False)
    assert (removed.untagged, removed.deleted) == (("a:1",), "")


def test_an_image_in_use_keeps_its_last_name_unless_forced_and_stays_in_any_case() -> None:
    with pytest.raises(Conflict) as refused:
        plan_removal(named(HUB + "a:1"), "a:1", used=USED, force=False)
    assert str(refused.value) == (
        'conflict: unable to remove repository reference "a:1" (must force) - '
        "container 4ba00cff43c1 is using its referenced image abababababab"
    )
    removed = plan_removal(named(HUB + "a:1"), "a:1", used=USED, force=True)
    assert (removed.untagged, removed.deleted) == (("a:1",), "")


def test_by_id_an_image_in_use_is_never_removed() -> None:
    for force in (False, True):
        with pytest.raises(Conflict, match=r"unable to delete abababababab \(cannot be forced\)"):
            plan_removal(named(HUB + "a:1"), "abab", used=USED, force=force)


def test_by_id_an_image_of_several_repositories_must_be_forced() -> None:
    image = named(HUB + "a:1", HUB + "b:1")
    with pytest.raises(Conflict, match=r"\(must be forced\) - image is referenced in multiple repositories"):
        plan_removal(image, ID, used={}, force=False)
    removed = plan_removal(image, ID, used={}, force=True)
    assert (removed.untagged, removed.deleted) == (("a:1", "b:1"), ID)
