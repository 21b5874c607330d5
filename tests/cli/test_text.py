"""Templates, tables, times and sizes come out as Docker prints them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.cli import human
from vault.cli.table import align, listing, natural_key
from vault.cli.template import BadTemplate, Row, compile_template
from vault.model.durations import go_duration

ITEM = {
    "ID": "abc",
    "Spec": {"Name": "web", "Labels": {"b": "2", "a": "1<2"}, "Args": ["x", "y"], "Replicas": 3, "Init": True},
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.ID}}", "abc"),
        ("{{ .ID }} {{.Spec.Name}}!", "abc web!"),
        ("{{json .Spec.Labels}}", '{"b":"2","a":"1\\u003c2"}'),
        ("{{json .Spec.Missing}}", "null"),
        ("{{.Spec.Missing}}", "<no value>"),
        ("{{.Spec.Labels}}", "map[a:1<2 b:2]"),
        ("{{.Spec.Args}}", "[x y]"),
        ("{{.Spec.Init}} {{.Spec.Replicas}}", "true 3"),
        ('{{index .Spec.Labels "b"}}', "2"),
        ('{{join .Spec.Args ","}}', "x,y"),
        ("{{upper .ID}}{{len .Spec.Args}}", "ABC2"),
        ("a  {{- .ID -}}  b", "aabcb"),
        ("plain", "plain"),
    ],
)
def test_a_template_is_filled(template: str, text: str) -> None:
    assert compile_template(template)(ITEM) == text


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{range .A}}x{{end}}", "{{range .A}} is not supported"),
        ("{{if .A}}x{{end}}", "{{if .A}} is not supported"),
        ("{{.A | upper}}", "pipelines such as {{.A | upper}} are not supported"),
        ("{{InvalidFunction}}", 'function "InvalidFunction" not defined'),
        ("{{.A", "unclosed action"),
        ("{{}}", "missing value for command"),
        ("{{json}}", "wrong number of args for json: want 1 got 0"),
    ],
)
def test_a_template_we_cannot_follow_is_refused_with_a_sentence(template: str, problem: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        compile_template(template)
    assert str(caught.value).startswith("template parsing error: ")
    assert problem in str(caught.value)


def test_a_row_has_no_other_fields_than_its_own() -> None:
    with pytest.raises(BadTemplate, match="can't evaluate field Nosuch"):
        compile_template("{{.Nosuch}}")(Row(ID="x"))


@given(st.text(alphabet='{}.- "`abjson|', max_size=30))
def test_no_template_breaks_us(template: str) -> None:
    try:
        compile_template(template)(ITEM)
    except BadTemplate as error:
        assert str(error)  # noqa: PT017 - any other exception fails the test


def test_columns_are_as_wide_as_their_widest_cell_and_at_least_ten() -> None:
    assert align(["ID\tNAME\tX", "r6zp4hjdxr8t\tweb\ty"]) == "ID             NAME      X\nr6zp4hjdxr8t   web       y\n"


def test_a_listing_knows_headings_labels_and_backslash_escapes() -> None:
    rows: list[dict[str, Any]] = [{"ID": "1", "Name": "a", "_labels": {"com.x.tier-1": "db"}}]
    headers = {"ID": "ID", "Name": "NAME"}

    def shown(form: str | None, quiet: str | None = None) -> str:
        return listing(rows, headers=headers, columns=("ID", "Name"), form=form, quiet=quiet)

    assert shown(None) == "ID        NAME\n1         a\n"
    assert shown("table {{.Name}}\\t{{.ID}}") == "NAME      ID\na         1\n"
    assert shown('table {{.Name}}\t{{.Label "com.x.tier-1"}}') == "NAME      tier 1\na         db\n"
    assert shown('{{.Label "com.x.tier-1"}}') == "db\n"
    assert shown("json") == '{"ID":"1","Name":"a"}\n'
    assert shown("{{json .}}") == '{"ID":"1","Name":"a"}\n'
    assert shown(None, "ID") == "1\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.9, "Less than a second"),
        (1.5, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (125, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (47 * 3600, "47 hours"),
        (49 * 3600, "2 days"),
        (15 * 86400, "2 weeks"),
        (65 * 86400, "2 months"),
        (3 * 365 * 86400, "3 years"),
        (-5, "Less than a second"),
    ],
)
def test_durations_are_as_rough_as_dockers(seconds: float, text: str) -> None:
    assert human.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "decimal", "binary"),
    [(0, "0B", "0B"), (999, "999B", "999B"), (1_980_000, "1.98MB", "1.888MiB"), (25_276_514_304, "25.3GB", "23.54GiB")],
)
def test_sizes_are_as_dockers(count: int, decimal: str, binary: str) -> None:
    assert (human.size(count, 3), human.binary_size(count)) == (decimal, binary)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (5 * 10**9, "5s"),
        (90 * 10**9, "1m30s"),
        (2160 * 3600 * 10**9, "2160h0m0s"),
        (500 * 10**6, "500ms"),
        (1_500_000, "1.5ms"),
        (10, "10ns"),
        (1_100_000_000, "1.1s"),
    ],
)
def test_go_durations(nanoseconds: int, text: str) -> None:
    assert go_duration(nanoseconds) == text


def test_times_are_read_with_nine_digits_and_printed_as_go_prints_them() -> None:
    assert human.timestamp("2026-11-22T20:18:24.121210638Z") == "2026-11-22 20:18:24.121210638 +0000 utc"
    assert human.timestamp("2026-11-22T20:18:24.1000Z") == "2026-11-22 20:18:24.1 +0000 utc"
    assert human.ago("2026-11-22T20:18:24.5Z", 1795378764.6) == "About a minute ago"
    assert human.seconds_since("garbage", 5.0) == 0.0


def test_ids_are_cut_without_their_algorithm() -> None:
    assert human.short_id("sha256:a698f355e9d85d6dcd148a06") == "a698f355e9d8"
    assert human.ellipsis("sh -c while true; do", 10) == "sh -c whi…"


def test_names_sort_naturally() -> None:
    assert sorted(["web10", "web9", "a", "web"], key=natural_key) == ["a", "web", "web9", "web10"]
