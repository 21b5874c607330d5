"""`depends_on` in both forms becomes a label; what would wait for ever is refused and named."""

import pytest

from tests.stack.builders import service, stack
from vault.model.depends import DEPENDS_LABEL
from vault.stack.convert import convert
from vault.stack.document import Dependency
from vault.stack.errors import StackError
from vault.stack.render import render

OTHERS = """
  db: {image: d, healthcheck: {test: "true"}}
  setup: {image: s, deploy: {mode: replicated-job}}
  plain: {image: p}
"""


def label(keys: str) -> str | None:
    (web,) = [spec for spec in convert(stack(service(keys) + OTHERS), "demo").services if spec.name == "demo_web"]
    return web.labels.get(DEPENDS_LABEL)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", None),
        ("depends_on: []", None),
        ("depends_on: {}", None),
        ("depends_on: [db, plain]", "demo_db=service_started,demo_plain=service_started"),
        (
            "depends_on: {setup: {condition: service_completed_successfully}, db: {condition: service_healthy}}",
            "demo_setup=service_completed_successfully,demo_db=service_healthy",
        ),
        (
            "depends_on: {gone: {condition: service_started, required: false}, db: {condition: service_started}}",
            "demo_db=service_started",
        ),
        ("depends_on: {db: {condition: service_started, restart: false}}", "demo_db=service_started"),
    ],
)
def test_what_a_service_waits_for_is_in_its_label(keys: str, expected: str | None) -> None:
    assert label(keys) == expected


def test_the_later_of_two_files_says_how_to_wait() -> None:
    first = service("depends_on: [db, plain]") + OTHERS
    second = service("depends_on: {db: {condition: service_healthy}}")
    merged = stack(first, second).document.services["web"].depends_on
    assert merged == (Dependency(service="db", condition="service_healthy"), Dependency(service="plain"))


def test_config_prints_the_short_form_where_that_says_all() -> None:
    assert "    depends_on:\n      - db\n" in render(stack(service("depends_on: [db]")).document)
    long = "depends_on: {db: {condition: service_healthy}, a: {condition: service_started, required: false}}"
    printed = render(stack(service(long)).document)
    assert "    depends_on:\n      a:\n        condition: service_started\n        required: false\n" in printed
    assert "      db:\n        condition: service_healthy\n" in printed
    assert set(stack(printed).document.services["web"].depends_on) == set(
        stack(service(long)).document.services["web"].depends_on
    )


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        (
            "depends_on: [nosuch]",
            "service web depends on nosuch, which the stack does not have: add it, or say required: false",
        ),
        (
            "depends_on: {plain: {condition: service_healthy}}",
            "service web depends on plain to be healthy, and plain has no healthcheck: give it one, or if its image "
            "has one, say so by setting its interval: healthcheck: {interval: 30s}",
        ),
        (
            "depends_on: {plain: {condition: service_completed_successfully}}",
            "service web depends on plain to complete, and plain starts again whenever it has: set its deploy.mode to "
            "replicated-job, or its restart_policy.condition to none or on-failure",
        ),
        ("depends_on: [web]", "services depend on each other in a circle: web -> web: take one depends_on out"),
        (
            "depends_on: {db: {condition: service_started, restart: true}}",
            "services.web.depends_on.db.restart: tasks are not started again because a service that they waited for "
            "was: leave it out",
        ),
        ("depends_on: {db: {}}", "services.web.depends_on.db condition is required"),
        ("depends_on: {db: }", "services.web.depends_on.db must be a mapping"),
    ],
)
def test_what_would_wait_for_ever_is_refused(keys: str, error: str) -> None:
    with pytest.raises(StackError) as raised:
        label(keys)
    assert str(raised.value) == error


def services(**waiting: str) -> str:
    """Return a stack file with services, each with what its `depends_on` holds."""
    lines = (f"  {name}: {{image: x, depends_on: {others}}}" for name, others in waiting.items())
    return "\n".join(["services:", *lines, ""])


@pytest.mark.parametrize("check", ["disable: true", "test: [NONE]"])
def test_a_check_that_is_switched_off_makes_nobody_healthy(check: str) -> None:
    text = services(a="{c: {condition: service_healthy}}") + f"  c: {{image: d, healthcheck: {{{check}}}}}"
    with pytest.raises(StackError, match="has no healthcheck"):
        convert(stack(text), "demo")


def test_an_image_that_has_a_check_is_said_to_have_one() -> None:
    text = services(a="{c: {condition: service_healthy}}") + "  c: {image: d, healthcheck: {interval: 30s}}"
    assert convert(stack(text), "demo").services[0].labels[DEPENDS_LABEL] == "demo_c=service_healthy"


def test_a_circle_is_named_from_where_it_closes() -> None:
    with pytest.raises(StackError, match="in a circle: b -> c -> d -> b: take"):
        convert(stack(services(a="[b]", b="[c, d]", c="[d]", d="[b]")), "demo")


def test_a_diamond_is_no_circle_and_a_long_chain_is_walked() -> None:
    diamond = services(a="[b, c]", b="[d]", c="[d]", d="[]")
    assert len(convert(stack(diamond), "demo").services) == 4
    chain = {f"s{number}": f"[s{number + 1}]" for number in range(1500)}
    assert len(convert(stack(services(**chain, s1500="[]")), "demo").services) == 1501
