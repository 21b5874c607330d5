"""Building images: packages become layers without being installed, and the same packages give the same image."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from vault.agent.images.store import ImageStore

IMAGES = Path(__file__).parents[2] / "deploy" / "images"


@pytest.fixture(scope="module")
def build() -> Iterator[dict[str, ModuleType]]:
    """The modules of `deploy/images`, which are scripts beside each other and no package."""
    import importlib

    names = ("archive", "debian", "layer", "recipes", "build")
    sys.path.insert(0, str(IMAGES))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(IMAGES))
        for name in names:
            sys.modules.pop(name, None)


def package(directory: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """Make a Debian package."""
    tree = directory / f"{name}-{version.replace(':', '_')}"
    for path, text in ({"DEBIAN/control": control(name, version)} | files).items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            target.symlink_to(text[3:])
        else:
            target.write_text(text)
    command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), f"{tree}.deb"]
    subprocess.run(command, check=True, capture_output=True)
    return Path(f"{tree}.deb")


def control(name: str, version: str) -> str:
    return f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"


def test_files_land_below_usr_and_documentation_stays_out(build: dict[str, ModuleType], tmp_path: Path) -> None:
    file = package(
        tmp_path, "tool", "1:2.3-4",
        {"bin/tool": "x", "lib/x/lib.so": "y", "usr/share/doc/tool/README": "z", "etc/tool.conf": "-> ../bin/tool"},
    )  # fmt: skip
    made = build["debian"].Package(name="tool", version="1:2.3-4", file=file)
    layer = build["layer"].Layer()
    layer.add_packages([made])
    assert made.upstream == "2.3"
    assert {"usr/bin/tool", "usr/lib/x/lib.so", "etc/tool.conf"} <= set(layer.paths())
    assert not {"bin", "lib", "usr/share/doc"} & set(layer.paths())


def test_the_same_files_give_the_same_layer_whenever_they_are_put(build: dict[str, ModuleType], tmp_path: Path) -> None:
    digests = set()
    for number, order in enumerate((("a", "b/c", "d"), ("d", "b/c", "a"))):
        layer = build["layer"].Layer()
        for path in order:
            layer.file(path, path.encode())
        layer.hard_link("e", "a")
        digests.add(layer.write(tmp_path / str(number)))
    assert len(digests) == 1
    with tarfile.open(tmp_path / "0") as tar:
        assert tar.getnames() == ["a", "b", "b/c", "d", "e"]


class FakeArchive:
    """Debian's archive with one package in as many versions as it is given."""

    def __init__(self, directory: Path, package_type: type, versions: Sequence[str]) -> None:
        self._directory = directory
        self._type = package_type
        self._versions = list(versions)

    def versions(self, name: str, *, wanted: int) -> list[str]:
        assert wanted == 2  # Fewer make apt look for newer lists.
        return self._versions

    def closure(self, names: Sequence[str], *, alone: Sequence[str] = ()) -> list[object]:
        made = []
        for wanted in names:
            name, _, version = wanted.partition("=")
            version = version or "1-1"
            accounts = {f"usr/share/base-passwd/{kind}.master": f"root:{kind}\n" for kind in ("passwd", "group")}
            files = accounts if name == "base-passwd" else {f"usr/lib/{name}": version}
            made.append(self._type(name=name, version=version, file=package(self._directory, name, version, files)))
        return made


@pytest.mark.parametrize("versions", [["1:10.1-1", "1:10.2-1"], ["1:10.1-1"]])
def test_two_databases_are_built_even_from_one_version_and_it_is_said(
    build: dict[str, ModuleType], tmp_path: Path, versions: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "layers").mkdir()
    archive = FakeArchive(tmp_path, build["debian"].Package, versions)
    workshop = build["recipes"].Workshop(archive, tmp_path / "layers")
    made = [build["recipes"].mysql_older(workshop), build["recipes"].mysql_newer(workshop)]
    assert [image.name for image in made] == ["mysql:5.7", "mysql:5.7.27"]
    assert [image.comment for image in made] == [f"MariaDB {v} from Debian" for v in (versions[0], versions[-1])]
    assert made[0].layers[0] == made[1].layers[0]
    assert ("Debian offers one MariaDB only (1:10.1-1)" in capsys.readouterr().err) == (len(versions) == 1)
    wrapped = [_holds(image, "usr/bin/mysql") for image in made]
    assert wrapped == [False, len(versions) == 1]


