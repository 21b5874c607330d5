"""The seccomp profile: which rules hold for which rights, machine and kernel."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vault.agent.executors.oci.process import DEFAULT_CAPABILITIES
from vault.agent.executors.oci.seccomp import FilterNotLoaded, NoSeccompProfile, Profile, convert, kernel_version, load

SOURCE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
    ],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}, "excludes": {}},
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["arm_only"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"names": ["not_on_arm"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["arm64"]}},
        {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.10"}},
        {
            "names": ["personality"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
        },
    ],
}


def names(machine: str = "x86_64", kernel: tuple[int, int] = (6, 1), capabilities: tuple[str, ...] = ()) -> list[str]:
    made = convert(SOURCE, capabilities, machine=machine, kernel=kernel)
    return [f"{rule['names'][0]}:{rule['action'][9:]}" for rule in made["syscalls"]]


def test_rules_hold_for_rights_machine_and_kernel() -> None:
    assert names() == ["read:ALLOW", "bpf:ERRNO", "not_on_arm:ALLOW", "personality:ALLOW"]
    assert "bpf:ALLOW" in names(capabilities=("CAP_SYS_ADMIN",))
    assert "bpf:ERRNO" not in names(capabilities=("CAP_SYS_ADMIN",))
    assert names("aarch64", (6, 10)) == ["read:ALLOW", "bpf:ERRNO", "arm_only:ALLOW", "new:ALLOW", "personality:ALLOW"]


def test_what_is_not_allowed_is_denied_with_the_profiles_error() -> None:
    made = convert(SOURCE, (), machine="x86_64", kernel=(6, 1))
    assert made["defaultAction"] == "SCMP_ACT_ERRNO"
    assert made["defaultErrnoRet"] == 38
    assert made["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert made["syscalls"][1]["errnoRet"] == 1
    assert "args" not in made["syscalls"][0]
    assert made["syscalls"][3]["args"][0]["value"] == 8


@pytest.mark.parametrize(
    ("release", "wanted"),
    [
        ("6.1.0-13-amd64", (6, 1)),
        ("6.18.44-fc", (6, 18)),
        ("5.10+", (5, 10)),
        ("x", (0, 0)),
        ("", (0, 0)),
        ("6", (6, 0)),
    ],
)
def test_kernel_versions_are_read(release: str, wanted: tuple[int, int]) -> None:
    assert kernel_version(release) == wanted


def test_a_missing_or_damaged_profile_is_an_error_and_never_no_profile(tmp_path: Path) -> None:
    with pytest.raises(NoSeccompProfile, match="install golang-github-containers-common"):
        Profile(tmp_path / "missing.json").for_capabilities(())
    (tmp_path / "bad.json").write_text("[1]")
    with pytest.raises(NoSeccompProfile, match=r"bad\.json"):
        load(tmp_path / "bad.json")


@pytest.mark.machine
def test_debians_profile_denies_what_docker_denies() -> None:
    """Checked on the installed file: it must not change under us unseen."""
    made = msgspec.json.decode(Profile().for_capabilities(DEFAULT_CAPABILITIES))
    allowed = {name for rule in made["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert {"read", "execve", "openat", "clone", "chroot", "ptrace"} <= allowed
    for dangerous in ("kexec_load", "bpf", "init_module", "open_by_handle_at", "settimeofday", "reboot", "mount",
                      "unshare", "setns", "keyctl", "add_key", "userfaultfd", "perf_event_open", "clone3"):  # fmt: skip
        assert dangerous not in allowed
    with_rights = msgspec.json.decode(Profile().for_capabilities({"CAP_SYS_ADMIN", "CAP_SYS_BOOT"}))
    more = {name for rule in with_rights["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert {"mount", "unshare", "clone3", "clone", "reboot", "bpf"} <= more
    assert "keyctl" not in more


@pytest.mark.machine
def test_a_call_is_named_by_one_action_only() -> None:
    """libseccomp takes the last rule of a name without arguments, or refuses; neither is wanted."""
    made = msgspec.json.decode(Profile().for_capabilities(DEFAULT_CAPABILITIES))
    plain = [name for rule in made["syscalls"] if not rule.get("args") for name in rule["names"]]
    assert sorted(plain) == sorted(set(plain))


def profile_that_learned(tmp_path: Path, made: bytes = b"filter") -> tuple[Profile, Path]:
    source = tmp_path / "profile.json"
    source.write_bytes(msgspec.json.encode(SOURCE))
    filter_file = tmp_path / "seccomp.bpf"
    filter_file.write_bytes(made)
    profile = Profile(source, reuse=True)
    first = profile.wanted(None, ("CAP_CHOWN",))
    assert not first.digest
    profile.created(first.key, digest="", filter_file=filter_file)
    return profile, filter_file


def test_a_filter_is_compiled_once_for_each_set_of_rights(tmp_path: Path) -> None:
    profile, filter_file = profile_that_learned(tmp_path)
    again = profile.wanted(None, ("CAP_CHOWN",))
    assert again.digest == sha256(b"filter").hexdigest()
    assert again.annotations == {"run.oci.seccomp_bpf_data": "ZmlsdGVy"}
    assert msgspec.json.decode(again.seccomp or b"") == {"defaultAction": "SCMP_ACT_ERRNO"}
    profile.created(again.key, digest=again.digest, filter_file=filter_file)
    other = profile.wanted(None, ("CAP_SYS_ADMIN",))
    assert not other.digest
    assert other.key != again.key


def test_a_runtime_that_ignores_a_filter_is_caught_before_the_start_and_gets_none_again(tmp_path: Path) -> None:
    profile, filter_file = profile_that_learned(tmp_path)
    filter_file.write_bytes(b"another")
    wanted = profile.wanted(None, ("CAP_CHOWN",))
    with pytest.raises(FilterNotLoaded):
        profile.created(wanted.key, digest=wanted.digest, filter_file=filter_file)
    assert not profile.wanted(None, ("CAP_CHOWN",)).digest


def test_no_filter_is_kept_of_a_runtime_that_leaves_none(tmp_path: Path) -> None:
    profile, filter_file = profile_that_learned(tmp_path, made=b"")
    filter_file.unlink()
    wanted = profile.wanted(None, ("CAP_CHOWN",))
    assert not wanted.digest
    profile.created(wanted.key, digest="", filter_file=filter_file)
    assert not profile.wanted(None, ("CAP_CHOWN",)).digest
