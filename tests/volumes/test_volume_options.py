"""Options of local volumes become mounts."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.agent.volume_options import check_options, device_mount, without_passwords
from vault.model.errors import BadRequest
from vault.tmpfs.mount import MountFlag


def no_names(host: str) -> str:
    raise AssertionError(f"{host} was looked up")


def test_words_become_flags_and_what_is_left_goes_to_the_file_system() -> None:
    wanted = device_mount(
        {"type": "tmpfs", "device": "tmpfs", "o": "size=100m,uid=1000,noexec,nosuid,exec,noatime"}, no_names
    )
    assert (wanted.device, wanted.fstype, wanted.data) == ("tmpfs", "tmpfs", "size=100m,uid=1000")
    assert wanted.flags == MountFlag.NOSUID | MountFlag.NOATIME
    assert not wanted.again


def test_a_bind_with_flags_is_mounted_again_with_them() -> None:
    """The kernel looks at no other flag while it binds."""
    plain = device_mount({"type": "none", "device": "/srv", "o": "bind"}, no_names)
    assert (plain.fstype, plain.flags, plain.again) == ("", MountFlag.BIND, MountFlag(0))
    read_only = device_mount({"type": "none", "device": "/srv", "o": "bind,ro,rshared"}, no_names)
    assert read_only.again == MountFlag.BIND | MountFlag.READ_ONLY | MountFlag.REMOUNT
    assert read_only.propagation == MountFlag.SHARED | MountFlag.RECURSIVE


@pytest.mark.parametrize(
    ("options", "device", "data"),
    [
        (
            {"type": "nfs", "device": ":/exports", "o": "addr=10.0.0.9,nfsvers=4"},
            ":/exports",
            "addr=10.0.0.9,nfsvers=4",
        ),
        ({"type": "nfs", "device": ":/exports", "o": "addr=files,soft"}, ":/exports", "addr=10.0.0.1,soft"),
        ({"type": "nfs", "device": ":/exports", "o": "soft,addr=files"}, ":/exports", "soft,addr=10.0.0.1"),
        ({"type": "cifs", "device": "//files/share", "o": "username=u"}, "//10.0.0.1/share", "username=u"),
        ({"type": "cifs", "device": "//files/a b", "o": ""}, "//10.0.0.1/a b", ""),
        ({"type": "cifs", "device": "//10.1.1.1/share", "o": "addr=files"}, "//10.1.1.1/share", "addr=10.0.0.1"),
        ({"type": "ext4", "device": "/dev/files", "o": "addr=files"}, "/dev/files", "addr=files"),
    ],
)
def test_the_server_of_a_network_file_system_is_given_by_its_address(
    options: dict[str, str], device: str, data: str
) -> None:
    wanted = device_mount(options, {"files": "10.0.0.1"}.__getitem__)
    assert (wanted.device, wanted.data) == (device, data)


def test_a_name_that_nobody_knows_is_the_callers_to_tell() -> None:
    def unknown(host: str) -> str:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(socket.gaierror):
        device_mount({"type": "nfs", "device": ":/x", "o": "addr=nosuch"}, unknown)


def test_passwords_are_not_shown() -> None:
    assert without_passwords("username=u,password=hunter2,ro") == "username=u,password=********,ro"
    assert without_passwords("pass=x,passive") == "pass=********,passive"


@given(st.dictionaries(st.sampled_from(["type", "device", "o", "size", "color"]), st.text(max_size=30)))
def test_options_of_any_text_are_refused_or_become_a_mount(options: dict[str, str]) -> None:
    try:
        check_options("v", options)
    except BadRequest:
        return
    if options:
        wanted = device_mount(options, lambda host: "10.0.0.1")
        assert wanted.device
