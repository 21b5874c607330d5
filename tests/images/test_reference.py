"""Names of images: what they stand for, how they are shown, and what is no name."""

import pytest

from vault.agent.images.errors import BadReference
from vault.agent.images.reference import is_id_prefix, parse

SHA = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "full", "shown"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/library/busybox:x", "docker.io/library/busybox:x", "busybox:x"),
        ("team/app", "docker.io/team/app:latest", "team/app:latest"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/team/app:2", "localhost:5000/team/app:2", "localhost:5000/team/app:2"),
        ("127.0.0.1:1/bb", "127.0.0.1:1/bb:latest", "127.0.0.1:1/bb:latest"),
        ("[::1]:5000/bb:1", "[::1]:5000/bb:1", "[::1]:5000/bb:1"),
        ("Registry/app", "Registry/app:latest", "Registry/app:latest"),
        (f"busybox@{SHA}", f"docker.io/library/busybox@{SHA}", f"busybox@{SHA}"),
        (f"busybox:1@{SHA}", f"docker.io/library/busybox@{SHA}", f"busybox@{SHA}"),
        ("a--b__c.d", "docker.io/library/a--b__c.d:latest", "a--b__c.d:latest"),
    ],
)
def test_a_name_stands_for_one_whole_name_and_is_shown_as_docker_shows_it(text: str, full: str, shown: str) -> None:
    reference = parse(text)
    assert (reference.full, reference.shown) == (full, shown)
    assert parse(reference.full) == parse(reference.shown) == reference


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "a:", "a:b:c", "-a", "a-", "a//b", "/a", "a/", "a b", "a\n", "a:.b", "a:" + "t" * 129, "a@sha256:12",
        "a@md5:" + "0" * 64, "ä", "a/../b", "a...b", "[::1/bb", "x" * 256,
        "a@" + SHA + "@" + SHA, "a\0",
    ],
)  # fmt: skip
def test_what_breaks_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(BadReference):
        parse(text)


def test_capitals_in_a_repository_are_refused_in_dockers_words() -> None:
    with pytest.raises(BadReference, match=r"invalid reference format: repository name \(library/Busy\) must be lower"):
        parse("Busy")


def test_64_hexadecimal_digits_are_an_id_and_no_name() -> None:
    with pytest.raises(BadReference, match="cannot specify 64-byte hexadecimal strings"):
        parse("ab" * 32)
    assert is_id_prefix("ab" * 32)
    assert is_id_prefix("sha256:ab1")
    assert not is_id_prefix("busybox")
    assert not is_id_prefix("sha256:")
