"""What a container gets mounted, limited and configured, decided without touching the machine."""

from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.executor.conftest import FakeConfig, config, secret
from vault.agent.executors.oci.bundle import Facts, labels_of, runtime_config, working_dir_of
from vault.agent.executors.oci.etc import hosts_text, resolv_text
from vault.agent.executors.oci.guards import Guarded, Guards, guarded
from vault.agent.executors.oci.limits import HostLimits, resources_of, rlimits_of
from vault.agent.executors.oci.memory import plan_memory
from vault.agent.executors.oci.mounts import (
    BindMount,
    ImageMount,
    TmpfsMount,
    VolumeMount,
    bind_entry,
    plan_mounts,
    tmpfs_entry,
)
from vault.agent.executors.oci.paths import Roots
from vault.agent.executors.oci.process import Identity
from vault.agent.executors.oci.seccomp import Confinement
from vault.agent.executors.port import HOST_NETWORK, LOOPBACK_ONLY, HostEntry, NetworkView, TaskRejected
from vault.crypto.plaintext import Plaintext
from vault.model.container import (
    AppArmorOpts,
    BindOptions,
    ContainerSpec,
    DNSConfig,
    ImageOptions,
    Mount,
    Privileges,
    SELinuxContext,
    TmpfsOptions,
    Ulimit,
    VolumeOptions,
)
from vault.model.ids import ConfigID, SecretID, TaskID
from vault.model.service import Limit, Reservation, Resources, TaskSpec
from vault.model.task import Task

AT = Path("/run/vault/tasks/x/secrets")
HOST = HostLimits(hard={"core": -1, "nofile": 20000, "nproc": 500, "memlock": 65536}, may_raise=False)


def plan(spec: ContainerSpec, **values: bytes) -> Any:
    plain = {key: Plaintext(value) for key, value in values.items()}
    return plan_memory(
        spec,
        secrets={SecretID(key): value for key, value in plain.items()},
        configs={ConfigID(key): value for key, value in plain.items()},
        at=AT,
    )


def where(planned: Any) -> dict[str, str]:
    return {mount["destination"]: str(Path(mount["source"]).relative_to(AT)) for mount in planned.mounts}


def test_secrets_share_one_mount_and_absolute_ones_and_configs_have_their_own() -> None:
    spec = ContainerSpec(
        secrets=(secret("a", "one"), secret("b", "deep/two"), secret("a", "/etc/ssl/key")),
        configs=(config("c", "app.ini"), config("c", "/run/secrets/public")),
    )
    planned = plan(spec, a=b"1", b=b"2", c=b"3")
    assert where(planned) == {"/run/secrets": "run-secrets", "/etc/ssl/key": "files/2", "/app.ini": "files/3"}
    assert [str(file.path) for file in planned.files] == [
        "run-secrets/one",
        "run-secrets/deep/two",
        "files/2",
        "files/3",
        "run-secrets/public",
    ]
    assert all({"ro", "nosuid", "nodev", "noexec"} <= set(mount["options"]) for mount in planned.mounts)


def test_owner_and_mode_are_taken_over_and_default_to_root_and_0444() -> None:
    planned = plan(ContainerSpec(secrets=(secret("a", "x", uid="999", gid="33", mode=0o440), secret("a", "y"))), a=b"1")
    first, second = planned.files
    assert (first.uid, first.gid, first.mode) == (999, 33, 0o440)
    assert (second.uid, second.gid, second.mode) == (0, 0, 0o444)


@pytest.mark.parametrize(
    "target", ["../x", "a/../../../etc/passwd", "", "..", "/", "/run/secrets", "a/", "a\0b", ".", "/x/../../"]
)
def test_a_target_that_is_no_file_below_its_place_is_refused(target: str) -> None:
    with pytest.raises(TaskRejected, match="choose another"):
        plan(ContainerSpec(secrets=(secret("a", target),)), a=b"1")


