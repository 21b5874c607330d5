"""The files a deploy reads from the machine."""

import io
import os
import pathlib
from types import SimpleNamespace

import pytest

from vault.stack.errors import StackError
from vault.stack.reader import read_file, read_sources


def test_paths_inside_start_at_the_first_files_directory(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yml").write_bytes(b"a")
    (tmp_path / "b.yml").write_bytes(b"b")
    monkeypatch.chdir(tmp_path)
    sources = read_sources(["sub/a.yml", "./b.yml"])
    assert [(source.name, source.text) for source in sources] == [("sub/a.yml", b"a"), ("./b.yml", b"b")]
    assert {source.directory for source in sources} == {str(tmp_path / "sub")}


def test_a_dash_is_standard_input_and_paths_start_where_the_command_runs(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"services: {}")))
    (source,) = read_sources(["-"])
    assert (source.text, source.directory) == (b"services: {}", str(tmp_path))


def test_what_cannot_be_read_is_said_in_dockers_words(tmp_path: pathlib.Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name, error in [
        ("/no/such.yml", "open /no/such.yml: no such file or directory"),
        (str(tmp_path), f"read {tmp_path}: is a directory"),
        (str(tmp_path / "loop"), f"open {tmp_path}/loop: too many levels of symbolic links"),
        ("a\0b", "open a\0b: invalid argument"),
    ]:
        with pytest.raises(StackError) as raised:
            read_file(name)
        assert str(raised.value) == error


def test_bytes_come_as_they_are_and_no_more_than_any_use_allows(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"\0\xff\r\n" * 10)
    assert read_file(str(path)) == b"\0\xff\r\n" * 10
    os.truncate(path, 1 << 30)
    assert len(read_file(str(path))) < 1 << 23


def test_no_file_at_all_is_an_error() -> None:
    with pytest.raises(StackError, match="specify a Compose file"):
        read_sources([])
