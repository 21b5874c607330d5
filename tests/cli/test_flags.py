"""A command line splits as pflag splits it, with pflag's complaints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.cli.errors import UsageProblem
from vault.cli.flags import Flag, split

KNOWN = [
    Flag("label", "l"),
    Flag("detach", "d", switch=True),
    Flag("interactive", "i", switch=True),
    Flag("tty", "t", switch=True),
    Flag("mode"),
]


def shown(words: list[str], *, interspersed: bool = True) -> tuple[list[str], list[str]]:
    found = split(words, KNOWN, interspersed=interspersed)
    return [f"{flag.name}={value}" for flag, value in found.given], found.arguments


@pytest.mark.parametrize(
    ("words", "given_", "arguments"),
    [
        (["--label", "a=b", "x"], ["label=a=b"], ["x"]),
        (["--label=a=b", "x"], ["label=a=b"], ["x"]),
        (["--label=", "x"], ["label="], ["x"]),
        (["-l", "a", "x"], ["label=a"], ["x"]),
        (["-la", "x"], ["label=a"], ["x"]),
        (["-l=a", "x"], ["label=a"], ["x"]),
        (["-l", "-x"], ["label=-x"], []),
        (["-it", "x", "sh"], ["interactive=true", "tty=true"], ["x", "sh"]),
        (["-itl", "a"], ["interactive=true", "tty=true", "label=a"], []),
        (["-dla"], ["detach=true", "label=a"], []),
        (["--detach=false", "x"], ["detach=false"], ["x"]),
        (["-d=false"], ["detach=false"], []),
        (["--detach", "false"], ["detach=true"], ["false"]),
        (["x", "--mode", "global", "y"], ["mode=global"], ["x", "y"]),
        (["--", "--mode", "-x"], [], ["--mode", "-x"]),
        (["-", "--mode", "m"], ["mode=m"], ["-"]),
        (["", "x"], [], ["", "x"]),
    ],
)
def test_a_line_is_split_into_flags_and_arguments(words: list[str], given_: list[str], arguments: list[str]) -> None:
    assert shown(words) == (given_, arguments)


def test_options_end_at_the_first_argument_where_a_command_follows() -> None:
    assert shown(["-d", "busybox", "sh", "-c", "true", "--mode"], interspersed=False) == (
        ["detach=true"],
        ["busybox", "sh", "-c", "true", "--mode"],
    )


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--bogus"], "unknown flag: --bogus"),
        (["--bogus=1"], "unknown flag: --bogus"),
        (["-z"], "unknown shorthand flag: 'z' in -z"),
        (["-dzq"], "unknown shorthand flag: 'z' in -dzq"),
        (["--label"], "flag needs an argument: --label"),
        (["-l"], "flag needs an argument: 'l' in -l"),
        (["--=x"], "bad flag syntax: --=x"),
        (["---x"], "bad flag syntax: ---x"),
    ],
)
def test_a_wrong_flag_is_named(words: list[str], problem: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        shown(words)
    assert str(caught.value) == problem


@given(st.lists(st.text(alphabet="-=dlitabmodex ", max_size=8), max_size=6))
def test_a_line_means_the_same_when_it_is_written_out(words: list[str]) -> None:
    try:
        found = split(words, KNOWN)
    except UsageProblem:
        return
    written = [*(f"--{flag.name}={value}" for flag, value in found.given), "--", *found.arguments]
    assert split(written, KNOWN) == found