def test_two_files_with_one_target_are_refused_however_it_is_written() -> None:
    spec = ContainerSpec(secrets=(secret("a", "x"), secret("a", "//run/./secrets/x")))
    with pytest.raises(TaskRejected, match="two secrets or configs have the target '/run/secrets/x'"):
        plan(spec, a=b"1")


def test_a_value_that_has_not_come_and_an_owner_that_is_no_number_are_refused() -> None:
    with pytest.raises(TaskRejected, match="secret a has not reached this node"):
        plan(ContainerSpec(secrets=(secret("a", "x"),)))
    with pytest.raises(TaskRejected, match="numeric uid and gid"):
        plan(ContainerSpec(secrets=(secret("a", "x", uid="mysql"),)), a=b"1")


@given(st.text(max_size=40))
def test_no_target_leads_out_of_the_memory_mount(target: str) -> None:
    try:
        planned = plan(ContainerSpec(secrets=(secret("a", target),)), a=b"1")
    except TaskRejected:
        return
    for file in planned.files:
        assert ".." not in file.path.parts
        assert not file.path.is_absolute()
    for mount in planned.mounts:
        assert mount["destination"].startswith("/")
        assert ".." not in PurePosixPath(mount["destination"]).parts


def test_mounts_are_planned_parents_first_and_image_volumes_fill_the_gaps() -> None:
    mounts = (
        Mount(type="bind", source="/srv//x", target="/data/sub", read_only=True),
        Mount(type="volume", source="db", target="/data", volume_options=VolumeOptions(no_copy=True)),
        Mount(type="tmpfs", target="/tmp/x", tmpfs_options=TmpfsOptions(size_bytes=4096, mode=0o700)),
    )
    planned = plan_mounts(mounts, ["/data", "/more/"])
    assert [str(each.target) for each in planned] == ["/data", "/more", "/data/sub", "/tmp/x"]
    volume, anonymous, bind, tmpfs = planned
    assert isinstance(volume, VolumeMount)
    assert volume.options.no_copy
    assert anonymous == VolumeMount(name="", target=PurePosixPath("/more"))
    assert bind == BindMount(source="/srv/x", target=PurePosixPath("/data/sub"), read_only=True)
    assert isinstance(tmpfs, TmpfsMount)
    assert {"size=4096", "mode=700", "noexec", "rw"} <= set(tmpfs_entry(tmpfs)["options"])


@pytest.mark.parametrize(
    ("mount", "text"),
    [
        (Mount(type="bind", target="/x"), 'invalid mount config for type "bind": field Source must not be empty'),
        (Mount(type="bind", source="a", target="/x"), "mount path must be absolute"),
        (Mount(type="bind", source="/a", target=""), "field Target must not be empty"),
        (Mount(type="volume", source="a", target="x"), "mount path must be absolute"),
        (Mount(type="volume", source="a", target="/x/.."), "destination can't be '/'"),
        (Mount(type="npipe", source="a", target="/x"), 'invalid mount config for type "npipe": mount type unknown'),
        (Mount(type="tmpfs", source="a", target="/x"), "field Source must not be specified"),
        (
            Mount(type="bind", source="/a", target="/x", bind_options=BindOptions(propagation="wild")),
            "invalid propagation mode: wild",
        ),
        (
            Mount(type="volume", source="a", target="/x", volume_options=VolumeOptions(subpath="../up")),
            "does not stay inside the volume",
        ),
        (Mount(type="image", target="/x"), 'invalid mount config for type "image": field Source must not be empty'),
        (
            Mount(type="image", source="busybox", target="/x", image_options=ImageOptions(subpath="/etc/../..")),
            "does not stay inside the image",
        ),
    ],
)
def test_bad_mounts_are_refused_in_dockers_words(mount: Mount, text: str) -> None:
    with pytest.raises(TaskRejected) as refusal:
        plan_mounts((mount,), ())
    assert text in str(refusal.value)


