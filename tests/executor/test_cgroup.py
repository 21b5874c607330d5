"""Cgroups of kinds this machine may not have, played by plain directories."""

import os
from pathlib import Path

import pytest

from vault.agent.executors.oci import cgroup
from vault.agent.executors.oci.namespace import Hierarchy, hierarchy_of
from vault.agent.executors.port import Usage
from vault.tmpfs.mount import parse_mountinfo

TASK = "/vault/i/t"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cgroup, "CGROUP_ROOT", tmp_path)
    return tmp_path


def fill(place: Path, **files: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize(
    ("mounts", "wanted"),
    [
        ("/sys/fs/cgroup rw - cgroup2 cgroup2 rw", Hierarchy.V2),
        ("/sys/fs/cgroup rw - tmpfs tmpfs rw\n/sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw", Hierarchy.HYBRID),
        ("/sys/fs/cgroup rw - tmpfs tmpfs rw\n/sys/fs/cgroup/memory rw - cgroup cgroup rw", Hierarchy.V1),
    ],
)
def test_the_kind_of_a_host_is_seen_from_its_mounts(mounts: str, wanted: Hierarchy) -> None:
    text = "\n".join(f"1 1 0:1 / {line}" for line in mounts.splitlines())
    assert hierarchy_of(parse_mountinfo(text)) is wanted


def test_usage_on_v2_leaves_out_what_the_kernel_can_take_back(root: Path) -> None:
    fill(
        root / "vault/i/t",
        cpu__stat="usage_usec 1500\nuser_usec 1000\n",
        memory__current="1000000\n",
        memory__stat="anon 5\ninactive_file 400000\n",
        pids__current="3\n",
    )
    assert cgroup.usage_of(Hierarchy.V2, TASK) == Usage(cpu_ns=1_500_000, memory_bytes=600_000, pids=3)


def test_usage_of_what_is_not_counted_or_damaged_is_zero(root: Path) -> None:
    fill(root / "vault/i/t", memory__current="max\n")
    assert cgroup.usage_of(Hierarchy.V2, TASK) == Usage(cpu_ns=0, memory_bytes=0, pids=0)
    assert cgroup.usage_of(Hierarchy.V1, TASK) == Usage(cpu_ns=0, memory_bytes=0, pids=0)


def test_processes_are_found_in_groups_below_too(root: Path) -> None:
    fill(root / "vault/i/t", cgroup__procs="1\n2\n")
    fill(root / "vault/i/t/sub", cgroup__procs="3\n")
    assert sorted(cgroup.processes_of(Hierarchy.V2, TASK)) == [1, 2, 3]
    assert list(cgroup.processes_of(Hierarchy.V2, "/vault/i/other")) == []


@pytest.mark.parametrize("kind", list(Hierarchy))
def test_a_group_is_removed_with_those_below_it_in_every_hierarchy(root: Path, kind: Hierarchy) -> None:
    places = [root] if kind is Hierarchy.V2 else [root / "memory", root / "cpu"]
    for place in places:
        (place / "vault/i/t/sub/deep").mkdir(parents=True)
        (place / "vault/other").mkdir()
    if kind is not Hierarchy.V2:
        (root / "alias").symlink_to("cpu")
    assert cgroup.remove_cgroup(kind, TASK)
    assert cgroup.remove_cgroup(kind, TASK)
    cgroup.remove_parents(kind, "/vault/i")
    assert [sorted(os.listdir(place / "vault")) for place in places] == [["other"]] * len(places)


def test_a_group_in_which_something_runs_stays_and_is_told(root: Path) -> None:
    fill(root / "vault/i/t", cgroup__procs="1\n")  # A file in it makes rmdir fail, as a process does.
    assert not cgroup.remove_cgroup(Hierarchy.V2, TASK)
    assert (root / "vault/i/t").is_dir()


def test_a_process_is_described_even_when_its_name_is_odd() -> None:
    found = cgroup.describe(os.getpid())
    assert found is not None
    assert (found.pid, found.parent, found.uid) == (os.getpid(), os.getppid(), os.getuid())
    assert found.command == Path("/proc/self/cmdline").read_text().replace("\0", " ").strip()
    assert cgroup.describe(1 << 22) is None