def test_where_one_version_is_all_there_is_the_newer_image_says_which_it_is(
    build: dict[str, ModuleType], tmp_path: Path
) -> None:
    mariadb = tmp_path / "mariadb"
    mariadb.write_text('#!/bin/bash\nprintf "%s|" "$@"\n')
    mariadb.chmod(0o755)
    mysql = tmp_path / "mysql"
    mysql.write_text((IMAGES / "mysql" / "mysql").read_text().replace("IMAGE", "mysql:5.7.27"))
    mysql.chmod(0o755)
    said = [
        subprocess.run(
            [mysql, *words], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True
        ).stdout
        for words in (("--version",), ("-uroot", "-e", "show  databases"))
    ]
    assert said == ["--version|, image mysql:5.7.27\n", "-uroot|-e|show  databases|"]


@pytest.mark.parametrize(
    ("known", "offered", "asked"),
    [([], ["1"], 1), (["1"], ["1"], 1), (["1"], ["2", "1"], 1), (["1", "2"], ["3"], 0)],
    ids=["none", "one and no more", "one and then two", "two"],
)
def test_new_lists_are_fetched_once_where_apt_knows_fewer_versions_than_wanted(
    build: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    known: list[str], offered: list[str], asked: int,
) -> None:  # fmt: skip
    fetched = []

    def run(command: Sequence[str], *, cwd: Path) -> str:
        if command[0] == "apt-get":
            fetched.append(command[-1])
            return ""
        return "".join(f"tool | {version} | somewhere\n" for version in (offered if fetched else known))

    monkeypatch.setattr(build["debian"], "_run", run)
    archive = build["debian"].Archive(tmp_path)
    assert archive.versions("tool", wanted=2) == sorted(offered if asked else known)
    assert archive.versions("tool", wanted=2) == sorted(offered if asked else known)
    assert fetched == ["update"] * asked


def _holds(image: object, path: str) -> bool:
    """Whether a layer of an image has a file."""
    for layer in image.layers:
        with tarfile.open(layer) as tar:
            if path in tar.getnames():
                return True
    return False


@pytest.mark.machine
def test_an_archive_of_ours_is_an_oci_layout_and_what_docker_reads(
    build: dict[str, ModuleType], tmp_path: Path
) -> None:
    (tmp_path / "layers").mkdir()
    layer = build["layer"].Layer()
    layer.file("hello", b"hello\n")
    workshop = build["recipes"].Workshop(None, tmp_path / "layers")
    image = build["archive"].Image(
        name="mine:1", layers=[workshop.finish(layer)], config={"Cmd": ["/hello"]}, created_s=1_700_000_000,
        comment="a test", architecture="amd64", labels={"a": "b"},
    )  # fmt: skip
    image_id = build["archive"].write(image, tmp_path / "mine.tar")
    both = (tmp_path / "mine.tar").read_bytes()
    for left_out in ("index.json", "manifest.json"):
        store = ImageStore(tmp_path / left_out)
        (tmp_path / "one.tar").write_bytes(without(both, left_out))
        assert asyncio.run(store.load(tmp_path / "one.tar")) == ["mine:1"]
        (loaded,) = store.list()
        assert loaded.id == f"sha256:{image_id}"
        assert loaded.config.labels == {"a": "b"}
        assert (loaded.layers[0] / "hello").read_text() == "hello\n"


def without(archive: bytes, name: str) -> bytes:
    """Copy an archive but for one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as source, tarfile.open(fileobj=out, mode="w") as target:
        for info in source:
            if info.name != name:
                target.addfile(info, source.extractfile(info))
    return out.getvalue()