def test_what_lies_below_a_read_only_mount_is_read_only_too_unless_it_is_said_otherwise() -> None:
    def options(*, read_only: bool, **bind: bool) -> tuple[BindMount, list[str]]:
        mount = Mount(type="bind", source="/a", target="/x", read_only=read_only, bind_options=BindOptions(**bind))
        (planned,) = plan_mounts((mount,), ())
        assert isinstance(planned, BindMount)
        entry = bind_entry(
            "/a", planned.target, read_only=planned.read_only, recursive=planned.recursive, whole=planned.whole
        )
        return planned, entry["options"]

    assert options(read_only=True)[1] == ["rbind", "ro", "rro", "rprivate"]
    assert options(read_only=True, read_only_non_recursive=True)[1] == ["rbind", "ro", "rprivate"]
    assert options(read_only=True, non_recursive=True)[1] == ["bind", "ro", "rprivate"]
    assert options(read_only=False)[1] == ["rbind", "rw", "rprivate"]
    assert options(read_only=True, read_only_force_recursive=True)[0].must_be_whole


def test_a_tmpfs_is_executable_only_where_that_was_asked_for() -> None:
    def words(*options: tuple[str, ...]) -> list[str]:
        mount = TmpfsMount(target=PurePosixPath("/x"), options=TmpfsOptions(options=options))
        found: list[str] = tmpfs_entry(mount)["options"][:3]
        return found

    assert words() == ["nosuid", "nodev", "noexec"]
    assert words(("exec",)) == ["nosuid", "nodev", "exec"]
    assert words(("exec",), ("noexec",)) == ["nosuid", "nodev", "noexec"]


def test_an_image_is_mounted_with_its_subpath() -> None:
    mount = Mount(
        type="image", source="busybox", target="/x", read_only=True, image_options=ImageOptions(subpath="etc")
    )
    (planned,) = plan_mounts((mount,), ())
    assert planned == ImageMount(source="busybox", target=PurePosixPath("/x"), read_only=True, subpath="etc")


ARMOUR = Guards(apparmor=True, profiles=frozenset({"docker-default", "cups"}))


def test_apparmor_confines_by_the_profile_that_is_loaded_unless_it_is_turned_off() -> None:
    disabled = Privileges(apparmor=AppArmorOpts(mode="disabled"))
    assert guarded(None, Guards()) == Guarded()
    assert guarded(disabled, Guards()) == Guarded()
    assert guarded(None, ARMOUR).apparmor_profile == "docker-default"
    assert guarded(disabled, ARMOUR).apparmor_profile == "unconfined"
    own = Guards(apparmor=True, profiles=frozenset({"docker-default", "vault-default"}))
    assert guarded(None, own).apparmor_profile == "vault-default"


def test_a_service_that_asks_for_apparmor_by_name_does_not_run_without_a_profile() -> None:
    bare = Guards(apparmor=True)
    assert guarded(None, bare).apparmor_profile == ""
    with pytest.raises(TaskRejected, match="none of the profiles vault-default and docker-default is loaded"):
        guarded(Privileges(apparmor=AppArmorOpts(mode="default")), bare)


def test_an_selinux_context_labels_processes_and_files_where_there_is_selinux() -> None:
    asked = Privileges(selinux_context=SELinuxContext(type="svirt_apache_t", level="s0:c1,c2"))
    assert guarded(asked, Guards()) == Guarded()
    found = guarded(asked, Guards(selinux=True))
    assert found.process_label == "system_u:system_r:svirt_apache_t:s0:c1,c2"
    assert found.mount_label == "system_u:object_r:container_file_t:s0:c1,c2"
    assert guarded(Privileges(selinux_context=SELinuxContext(disable=True)), Guards(selinux=True)) == Guarded()
    config = made(ContainerSpec(), guarded=found)
    assert (config["process"]["selinuxLabel"], config["linux"]["mountLabel"]) == (
        found.process_label,
        found.mount_label,
    )
    with pytest.raises(TaskRejected, match="is no part of an SELinux label"):
        guarded(Privileges(selinux_context=SELinuxContext(user='x",rw')), Guards(selinux=True))


