"""Archives: both kinds are taken in, each digest is checked, and hostile ones are refused in a sentence."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.images.archives import (
    Made,
    digest,
    docker_archive,
    hard_link,
    image,
    member,
    oci_archive,
    symlink,
    tar,
)
from vault.agent.images.archive import load
from vault.agent.images.content import Content
from vault.agent.images.documents import LAYERS_MAX
from vault.agent.images.errors import BadArchive, ImageError, ManifestUnknown
from vault.agent.images.image import Image, read_image
from vault.agent.images.importing import import_image
from vault.agent.images.protocol import Stored

pytestmark = pytest.mark.machine


@pytest.fixture
def content(tmp_path: Path) -> Content:
    made = Content(root=tmp_path / "images")
    made.prepare()
    return made


def take(content: Content, archive: bytes) -> list[Stored]:
    return load(content, io.BufferedReader(io.BytesIO(archive)), lambda status, about: None)  # type: ignore[arg-type]


def shown(content: Content, stored: Stored) -> Image:
    return read_image(content, stored.manifest, frozenset(stored.names), stored.size_bytes)


def files(image: Image) -> set[str]:
    return {str(path.relative_to(layer)) for layer in image.layers for path in layer.rglob("*")}


TWO_LAYERS = (tar(member("a", b"low")), tar(member("b", b"high!")))


@pytest.mark.parametrize("archive", [docker_archive, oci_archive])
@pytest.mark.parametrize("compressed", [False, True])
def test_an_archive_of_either_kind_gives_the_same_image(content: Content, archive: Any, compressed: bool) -> None:
    made = image(*TWO_LAYERS, compressed=compressed)
    (stored,) = take(content, archive(made))
    got = shown(content, stored)
    assert got.id == made.id
    assert got.repo_tags == ("app:1",)
    assert got.config.cmd == ("/hello",)
    assert [(layer / name).read_bytes() for layer, name in zip(got.layers, "ab", strict=True)] == [b"low", b"high!"]
    assert stored.size_bytes == 8
    assert not list(content.incoming.iterdir())


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_archive_is_read_as_it_is(content: Content, compress: Any) -> None:
    assert len(take(content, compress(docker_archive(image())))) == 1


def test_a_layer_compressed_with_zstd_is_read(content: Content) -> None:
    plain = TWO_LAYERS[0]
    packed = subprocess.run(["zstd", "--stdout", "--quiet"], input=plain, stdout=subprocess.PIPE, check=True).stdout
    made = Made(config=image(plain).config, layers=(packed,))
    assert files(shown(content, take(content, oci_archive(made))[0])) == {"a"}


def test_layers_that_older_archives_link_are_found(content: Content) -> None:
    made = image(TWO_LAYERS[0], TWO_LAYERS[0])
    listed = [{"Config": "c.json", "RepoTags": None, "Layers": ["1/layer.tar", "2/layer.tar"]}]
    archive = tar(
        symlink("2/layer.tar", "../1/layer.tar"),
        member("1/layer.tar", made.layers[0]),
        member("c.json", made.config),
        member("manifest.json", json.dumps(listed).encode()),
    )
    assert len(shown(content, take(content, archive)[0]).layers) == 2


def test_several_images_and_an_image_with_several_names_come_in_together(content: Content) -> None:
    one, other = image(TWO_LAYERS[0]), image(TWO_LAYERS[1])
    listed = [
        {"Config": f"{n}.json", "RepoTags": tags, "Layers": [f"{n}.tar"]}
        for n, tags in (("1", ["a:1", "b:2"]), ("2", None))
    ]
    archive = tar(
        member("manifest.json", json.dumps(listed).encode()),
        member("1.json", one.config), member("1.tar", one.layers[0]),
        member("2.json", other.config), member("2.tar", other.layers[0]),
    )  # fmt: skip
    first, second = take(content, archive)
    assert first.names == ["docker.io/library/a:1", "docker.io/library/b:2"]
    assert second.names == []


def test_the_layout_of_several_platforms_gives_the_one_for_this_machine(content: Content) -> None:
    made = image()
    index = {
        "schemaVersion": 2,
        "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": found, "size": 1,
             "platform": {"os": "linux", "architecture": architecture}}
            for found, architecture in ((digest(b"other"), "s390x"), (digest(made.manifest), "amd64"),
                                        (digest(made.manifest), "arm64"))
        ],
    }  # fmt: skip
    inner = json.dumps(index).encode()
    top = {
        "schemaVersion": 2,
        "manifests": [
            {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest(inner), "size": len(inner)}
        ],
    }
    blobs = {digest(inner): inner} | made.blobs

    def archive(top: Any) -> bytes:
        return tar(
            member("index.json", json.dumps(top).encode()),
            *(member(f"blobs/sha256/{key[7:]}", data) for key, data in blobs.items()),
        )

    assert shown(content, take(content, archive(top))[0]).id == made.id
    index["manifests"] = index["manifests"][:1]
    inner = json.dumps(index).encode()
    blobs[digest(inner)] = inner
    top["manifests"][0]["digest"] = digest(inner)  # type: ignore[index]
    with pytest.raises(ManifestUnknown, match="no matching manifest for linux/"):
        take(content, archive(top))


def test_a_layer_that_is_not_what_the_configuration_says_is_refused(content: Content) -> None:
    honest = image(TWO_LAYERS[0])
    forged = Made(config=honest.config, layers=(TWO_LAYERS[1],))
    for archive in (docker_archive(forged), oci_archive(forged)):
        with pytest.raises(BadArchive, match="the image is damaged"):
            take(content, archive)
    assert not list((content.root / "layers").iterdir())


def test_a_blob_is_known_by_its_content_and_not_by_its_name(content: Content) -> None:
    made = image()
    name = f"blobs/sha256/{made.id[7:]}"
    lying = oci_archive(made).replace(made.config, made.config.replace(b"/hello", b"/evil!"))
    assert name.encode() in lying
    with pytest.raises(BadArchive, match="which is missing"):
        take(content, lying)
    assert not content.blob(made.id).exists()


def test_a_document_that_was_altered_on_disk_is_refused(content: Content) -> None:
    made = image()
    (stored,) = take(content, oci_archive(made))
    content.blob(made.id).write_bytes(made.config.replace(b"/hello", b"/evil!"))
    with pytest.raises(BadArchive, match="too large or was altered"):
        shown(content, stored)


def test_blobs_that_are_there_are_not_written_again(content: Content) -> None:
    made = image()
    take(content, oci_archive(made))
    before = content.blob(made.id).stat().st_ino
    take(content, oci_archive(made))
    assert content.blob(made.id).stat().st_ino == before


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (b"", "neither manifest.json nor index.json"),
        (b"no tar at all" * 100, "not a tar archive"),
        (gzip.compress(docker_archive(image()))[:-40], "cut short|ends too early"),
        (tar(member("manifest.json", b"[")), "damaged"),
        (tar(member("manifest.json", b"[" * 100_000)), "damaged"),
        (tar(member("manifest.json", b'[{"Config":"x","Layers":[]}]')), "lacks a file"),
        (tar(symlink("manifest.json", "manifest.json")), "lacks a file"),
        (tar(hard_link("manifest.json", "../../etc/passwd")), "forbidden name"),
        (tar(member("../manifest.json", b"[]")), "forbidden name"),
        (tar(member("index.json", b'{"manifests":[{"digest":"sha256:../../../etc/passwd","size":1}]}')), "damaged"),
        (tar(member("index.json", b'{"manifests":[{"digest":"sha256:' + b"0" * 64 + b'","size":1}]}')), "manifest"),
        (tar(member("manifest.json", b" " * (5 << 20))), "too large"),
        (docker_archive(image(os="windows")), "only linux"),
        (docker_archive(image(rootfs={"diff_ids": []})), "1 layers, but digests for 0"),
        (docker_archive(image(rootfs={"diff_ids": ["sha256:x"]})), "damaged"),
        (docker_archive(image(config={"Env": 5})), "damaged"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(content: Content, archive: bytes, words: str) -> None:
    with pytest.raises(BadArchive, match=words):
        take(content, archive)
    assert not list(content.incoming.iterdir())


def test_more_files_than_archives_have_are_refused(content: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.agent.images.archive._FILES_MAX", 10)
    with pytest.raises(BadArchive, match="more than 10 files"):
        take(content, tar(*(member(str(n)) for n in range(11))))


def test_more_layers_than_one_mount_takes_are_refused(content: Content) -> None:
    made = image(*(tar(member(str(n))) for n in range(LAYERS_MAX + 1)))
    with pytest.raises(BadArchive, match="1 to 127"):
        take(content, docker_archive(made))


def test_a_root_file_system_becomes_an_image_with_the_changes_asked_for(content: Content) -> None:
    rootfs = gzip.compress(tar(member("bin/x", b"1234")))
    reader = io.BufferedReader(io.BytesIO(rootfs))  # type: ignore[arg-type]
    stored = import_image(content, reader, ['CMD ["/bin/x"]', "ENV A=b"], "Imported from -")
    got = shown(content, stored)
    assert got.config.cmd == ("/bin/x",)
    assert "A=b" in got.config.env
    assert files(got) == {"bin", "bin/x"}
    assert got.diff_ids == (digest(gzip.decompress(rootfs)),)
    assert got.created is not None


@pytest.mark.parametrize("data", [b"", b"nonsense" * 100, b"\x1f\x8b" + bytes(50), b"\x28\xb5\x2f\xfdxxxx"])
def test_a_root_file_system_that_is_no_tar_is_refused(content: Content, data: bytes) -> None:
    with pytest.raises(BadArchive):
        import_image(content, io.BufferedReader(io.BytesIO(data)), [], "")  # type: ignore[arg-type]


SEEDS = [docker_archive(image(*TWO_LAYERS, compressed=True)), oci_archive(image())]


@given(
    st.sampled_from(range(len(SEEDS))),
    st.lists(st.tuples(st.integers(min_value=0, max_value=12_000), st.binary(min_size=1, max_size=8)), max_size=3),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_altered_archives_give_the_same_image_or_none(
    content: Content, seed: int, changes: list[tuple[int, bytes]]
) -> None:
    """What changes a configuration changes the id; what changes a layer is refused."""
    data = bytearray(SEEDS[seed])
    for place, new in changes:
        data[place : place + len(new)] = new
    try:
        stored = take(content, bytes(data))
    except ImageError:
        return
    for one in stored:
        got = shown(content, one)
        assert digest(content.blob(got.id).read_bytes()) == got.id
        assert files(got) <= {"a", "b", "hello"}
