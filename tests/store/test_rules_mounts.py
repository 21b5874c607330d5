"""What a service may ask for of mounts and privileges: each refusal with its sentence."""

import base64

import pytest

from vault.model.container import (
    AppArmorOpts,
    BindOptions,
    ImageOptions,
    Mount,
    Privileges,
    SeccompOpts,
    TmpfsOptions,
    VolumeOptions,
)
from vault.model.errors import VaultError
from vault.store.rules_mounts import check_mounts
from vault.store.rules_privileges import check_privileges

BAD = "rpc error: code = InvalidArgument desc = "


def mount(kind: str, source: str = "", **options: object) -> Mount:
    return Mount(type=kind, source=source, target="/x", **options)  # type: ignore[arg-type]


def bind(*, read_only: bool = True, **options: object) -> Mount:
    return mount("bind", "/a", read_only=read_only, bind_options=BindOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "good",
    [
        mount("bind", "/a"),
        mount("", "/a"),  # A bind, as for Docker's managers.
        bind(propagation="rshared", create_mountpoint=True),
        bind(propagation="RShared"),
        bind(read_only_force_recursive=True, propagation="rprivate"),
        bind(read_only_non_recursive=True),
        mount("volume"),
        mount("volume", "v", volume_options=VolumeOptions(subpath="a/b", no_copy=True)),
        mount("volume", "{{.Node.Hostname}}"),
        mount("tmpfs", tmpfs_options=TmpfsOptions(size_bytes=1, mode=0o1777, options=(("exec",),))),
        mount("image", "busybox", image_options=ImageOptions(subpath="etc")),
        mount("volume", "v", consistency="whatever"),  # It changes nothing on Linux.
    ],
)
def test_a_mount_that_a_node_can_make_is_taken(good: Mount) -> None:
    check_mounts([good])


def config(kind: str, why: str) -> str:
    return f'{BAD}invalid mount config for type "{kind}": {why}'


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (mount("floppy", "/a"), 'invalid MountType: "floppy"'),
        (mount("bind", "rel"), BAD + "invalid bind mount source, must be an absolute path: rel"),
        (mount("bind", "/a\0b"), BAD + "invalid bind mount source, must be an absolute path: /a\0b"),
        (mount("volume", "/a"), BAD + "invalid volume mount source, must not be an absolute path: /a"),
        (mount("tmpfs", "a"), BAD + "invalid tmpfs source, source must be empty"),
        (mount("image"), config("image", "field Source must not be empty")),
        (bind(propagation="wild"), 'invalid MountPropagation: "wild"'),
        (
            mount("tmpfs", volume_options=VolumeOptions()),
            config("tmpfs", "field VolumeOptions must not be specified"),
        ),
        (mount("volume", "v", bind_options=BindOptions()), config("volume", "field BindOptions must not be specified")),
        (mount("bind", "/a", tmpfs_options=TmpfsOptions()), config("bind", "field TmpfsOptions must not be specified")),
        (mount("bind", "/a", image_options=ImageOptions()), config("bind", "field ImageOptions must not be specified")),
        (
            mount("volume", volume_options=VolumeOptions(subpath="a")),
            config("volume", "must not set Subpath when using anonymous volumes"),
        ),
        (
            mount("volume", "v", volume_options=VolumeOptions(subpath="../a")),
            config("volume", "subpath must be a relative path within the volume"),
        ),
        (
            mount("image", "i", image_options=ImageOptions(subpath="/a")),
            config("image", "subpath must be a relative path within the volume"),
        ),
        (
            mount("tmpfs", tmpfs_options=TmpfsOptions(size_bytes=-1)),
            config("tmpfs", "invalid size -1: it is a number of bytes, 0 for half of the memory"),
        ),
        (
            mount("tmpfs", tmpfs_options=TmpfsOptions(mode=0o10000)),
            config("tmpfs", "invalid mode 10000: it is permission bits, at most 7777"),
        ),
        (
            mount("tmpfs", tmpfs_options=TmpfsOptions(options=(("uid", "1"),))),
            config("tmpfs", "invalid option: uid"),
        ),
        (
            mount("tmpfs", tmpfs_options=TmpfsOptions(options=((),))),
            config("tmpfs", "invalid option array length"),
        ),
        (
            bind(read_only=False, read_only_force_recursive=True),
            config("bind", "recursive read-only options need a read-only mount: add readonly"),
        ),
        (
            bind(read_only_force_recursive=True, read_only_non_recursive=True),
            config("bind", "ReadOnlyNonRecursive and ReadOnlyForceRecursive contradict each other: leave one out"),
        ),
        (
            bind(read_only_force_recursive=True, propagation="shared"),
            config("bind", "a mount that is read-only throughout needs bind-propagation=rprivate"),
        ),
        (
            bind(read_only_force_recursive=True, non_recursive=True),
            config("bind", "a mount that is not recursive has nothing below it to make read-only: leave one out"),
        ),
    ],
)
def test_a_mount_that_no_node_can_make_is_refused(bad: Mount, text: str) -> None:
    with pytest.raises(VaultError) as refusal:
        check_mounts([bad])
    assert (str(refusal.value), refusal.value.status) == (text, 400)


@pytest.mark.parametrize(
    ("targets", "text"),
    [
        (("rel",), "invalid mount target, must be an absolute path: rel"),
        (("",), "invalid mount target, must be an absolute path: "),
        (("/..",), "invalid mount config for type \"volume\": invalid specification: destination can't be '/'"),
        (("/a", "/a/"), "ContainerSpec: duplicate mount point: /a/"),
    ],
)
def test_a_target_is_a_path_of_its_own(targets: tuple[str, ...], text: str) -> None:
    with pytest.raises(VaultError) as refusal:
        check_mounts([Mount(type="volume", target=target) for target in targets])
    assert str(refusal.value) == BAD + text


def seccomp(mode: str, profile: bytes = b"") -> Privileges:
    return Privileges(seccomp=SeccompOpts(mode=mode, profile=base64.b64encode(profile).decode()))


def test_privileges_that_a_node_can_give_are_taken() -> None:
    for good in (
        None,
        Privileges(no_new_privileges=True),
        seccomp(""),
        seccomp("unconfined"),
        seccomp("custom", b'{"defaultAction":"SCMP_ACT_ALLOW"}'),
        Privileges(apparmor=AppArmorOpts(mode="disabled")),
    ):
        check_privileges(good)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (seccomp("off"), 'invalid seccomp mode "off": use default, unconfined or custom'),
        (seccomp("", b"{}"), 'a seccomp profile needs the mode custom, not "default"'),
        (seccomp("custom"), "the seccomp profile is not base64 of a JSON object"),
        (seccomp("custom", b"[" * 100_000), "the seccomp profile is not base64 of a JSON object"),
        (
            Privileges(seccomp=SeccompOpts(mode="custom", profile="?")),
            "the seccomp profile is not base64 of a JSON object",
        ),
        (
            seccomp("custom", b"[]"),
            "the seccomp profile has no defaultAction",
        ),
        (
            Privileges(seccomp=SeccompOpts(mode="custom", profile="A" * (2 << 20))),
            "the seccomp profile is too long: at most 1048576 bytes of base64",
        ),
        (Privileges(apparmor=AppArmorOpts(mode="off")), 'invalid AppArmor mode "off": use default or disabled'),
    ],
)
def test_privileges_that_mean_nothing_are_refused(bad: Privileges, text: str) -> None:
    with pytest.raises(VaultError) as refusal:
        check_privileges(bad)
    assert str(refusal.value) == BAD + text