def test_two_mounts_on_one_target_are_refused() -> None:
    with pytest.raises(TaskRejected, match="Duplicate mount point: /x"):
        plan_mounts((Mount(type="volume", source="a", target="/x"), Mount(type="volume", source="b", target="/x/")), ())


def test_limits_become_the_runtimes_with_as_much_swap_as_memory() -> None:
    resources = Resources(
        limits=Limit(nano_cpus=500_000_000, memory_bytes=1 << 26, pids=7),
        reservations=Reservation(memory_bytes=1 << 25),
    )
    made = resources_of(resources)
    assert made["memory"] == {"limit": 1 << 26, "swap": 1 << 27, "reservation": 1 << 25}
    assert made["cpu"] == {"quota": 50_000, "period": 100_000}
    assert made["pids"] == {"limit": 7}
    assert resources_of(Resources(limits=Limit(nano_cpus=1_000_000)))["cpu"]["quota"] == 1000
    assert set(resources_of(None)) == {"devices"}
    assert made["devices"][0] == {"allow": False, "access": "rwm"}


def test_swap_is_what_was_asked_for_beside_memory() -> None:
    def memory(swap_bytes: int | None, **more: int) -> dict[str, int]:
        limits = Limit(memory_bytes=1 << 26)
        found: dict[str, int] = resources_of(Resources(limits=limits, swap_bytes=swap_bytes, **more))["memory"]
        return found

    assert memory(0)["swap"] == 1 << 26
    assert memory(1 << 20)["swap"] == (1 << 26) + (1 << 20)
    assert memory(-1)["swap"] == -1
    assert memory(None, memory_swappiness=60)["swappiness"] == 60
    assert "swappiness" not in memory(None, memory_swappiness=-1)
    swappy = Resources(memory_swappiness=60)
    assert "memory" not in resources_of(swappy, cgroup_v2=True)


def test_rlimits_are_lowered_to_what_vaultd_may_hand_on() -> None:
    made = {entry["type"]: (entry["soft"], entry["hard"]) for entry in rlimits_of(
        (Ulimit(name="nofile", soft=90000, hard=-1), Ulimit(name="nproc", soft=10, hard=20)), HOST)}  # fmt: skip
    assert made["RLIMIT_NOFILE"] == (20000, 20000)
    assert made["RLIMIT_NPROC"] == (10, 20)
    assert made["RLIMIT_CORE"] == ((1 << 64) - 1, (1 << 64) - 1)
    mighty = HostLimits(hard={**HOST.hard, "core": 0}, may_raise=True)
    raised = rlimits_of((Ulimit(name="nofile", soft=90000, hard=90000),), mighty)
    assert {"type": "RLIMIT_CORE", "soft": (1 << 64) - 1, "hard": (1 << 64) - 1} in raised
    assert {"type": "RLIMIT_NOFILE", "soft": 90000, "hard": 90000} in raised


@pytest.mark.parametrize(
    ("ulimit", "text"),
    [
        (Ulimit(name="magic", soft=1, hard=1), "invalid ulimit type: magic"),
        (Ulimit(name="nproc", soft=3, hard=2), "must be less than or equal to hard limit: 3 > 2"),
    ],
)
def test_bad_ulimits_are_refused(ulimit: Ulimit, text: str) -> None:
    with pytest.raises(TaskRejected) as refusal:
        rlimits_of((ulimit,), HOST)
    assert text in str(refusal.value)


def facts(**changes: Any) -> Facts:
    fields: dict[str, Any] = {
        "rootfs": Path("/r"),
        "cgroup": "/vault/i/t",
        "identity": Identity(uid=0, gid=0, groups=(0,)),
        "capabilities": ("CAP_CHOWN",),
        "guarded": Guarded(),
        "confinement": Confinement(seccomp=msgspec.Raw(b'{"defaultAction":"SCMP_ACT_ERRNO"}')),
        "network": LOOPBACK_ONLY,
        "mounts": (),
        "hostname": "h",
        "host_limits": HOST,
        "cgroup_v2": False,
        "node_id": "n" * 25,
    }
    return Facts(**{**fields, **changes})


