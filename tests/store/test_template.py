"""Templates in configs, secrets and specs, as Swarm documents them; errors as Go's text/template words them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from vault.crypto import Plaintext
from vault.model.container import ContainerSpec
from vault.model.service import TaskSpec
from vault.model.task import Task
from vault.store.expand import expanded
from vault.store.template import MAX_BYTES, Context, TemplateFailed, render

TASK = Task(
    id="t1",
    spec=TaskSpec(container_spec=ContainerSpec(env=("MODE=fast", "EMPTY="))),
    service_id="s1",
    service_name="web",
    service_labels={"tier": "front"},
    slot=2,
)
NODE = {"id": "n1", "hostname": "host", "os": "linux", "architecture": "x86_64"}
CONTEXT = Context(
    task=TASK,
    node=NODE,
    secrets={"pw": Plaintext(b"h\x00\xffunter2")},
    configs={"site": Plaintext(b"example")},
    payload=True,
)
PLAIN = Context(task=TASK, node=NODE)


def filled(template: bytes, context: Context = CONTEXT) -> bytes:
    return render(Plaintext(template), context).reveal()


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (b"plain { } text", b"plain { } text"),
        (b'password={{ secret "pw" }};', b"password=h\x00\xffunter2;"),
        (b'{{config "site"}} {{env "MODE"}} {{env "NONE"}}|', b"example fast |"),
        (b"{{.Service.ID}} {{.Service.Name}}.{{.Task.Slot}} on {{.Node.Hostname}}", b"s1 web.2 on host"),
        (b"{{.Node.Platform.Architecture}}/{{.Node.Platform.OS}} {{.Task.Name}}", b"x86_64/linux web.2.t1"),
        (b"{{.Node.ID}} {{.Task.ID}} {{.Node.Platform}}", b"n1 t1 {x86_64 linux}"),
        (b'{{index .Service.Labels "tier"}} {{.Service.Labels.tier}}', b"front front"),
        (b"{{.Service.Labels}}", b"map[tier:front]"),
        (b'{{index .Service.Labels "none"}}|', b"|"),
        (b'{{join "-" .Service.Name (env "MODE")}}', b"web-fast"),
        (b'{{"pw" | secret}} {{.Service.Name | printf "%s-%s" "a"}}', b"h\x00\xffunter2 a-web"),
        (b"a {{- /* a comment */ -}} b", b"ab"),
        (b"a\n{{-\t.Task.Slot\n-}}\nb", b"a2b"),
        (b'{{"}}"}} {{`raw "`}} {{"\\"q\\""}}', b'}} raw " "q"'),
        (b"{{-3}} {{3}} {{true}}", b"-3 3 true"),
        (b"{{$.Task.Slot}} {{(.Service).Name}} {{((.Node.Platform).OS)}}", b"2 web linux"),
        (b'{{if eq .Task.Slot "1"}}first{{else if eq .Task.Slot "2" "3"}}second{{else}}other{{end}}', b"second"),
        (b'{{if eq .Task.Slot "1"}}first{{else if eq .Task.Slot "3"}}third{{else}}other{{end}}!', b"other!"),
        (b'{{if and .Service.Name (ne .Task.Slot "1")}}yes{{end}}{{if or (env "EMPTY") false}}no{{end}}', b"yes"),
        (b"{{with .Service}}{{.Name}} {{$.Task.ID}} {{with .Labels}}{{.tier}}{{end}}{{end}}", b"web t1 front"),
        (b'{{with env "EMPTY"}}{{.}}{{else}}nothing{{end}} {{with env "MODE"}}{{.}}{{end}}', b"nothing fast"),
        (b"{{if true}}a{{if false}}b{{else}}c{{end}}d{{else}}e{{end}}", b"acd"),
        (b'{{len .Service.Name}} {{not ""}}', b"3 true"),
        (b'{{lt 1 2}} {{ge "b" "a"}} {{gt 1 2}} {{le 2 2}}', b"true true false true"),
        (b'{{print 1 2 "a" "b" 3}}|{{println "a" 1}}|', b"1 2ab3|a 1\n|"),
        (b'{{printf "%s=%v %d%% %q" "k" .Task.Slot 7 "a\\"b"}}', b'k=2 7% "a\\"b"'),
        (b"{{or (and 0 .Service.Labels.none) 5}}", b"5"),  # What decides is found first: the rest is not read.
    ],
)
def test_a_template_is_filled_in(template: bytes, text: bytes) -> None:
    assert filled(template) == text


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{.Nope}}", '1:2: executing "expansion" at <.Nope>: can\'t evaluate field Nope in type *template.Context'),
        (
            "a\nb {{.Service.Nope}}",
            '2:12: executing "expansion" at <.Service.Nope>: can\'t evaluate field Nope in type '
            "struct { ID string; Name string; Labels map[string]string }",
        ),
        (
            "{{.Node.Platform.Nope}}",
            '1:7: executing "expansion" at <.Node.Platform.Nope>: can\'t evaluate field Nope in type template.Platform',
        ),
        (
            "{{.Task.Slot.More}}",
            '1:7: executing "expansion" at <.Task.Slot.More>: can\'t evaluate field More in type string',
        ),
        (
            "{{.Service.Labels.nope}}",
            '1:10: executing "expansion" at <.Service.Labels.nope>: map has no entry for key "nope"',
        ),
        ('{{nosuch "x"}}', '1: function "nosuch" not defined'),
        ('\n{{if false}}{{secret "pw"}}{{end}}', '2: function "secret" not defined'),
        ("{{len}}", '1:2: executing "expansion" at <len>: wrong number of args for len: want 1 got 0'),
        (
            "{{len .Service}}",
            '1:2: executing "expansion" at <len .Service>: error calling len: len of type '
            "struct { ID string; Name string; Labels map[string]string }",
        ),
        (
            '{{eq 1 "1"}}',
            '1:2: executing "expansion" at <eq 1 "1">: error calling eq: incompatible types for comparison',
        ),
        ("{{", "1: unclosed action"),
        ('a {{ "b }} c', "1: unclosed action"),
        ("{{}}", "1: missing value for command"),
        ("{{.Task.Slot | }}", "1: missing value for command"),
        ("{{(1}}", "1: unclosed left paren"),
        ("{{1)}}", "1: unexpected right paren"),
        ("{{1 2}}", "1: can't give argument to non-function"),
        ("{{if}}x{{end}}", "1: missing value for command"),
        ("{{if true}}x", "1: unexpected EOF"),
        ("x{{end}}", "1: unexpected {{end}}"),
        ("{{else}}", "1: unexpected {{else}}"),
        ("{{if true}}{{else}}{{else}}{{end}}", "1: unexpected {{else}}"),
        (
            "{{range .Task.Slot}}x{{end}}",
            '1:8: executing "expansion" at <.Task.Slot>: range can\'t iterate over a value of type string',
        ),
        (
            "{{range $i, $n := 3}}x{{end}}",
            '1:18: executing "expansion" at <3>: a range over a number has one variable, not two',
        ),
        ('{{define "x"}}{{end}}', "1: define is not supported: use if, with and range"),
        ("{{$x}}", '1: undefined variable "$x"'),
        ("{{$x = 1}}", '1: undefined variable "$x"'),
        ("{{if true}}{{$x := 1}}{{end}}{{$x}}", '1: undefined variable "$x"'),
        ("{{.x := 1}}", "1: only a variable takes a value"),
        ("{{$x, $y := 1}}", "1: can't give argument to non-function"),
        ("".join(f"{{{{$x{number} := 1}}}}" for number in range(100)), "1: more than 100 variables"),
        ("{{break}}", "1: {{break}} outside {{range}}"),
        ("{{range 1}}{{else}}{{continue}}{{end}}", "1: {{continue}} outside {{range}}"),
        ("{{range 1}}{{break 1}}{{end}}", "1: {{break}} outside {{range}}"),
        ("{{range 1}}x", "1: unexpected EOF"),
        ('{{"\\z"}}', "1: a string has an unknown escape"),
        ("{{" + "(" * 200 + "1" + ")" * 200 + "}}", "1: parentheses are nested too deeply"),
        ("{{if 1}}" * 200, "1: branches are nested too deeply"),
    ],
)
def test_what_cannot_be_filled_in_is_refused_with_its_place_and_reason(template: str, reason: str) -> None:
    with pytest.raises(TemplateFailed) as error:
        filled(template.encode(), PLAIN)
    assert error.value.message == f"template: expansion:{reason}"


@pytest.mark.parametrize(
    "template",
    [b'{{secret "other"}}', b'{{secret "\xff"}}', b"{{secret}}", b'{{(secret "pw"}}', b'{{index (secret "pw") 1}}'],
)
def test_what_a_config_may_not_read_is_refused_and_shows_no_value(template: bytes) -> None:
    with pytest.raises(TemplateFailed) as error:
        filled(template)
    assert "unter2" not in str(error.value)


def test_a_secret_that_a_service_does_not_refer_to_is_named() -> None:
    with pytest.raises(TemplateFailed) as error:
        filled(b'{{secret "other"}}')
    assert error.value.message.endswith('at <secret "other">: error calling secret: secret target other not found')


@pytest.mark.parametrize("template", [b"{{ hunter2 }}", b"{{.hunter2}}", b'{{eq 1 "hunter2"}}', b'{{len 1 "hunter2"}}'])
def test_an_error_in_the_text_of_a_secret_says_only_where_it_is(template: bytes) -> None:
    with pytest.raises(TemplateFailed, match=r"^template: expansion:2:?\d*: an action ") as error:
        render(Plaintext(b"hunter2\n" + template), CONTEXT, guarded=True)
    assert "hunter2" not in error.value.message


LABELLED = Context(task=replace(TASK, service_labels={"b": "2", "a": "1", "c": "3"}), node=NODE)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (b"{{range .Service.Labels}}<{{.}}>{{end}}", b"<1><2><3>"),
        (b"{{range $value := .Service.Labels}}{{$value}}{{end}}", b"123"),
        (b"{{range $key, $value := .Service.Labels}}{{$key}}={{$value}};{{end}}", b"a=1;b=2;c=3;"),
        (b"{{range $i := 3}}{{$i}}{{.}} {{end}}{{range 0}}x{{else}}none{{end}}", b"00 11 22 none"),
        (b"{{range len .Service.Labels}}{{$.Task.Slot}}{{else}}none{{end}}", b"222"),
        (b"{{range 3}}{{range 2}}{{.}}{{end}}|{{end}}", b"01|01|01|"),
        (b"{{range 9}}{{if eq . 1}}{{continue}}{{end}}{{if eq . 3}}{{break}}{{end}}{{.}}{{end}}!", b"02!"),
        (b"{{range 2}}{{range 9}}{{if eq . 1}}{{break}}{{end}}{{.}}{{end}}-{{end}}", b"0-0-"),
        (b"{{$last := 0}}{{range 3}}{{$last = .}}{{$inside := .}}{{end}}{{$last}}", b"2"),
        (b"{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", b"21"),
        (b"{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", b"2"),
        (b"{{$s := .Service}}{{$s.Name}} {{$s.Labels.b}} {{with $x := .Node}}{{$x.ID}}{{.ID}}{{end}}", b"web 2 n1n1"),
        (b"{{if $x := .Task.Slot}}{{$x}}{{else}}{{$x}}none{{end}}", b"2"),
        (b"{{$s := `?`}}{{range $k, $v := .Service.Labels}}{{$s}}{{$k}}={{$v}}{{$s = `&`}}{{end}}", b"?a=1&b=2&c=3"),
        (b"{{$i := 7}}{{range $i = 2}}{{end}}{{$i}}", b"1"),
    ],
)  # fmt: skip
def test_a_range_repeats_its_text_for_each_value_in_the_order_of_the_keys(template: bytes, text: bytes) -> None:
    assert filled(template, LABELLED) == text


@pytest.mark.parametrize(
    "template",
    [
        b"{{range 1000000000}}{{end}}",
        b"{{range 1000}}{{range 1000}}{{end}}{{end}}",
        b'{{range 100000}}{{if eq (config "c") "x"}}{{end}}{{end}}',
        b"{{range 100000}}{{range $.Service.Labels}}{{break}}{{end}}{{end}}",
        b"{{range 999999}}{{continue}}{{end}}",
    ],
)
def test_a_range_that_would_take_long_is_refused_after_a_moment(template: bytes) -> None:
    labels = {str(number): "" for number in range(5_000)}
    context = Context(task=replace(TASK, service_labels=labels), configs={"c": Plaintext(b"x" * 500_000)}, payload=True)
    with pytest.raises(TemplateFailed, match="it would take too long: use fewer or shorter ranges"):
        render(Plaintext(template), context)


def test_the_templates_of_a_spec_share_what_they_may_cost() -> None:
    variables = tuple(f"V{number}={{{{range 2000}}}}{{{{end}}}}" for number in range(3))
    spec = TaskSpec(container_spec=ContainerSpec(env=variables[:2]))
    assert expanded(replace(TASK, spec=spec), NODE).spec.container_spec.env == ("V0=", "V1=")
    spec = TaskSpec(container_spec=ContainerSpec(env=variables))
    with pytest.raises(TemplateFailed, match='expanding env "V2": template: expansion: it would take too long'):
        expanded(replace(TASK, spec=spec), NODE)


def test_a_value_that_is_quoted_again_and_again_has_its_bounds() -> None:
    context = Context(task=TASK, configs={"c": Plaintext(b"x" * 500_000)}, payload=True)
    with pytest.raises(TemplateFailed, match="it would become larger than 8 MiB"):
        render(Plaintext(b'{{config "c"}}' * (MAX_BYTES // 500_000 + 1)), context)


PARTS = st.sampled_from(
    ["{{", "}}", "if ", "else", "end", "with ", ".Task.Slot", ".Service", "$", "(", ")", "|", '"', "`", "eq ", "1", " ",
     "- ", " -", "\n", "true", "range ", "$x", ":=", ",", "break", "continue", "printf", "\\", "/*", "*/", "x",
     ".Service.Labels"]
)  # fmt: skip


@given(st.lists(PARTS, max_size=30).map(lambda parts: "".join(parts).encode()) | st.binary(max_size=60))
def test_any_template_is_filled_in_or_refused(text: bytes) -> None:
    try:
        filled(text)
    except TemplateFailed:
        return
    if b"{{" not in text:
        assert filled(text) == text


@pytest.mark.parametrize(
    "part",
    [
        "{{",
        '{{"',
        "{{(",
        "{{ .A ",
        "{{if 1}}",
        "{{true}}",
        "{{9",
        "{{-",
        "{{/*",
        "{{range 1}}",
        "{{$x := 1}}",
        "{{$x, ",
    ],
    ids=lambda part: part.strip("{"),
)
def test_what_is_long_and_wrong_is_refused_without_looking_at_it_again_and_again(part: str) -> None:
    with pytest.raises(TemplateFailed):
        filled(part.encode() * 50_000)
    with pytest.raises(TemplateFailed):
        filled(b"{{.A" + b" .A" * 50_000 + b"}}")
