"""Options of a task's place on a network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.model.endpoint_options import IFNAME, SYSCTLS, EndpointOptions, device_names, endpoint_options


def test_nothing_said_is_nothing_asked_for() -> None:
    assert endpoint_options({}) == EndpointOptions() == endpoint_options({IFNAME: "", SYSCTLS: ""})


def test_a_name_and_settings_are_read() -> None:
    told = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.ifname.accept_ra=2"
    assert endpoint_options({IFNAME: "db0", SYSCTLS: told}) == EndpointOptions(
        device="db0", settings=(("ipv4/conf/IFNAME/log_martians", "1"), ("ipv6/conf/IFNAME/accept_ra", "2"))
    )


UNNAMED = "invalid interface name '{}': use up to 15 letters, digits, '_', '.' and '-'"
UNSET = (
    "unrecognised network interface sysctl '{}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', "
    "'X' must be 'ipv4', 'ipv6' or 'mpls'"
)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"a": "b"}, f"option a means nothing to a task's place on a network: use {IFNAME} or {SYSCTLS}"),
        *(({IFNAME: name}, UNNAMED.format(name)) for name in ("x" * 16, "a/b", "a b", ".a", "lo", "all", "default")),
        *(
            ({SYSCTLS: setting}, UNSET.format(setting))
            for setting in (
                "net.ipv4.conf.eth0.log_martians=1",
                "net.core.conf.IFNAME.x=1",
                "net.ipv4.conf.IFNAME.log_martians",
                "net.ipv4.ip_forward=1",
                "net/ipv4/conf/IFNAME/../../x=1",
                "kernel.conf.IFNAME.x=1",
            )
        ),
        ({SYSCTLS: "net.ipv4.conf.IFNAME.a=1,"}, UNSET.format("")),
    ],
)
def test_what_no_node_can_do_is_refused_with_what_can_be_done(options: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - its whole text is compared
        endpoint_options(options)
    assert str(raised.value) == told


@given(st.dictionaries(st.sampled_from((IFNAME, SYSCTLS)), st.text()))
def test_whatever_is_accepted_stays_below_the_link_s_own_settings(options: dict[str, str]) -> None:
    try:
        found = endpoint_options(options)
    except ValueError:
        return
    assert "/" not in found.device
    for setting, value in found.settings:
        assert ".." not in setting
        assert setting.count("/") == 3
        assert "\n" not in value


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ([], ["eth0", "eth1", "eth2"]),
        (["", "db"], ["eth0", "db", "eth1"]),
        (["eth1"], ["eth1", "eth0", "eth2"]),
        (["a", "b", "c", "d"], ["a", "b", "c"]),
    ],
)
def test_links_that_are_not_named_have_the_lowest_numbers_that_are_free(asked: list[str], names: list[str]) -> None:
    assert device_names(asked, 3) == names


@given(st.lists(st.sampled_from(("", "eth0", "eth1", "eth5", "x")), max_size=4), st.integers(1, 6))
def test_no_two_links_get_one_name(asked: list[str], count: int) -> None:
    unique = list(dict.fromkeys(name for name in asked if name))
    names = device_names([*unique, ""], count)
    assert len(set(names)) == len(names) == count