def task(spec: ContainerSpec) -> Task:
    return Task(id="t" * 25, spec=TaskSpec(container_spec=spec), service_id="s" * 25, service_name="web", slot=3)


def made(spec: ContainerSpec, **changes: Any) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(runtime_config(task(spec), FakeConfig(), facts(**changes)))
    )
    return decoded


def test_a_container_joins_the_namespace_it_is_given_or_the_hosts_or_a_new_one() -> None:
    def network(view: NetworkView) -> list[Any]:
        return [
            each for each in made(ContainerSpec(), network=view)["linux"]["namespaces"] if each["type"] == "network"
        ]

    assert network(LOOPBACK_ONLY) == [{"type": "network"}]
    assert network(NetworkView(namespace=Path("/run/netns/x"))) == [{"type": "network", "path": "/run/netns/x"}]
    assert network(HOST_NETWORK) == []


def test_a_user_without_roots_rights_holds_no_capability_but_keeps_the_bound() -> None:
    held = made(ContainerSpec(), identity=Identity(uid=5, gid=5))["process"]["capabilities"]
    assert held == {"bounding": ["CAP_CHOWN"], "effective": [], "permitted": []}
    assert made(ContainerSpec())["process"]["capabilities"]["effective"] == ["CAP_CHOWN"]


def test_privileges_read_only_and_terminal_are_as_asked() -> None:
    config = made(ContainerSpec(read_only=True, tty=True, privileges=Privileges(no_new_privileges=True)))
    assert config["root"] == {"path": "/r", "readonly": True}
    assert config["process"]["terminal"] is True
    assert config["process"]["noNewPrivileges"] is True
    assert made(ContainerSpec())["process"]["noNewPrivileges"] is False
    assert "/proc/kcore" in config["linux"]["maskedPaths"]
    assert config["linux"]["seccomp"] == {"defaultAction": "SCMP_ACT_ERRNO"}


def test_labels_name_the_swarms_objects_and_cannot_be_forged() -> None:
    spec = ContainerSpec(labels={"a": "service", "com.docker.swarm.task.id": "forged"})
    labels = labels_of(task(spec), FakeConfig(labels={"a": "image", "b": "image"}), "n" * 25)
    assert labels == {
        "a": "service",
        "b": "image",
        "com.docker.swarm.node.id": "n" * 25,
        "com.docker.swarm.service.id": "s" * 25,
        "com.docker.swarm.service.name": "web",
        "com.docker.swarm.task": "",
        "com.docker.swarm.task.id": "t" * 25,
        "com.docker.swarm.task.name": f"web.3.{'t' * 25}",
    }


def test_network_sysctls_are_refused_on_the_hosts_network_and_kept_elsewhere() -> None:
    spec = ContainerSpec(sysctls={"net.core.somaxconn": "9"})
    assert made(spec)["linux"]["sysctl"]["net.core.somaxconn"] == "9"
    with pytest.raises(TaskRejected, match=r"sysctl net\.core\.somaxconn is not allowed"):
        made(spec, network=HOST_NETWORK)


def test_a_relative_working_directory_is_refused() -> None:
    assert working_dir_of(ContainerSpec(), FakeConfig(working_dir="/app")) == PurePosixPath("/app")
    with pytest.raises(TaskRejected, match="the working directory 'x' is invalid, it needs to be an absolute path"):
        working_dir_of(ContainerSpec(dir="x"), FakeConfig())


