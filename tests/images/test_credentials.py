"""For which images the credentials of a service are used, and who one is by them."""

import msgspec
import pytest

from vault.agent.images.credentials import Credentials, credentials_for
from vault.crypto import Plaintext
from vault.model.registries import registry_of
from vault.model.registry_auth import AuthConfig


def for_image(image: str, *, of: str = "reg.example:5000/app", **auth: str) -> tuple[str, bytes] | None:
    """Return user and password for an image of a service."""
    value = Plaintext(msgspec.json.encode(AuthConfig(**auth)))
    found = credentials_for(value, image, of=of)
    return None if found is None else (found.username, found.password.reveal() if found.password else b"")


@pytest.mark.parametrize(
    ("address", "image", "used"),
    [
        ("reg.example:5000", "reg.example:5000/app:1", True),
        ("https://reg.example:5000/v1/", "reg.example:5000/other/app", True),
        ("reg.example:5000", "reg.example/app", False),
        ("reg.example:5000", "evil.example:5000/app", False),
        ("reg.example:5000", "busybox", False),
        ("https://index.docker.io/v1/", "busybox", True),
        ("https://index.docker.io/v1/", "docker.io/library/busybox", True),
        ("https://index.docker.io/v1/", "reg.example:5000/app", False),
        ("", "reg.example:5000/mounted", True),
        ("", "busybox", False),
    ],
)
def test_credentials_go_to_the_registry_that_they_are_for_and_to_no_other(address: str, image: str, used: bool) -> None:
    found = for_image(image, username="u", password="p", serveraddress=address)
    assert found == (("u", b"p") if used else None)


def test_user_and_password_may_come_as_one_text() -> None:
    assert for_image("reg.example:5000/app", auth="dTpwOng=") == ("u", b"p:x")
    assert for_image("reg.example:5000/app", auth="!") == ("", b"")


def test_without_credentials_there_are_none() -> None:
    assert credentials_for(None, "busybox", of="busybox") is None


def test_nothing_of_credentials_is_printed() -> None:
    auth = AuthConfig(username="alice", password="canary", identitytoken="canary", registrytoken="canary")
    found = credentials_for(Plaintext(msgspec.json.encode(auth)), "busybox", of="busybox")
    assert "canary" not in repr(auth) + repr(found)


@pytest.mark.parametrize("part", ["username", "password", "identity_token", "registry_token"])
def test_credentials_differ_where_one_part_does(part: str) -> None:
    def made(text: str) -> Credentials:
        return Credentials(username=text) if part == "username" else Credentials(**{part: Plaintext(text.encode())})

    assert made("a").differs_from(made("b"))
    assert made("a").differs_from(Credentials())
    assert Credentials().differs_from(made("a"))
    assert made("a").differs_from(None)
    assert not made("a").differs_from(made("a"))


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("busybox", "docker.io"),
        ("team/app:1", "docker.io"),
        ("index.docker.io/team/app", "docker.io"),
        ("localhost/app", "localhost"),
        ("[::1]:5000/app@sha256:0", "[::1]:5000"),
        ("Reg/app", "Reg"),
    ],
)
def test_the_registry_of_an_image_is_its_first_part_where_that_is_a_host(image: str, registry: str) -> None:
    assert registry_of(image) == registry
