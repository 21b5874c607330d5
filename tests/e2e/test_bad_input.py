"""Wrong things typed: each answer is one sentence, Docker's where it has one, and nothing half-done is left."""

from pathlib import Path

import pytest

from tests.e2e.node import Node

pytestmark = pytest.mark.machine

BAD_NAME = (
    "rpc error: code = InvalidArgument desc = invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, "
    "and the start and end character must be [a-zA-Z0-9]"
)
TOO_LARGE = "rpc error: code = InvalidArgument desc = secret data must be larger than 0 and less than 512000 bytes"


@pytest.mark.parametrize(
    "name", ["a b", "../etc", "a/b", "-a", "a.", "_a", "a" * 65, "naïve", "а", "a\nb", "%2e%2e", "."]
)
def test_a_secret_with_a_bad_name_is_refused(node: Node, name: str) -> None:
    said = node.vault("secret", "create", "--", name, "-", stdin=b"x", code=1)
    assert BAD_NAME in said.err
    assert name not in node.vault("secret", "ls", "--format", "{{.Name}}").out.splitlines()


def test_the_size_of_a_secret_is_bounded_on_both_sides(node: Node) -> None:
    assert "data is empty" in node.vault("secret", "create", "empty", "-", code=1).err
    assert TOO_LARGE in node.vault("secret", "create", "big", "-", stdin=b"x" * 512_000, code=1).err
    node.vault("secret", "create", "largest", "-", stdin=b"x" * 511_999)
    node.vault("secret", "rm", "largest")


def test_a_name_is_taken_whatever_its_case(node: Node) -> None:
    node.vault("secret", "create", "Taken", "-", stdin=b"x")
    said = node.vault("secret", "create", "tAKEN", "-", stdin=b"y", code=1)
    assert "rpc error: code = AlreadyExists desc = secret tAKEN already exists" in said.err
    node.vault("secret", "rm", "Taken")


def test_rm_goes_on_past_what_it_cannot_remove_and_reports_each(node: Node) -> None:
    node.vault("secret", "create", "there", "-", stdin=b"x")
    said = node.vault("secret", "rm", "no1", "there", "no2", code=1)
    assert said.out == "there\n"
    assert "secret no1 not found" in said.err
    assert "secret no2 not found" in said.err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("secret", "inspect", "nosuch"), 1, "nosuch"),
        (("service", "inspect", "nosuch"), 1, "no such service: nosuch"),
        (("service", "ps", "nosuch"), 1, "no such service: nosuch"),
        (("service", "rm", "nosuch"), 1, "service nosuch not found"),
        (("service", "create", "--secret", "source=a,mode=abc", "busybox"), 125, "invalid mode specified"),
        (("service", "create", "--secret", "foo=bar", "busybox"), 125, "invalid field"),
        (("service", "create"), 1, "requires at least 1 argument"),
        (("secret", "create", "x", "/no/such/file"), 1, "no such file or directory"),
        (("secret", "ls", "--filter", "bogus=1"), 1, "bogus"),
        (("secret", "bogus"), 1, "unknown command"),
        (("stack", "ps", "nosuch"), 1, "nothing found in stack: nosuch"),
        (("stack", "deploy", "-c", "/no/such/file.yml", "s"), 1, "no such file or directory"),
        (("network", "rm", "nosuch"), 1, "network nosuch not found"),
        (("image", "rm", "nosuch"), 1, "No such image: nosuch"),
        (("volume", "inspect", "nosuch"), 1, "nosuch"),
        (("exec", "nosuch", "true"), 1, "No such container: nosuch"),
        (("swarm", "init"), 1, "This node is already part of a swarm"),
        (("swarm", "leave"), 1, "Removing the last manager erases all current state of the swarm"),
    ],
)
def test_wrong_commands_get_one_sentence_and_the_right_code(
    node: Node, words: tuple[str, ...], code: int, text: str
) -> None:
    said = node.vault(*words, code=None)
    assert said.code == code, said
    assert text in said.err
    assert "Traceback" not in said.out + said.err


def test_a_secret_in_use_cannot_be_removed(node: Node) -> None:
    node.vault("secret", "create", "used", "-", stdin=b"x")
    node.vault(
        "service", "create", "--detach", "-q", "--name", "user", "--replicas", "0", "--secret", "used", "busybox"
    )
    said = node.vault("secret", "rm", "used", code=1)
    assert "rpc error: code = InvalidArgument desc = secret 'used' is in use by the following service: user" in said.err
    node.vault("service", "rm", "user")
    node.vault("secret", "rm", "used")


def test_two_secrets_cannot_have_one_target(node: Node) -> None:
    for name in ("one", "two"):
        node.vault("secret", "create", name, "-", stdin=b"x")
    said = node.vault(
        "service", "create", "--secret", "source=one,target=t", "--secret", "source=two,target=t", "busybox", code=1
    )
    assert "duplicate secret target for two not allowed" in said.err
    node.vault("secret", "rm", "one", "two")


def test_an_unknown_image_is_told_on_the_task(node: Node) -> None:
    node.vault("service", "create", "--detach", "-q", "--name", "noimg", "127.0.0.1:1/nosuch:1")
    node.until(
        lambda: (
            "127.0.0.1:1/nosuch:1" in node.vault("service", "ps", "--no-trunc", "--format", "{{.Error}}", "noimg").out
        ),
        "the reason is on the task",
    )
    node.vault("service", "rm", "noimg")


STACKS = {
    "services: {a: {image: x": "yaml:",
    "services: {a: {image: busybox, secrets: [e]}}\nsecrets: {e: {external: true}}": "secret not found: e",
    "services: {a: {image: busybox, secrets: [e]}}\nsecrets: {e: {file: ./nosuch}}": "no such file or directory",
    "services: {a: {image: '${NOPE?need it}'}}": "required variable NOPE is missing a value: need it",
    "services: {a: {image: busybox, image: y}}": "already",
    "services: {a: {image: busybox, healthcheck: {test: [curl]}}}": "begins with NONE, CMD or CMD-SHELL",
    "services: {a: {image: busybox, depends_on: [b]}}": "service a depends on b, which the stack does not have",
}


@pytest.mark.parametrize(("text", "expected"), STACKS.items())
def test_a_bad_stack_file_fails_before_anything_is_created(
    node: Node, tmp_path: Path, text: str, expected: str
) -> None:
    (tmp_path / "s.yml").write_text(text)
    said = node.vault("stack", "deploy", "-c", "s.yml", "bad", code=1, cwd=tmp_path)
    assert expected in said.err
    assert "Traceback" not in said.err
    assert (
        "bad_" not in node.vault("network", "ls").out + node.vault("secret", "ls").out + node.vault("service", "ls").out
    )


def test_without_a_daemon_the_command_says_what_to_do(node: Node) -> None:
    said = node.vault("-H", "unix:///no/such.sock", "secret", "ls", code=1)
    assert "Is vaultd running?" in said.err