def test_hosts_has_the_services_entries_and_the_containers_addresses() -> None:
    view = NetworkView(hosts=(HostEntry(address="10.0.0.5", names=("web-1", "web")),))
    text = hosts_text(ContainerSpec(hosts=("1.2.3.4 db db.local",)), view, hostname="web-1")
    assert text.startswith("127.0.0.1\tlocalhost\n")
    assert "1.2.3.4\tdb db.local\n" in text
    assert text.endswith("10.0.0.5\tweb-1 web\n")
    own = NetworkView(hosts=(HostEntry(address="10.0.0.5"), HostEntry(address="fd00::5")))
    text = hosts_text(ContainerSpec(), own, hostname="web.example")
    assert text.endswith("10.0.0.5\tweb.example web\nfd00::5\tweb.example web\n")
    assert "127.0.1.1" not in text
    with pytest.raises(TaskRejected, match="does not begin with an address"):
        hosts_text(ContainerSpec(hosts=("db 1.2.3.4",)), view, hostname="x")


def test_host_gateway_is_where_the_task_reaches_its_node() -> None:
    spec = ContainerSpec(hosts=("host-gateway host.docker.internal",))
    text = hosts_text(spec, NetworkView(gateway="172.20.160.1"), hostname="x")
    assert "172.20.160.1\thost.docker.internal\n" in text
    assert "127.0.0.1\thost.docker.internal\n" in hosts_text(spec, HOST_NETWORK, hostname="x")
    with pytest.raises(TaskRejected, match="put it on a network that is not internal"):
        hosts_text(spec, LOOPBACK_ONLY, hostname="x")


@pytest.mark.parametrize(
    ("dns", "view", "host", "wanted"),
    [
        (None, LOOPBACK_ONLY, "nameserver 9.9.9.9\nsearch a b\n", "nameserver 9.9.9.9\nsearch a b\n"),
        (None, LOOPBACK_ONLY, "# x\nnameserver 127.0.0.53\n", "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
        (None, HOST_NETWORK, "nameserver 127.0.0.53\n", "nameserver 127.0.0.53\n"),
        (None, NetworkView(nameservers=("127.0.0.11",), options=("ndots:0",)), "nameserver 9.9.9.9\n",
         "nameserver 127.0.0.11\noptions ndots:0\n"),
        (DNSConfig(nameservers=("1.1.1.1",), options=("timeout:1",)),
         NetworkView(nameservers=("127.0.0.11",), options=("ndots:0",)), "",
         "nameserver 127.0.0.11\noptions timeout:1 ndots:0\n"),
        (DNSConfig(options=("ndots:2",)), NetworkView(nameservers=("127.0.0.11",), options=("ndots:0",)), "",
         "nameserver 127.0.0.11\noptions ndots:2\n"),
        (DNSConfig(nameservers=("1.1.1.1",), search=(".",)), LOOPBACK_ONLY, "search a\n", "nameserver 1.1.1.1\n"),
        (None, LOOPBACK_ONLY, "nameserver\n\n   \noptions\n", "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
    ],
)  # fmt: skip
def test_resolv_conf_follows_network_service_and_host_in_this_order(
    dns: DNSConfig | None, view: NetworkView, host: str, wanted: str
) -> None:
    assert resolv_text(dns, view, host) == wanted


def test_container_ids_are_64_digits_and_stay_the_same() -> None:
    roots = Roots(data=Path("/d"), run=Path("/r"))
    paths = roots.task(TaskID("t" * 25))
    assert len(paths.container_id) == 64
    assert paths.container_id == roots.task(TaskID("t" * 25)).container_id != roots.task(TaskID("u" * 25)).container_id
    assert roots.cgroup != Roots(data=Path("/d"), run=Path("/r2")).cgroup


@pytest.mark.parametrize("task_id", ["", "..", "../" * 8 + "x", "T" * 25, "t" * 24, "t" * 25 + "\n"])
def test_an_id_that_is_none_never_becomes_a_path(task_id: str) -> None:
    with pytest.raises(ValueError, match="25 characters"):
        Roots(data=Path("/d"), run=Path("/r")).task(TaskID(task_id))
