"""Variables in stack files."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.stack.errors import NotInterpolated
from vault.stack.interpolate import interpolate, substitute

ENV = {"USER": "bob", "EMPTY": "", "N": "3", "OCTAL": "0440", "YES": "yes", "BAD": "x", "RATIO": "0.5", "_a1": "low"}

# The first column is Docker's own result, recorded with its client 28.2.2, but where a comment says otherwise.
SUBSTITUTIONS = [
    ("plain", "plain"),
    ("$USER", "bob"),
    ("${USER}", "bob"),
    ("a${USER}b", "abobb"),
    ("$_a1", "low"),
    ("$UNSET", ""),
    ("${UNSET}", ""),
    ("${UNSET:-d}", "d"),
    ("${EMPTY:-d}", "d"),
    ("${EMPTY-d}", ""),
    ("${UNSET-d}", "d"),
    ("${USER:-d}e", "bobe"),
    ("${USER:?e}", "bob"),
    ("${EMPTY?e}", ""),
    ("$$", "$"),
    ("$$USER", "$USER"),
    ("$$$USER", "$bob"),
    ("$USER-data", "bob"),
    ("$UNSET-data x", "data x"),
    ("$USER}", "bob}"),
    ("${X:-${Y}}", "${Y}"),
    ("${UNSET:-a\nb}", "a\nb"),
    ("${UNSET:-}", ""),
    ("${USER:?my-message}", "bob"),  # Docker: `message`, for it looks for a `-` anywhere.
]


@pytest.mark.parametrize(("text", "result"), SUBSTITUTIONS)
def test_a_variable_is_replaced(text: str, result: str) -> None:
    assert substitute(text, ENV) == result


@pytest.mark.parametrize("text", ["$", "${", "${A", "${1}", "$1", "${USER:+x}", "a $ b", "${}", "${a.b}", "$-"])
def test_a_dollar_that_starts_no_variable_is_named_with_its_place(text: str) -> None:
    with pytest.raises(NotInterpolated) as raised:
        interpolate({"services": {"a": {"labels": [text]}}}, ENV)
    assert str(raised.value) == (
        f'invalid interpolation format for services.a.labels.[]: "{text}"; you may need to escape any $ with another $'
    )


@pytest.mark.parametrize("text", ["${X?required}", "${X:?required}", "${EMPTY:?required}", "${X?required}$USER"])
def test_a_required_variable_must_be_set(text: str) -> None:
    with pytest.raises(NotInterpolated, match=r"required variable (X|EMPTY) is missing a value: required"):
        interpolate({"services": {"a": {"environment": [text]}}}, ENV)


def service(**keys: Any) -> dict[str, Any]:
    return {"services": {"a": keys}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (service(deploy={"replicas": "$N"}), service(deploy={"replicas": 3})),
        (service(tty="$YES"), service(tty=True)),
        (service(ports=[{"target": "${N}000"}]), service(ports=[{"target": 3000}])),
        (service(ports=["$N:$N"]), service(ports=["3:3"])),
        (service(ulimits={"nofile": "$N"}), service(ulimits={"nofile": 3})),
        (service(ulimits={"nofile": {"soft": "$N"}}), service(ulimits={"nofile": {"soft": 3}})),
        (service(secrets=[{"mode": "$OCTAL"}]), service(secrets=[{"mode": 0o440}])),
        (service(deploy={"update_config": {"max_failure_ratio": "$RATIO"}}), None),
        (service(environment={"A": "$N"}), service(environment={"A": "3"})),
        (service(tty="true"), service(tty="true")),  # Unchanged, hence not cast.
        ({"networks": {"n": {"external": "$YES"}}}, {"networks": {"n": {"external": True}}}),
        ({"x-any": "$USER"}, {"x-any": "bob"}),
        (service(labels={"$USER": 1}), service(labels={"$USER": 1})),  # Keys are never touched.
    ],
)
def test_a_replaced_value_becomes_what_its_place_wants(before: dict[str, Any], after: dict[str, Any] | None) -> None:
    if after is None:
        after = service(deploy={"update_config": {"max_failure_ratio": 0.5}})
    assert interpolate(before, ENV) == after


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"tty": "$BAD"}, "services.a.tty: failed to cast to expected type: invalid boolean: x"),
        (
            {"deploy": {"replicas": "$BAD"}},
            "services.a.deploy.replicas: failed to cast to expected type: invalid integer: x",
        ),
        ({"deploy": {"replicas": "$EMPTY"}}, "failed to cast to expected type: invalid integer: "),
        ({"deploy": {"update_config": {"max_failure_ratio": "$BAD"}}}, "invalid number: x"),
    ],
)
def test_a_value_that_cannot_become_it_is_named(keys: dict[str, Any], error: str) -> None:
    with pytest.raises(NotInterpolated) as raised:
        interpolate(service(**keys), ENV)
    assert error in str(raised.value)
    assert str(raised.value).startswith("error while interpolating services.a.")


@given(st.text("${}:-?Aa1_ \n", max_size=40), st.dictionaries(st.sampled_from(["A", "a", "_"]), st.text(max_size=5)))
def test_any_text_is_replaced_or_refused(text: str, env: dict[str, str]) -> None:
    with contextlib.suppress(NotInterpolated):
        substitute(text, env)


@given(st.text(max_size=40))
def test_a_text_whose_dollars_are_doubled_comes_back_as_it_was(text: str) -> None:
    assert substitute(text.replace("$", "$$"), ENV) == text
