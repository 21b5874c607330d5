"""Templates in configs, as Swarm documents them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.agent.template import Context, TemplateFailed, render
from vault.crypto import Plaintext
from vault.model.container import ContainerSpec
from vault.model.service import TaskSpec
from vault.model.task import Task

CONTEXT = Context(
    task=Task(
        id="t1",
        spec=TaskSpec(container_spec=ContainerSpec(env=("MODE=fast", "EMPTY="))),
        service_id="s1",
        service_name="web",
        service_labels={"tier": "front"},
        slot=2,
    ),
    node={"id": "n1", "hostname": "host", "os": "linux", "architecture": "x86_64"},
    secrets={"pw": Plaintext(b"h\x00\xffunter2")},
    configs={"site": Plaintext(b"example")},
)


def filled(template: bytes) -> bytes:
    return render(Plaintext(template), CONTEXT).reveal()


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (b"plain { } text", b"plain { } text"),
        (b'password={{ secret "pw" }};', b"password=h\x00\xffunter2;"),
        (b'{{config "site"}} {{env "MODE"}} {{env "NONE"}}|', b"example fast |"),
        (b"{{.Service.Name}}.{{.Task.Slot}} on {{.Node.Hostname}}", b"web.2 on host"),
        (b"{{.Node.Platform.Architecture}}/{{.Node.Platform.OS}} {{.Task.Name}}", b"x86_64/linux web.2.t1"),
        (b'{{index .Service.Labels "tier"}} {{.Service.Labels.tier}}', b"front front"),
        (b'{{join "-" .Service.Name (env "MODE")}}', b"web-fast"),
        (b'{{"pw" | secret}}', b"h\x00\xffunter2"),
        (b"a {{- /* a comment */ -}} b", b"ab"),
        (b'{{"}}"}} {{`raw "`}} {{"\\"q\\""}}', b'}} raw " "q"'),
    ],
)
def test_a_template_is_filled_in(template: bytes, text: bytes) -> None:
    assert filled(template) == text


@pytest.mark.parametrize(
    "template",
    [
        b'{{secret "other"}}', b"{{.Nope}}", b'{{nosuch "x"}}', b"{{if .Service.Name}}x{{end}}", b"{{",
        b'{{secret "\xff"}}', b"{{}}", b"{{secret}}",
        b"{{.Service.Labels.nope}}", b'{{(secret "pw"}}', b"{{1 2}}",
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_and_shows_no_value(template: bytes) -> None:
    with pytest.raises(TemplateFailed) as error:
        filled(template)
    assert "hunter" not in str(error.value).replace("h\x00\xff", "h")


@given(st.binary(max_size=60))
def test_any_template_is_filled_in_or_refused(text: bytes) -> None:
    for template in (text, b"{{" + text + b"}}"):
        try:
            filled(template)
        except TemplateFailed:
            continue
