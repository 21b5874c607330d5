"""What a real container sees of itself: its files, its rights, its limits."""

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.executor.conftest import Body, FakeConfig, FakeImage, Node, config, secret
from tests.executor.test_adopt import record_of
from vault.agent.executors.port import HOST_NETWORK, TaskRejected
from vault.model.container import (
    BindOptions,
    ContainerSpec,
    ImageOptions,
    Mount,
    Privileges,
    SeccompOpts,
    TmpfsOptions,
    Ulimit,
    VolumeOptions,
)
from vault.model.service import Limit, Resources
from vault.tmpfs.mount import mount, mounts_under, unmount_all

pytestmark = pytest.mark.machine
OnNode = Callable[[Body], None]


def test_secrets_have_their_bytes_owner_and_mode_and_cannot_be_written(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        spec = ContainerSpec(
            user="app",
            secrets=(
                secret("a", "open"),
                secret("a", "mine", uid="1000", gid="2002", mode=0o400),
                secret("a", "roots", mode=0o400),
                secret("a", "deep/er/key"),
                secret("a", "/etc/ssl/key.pem", mode=0o444),
            ),
            configs=(config("c", "app.ini"),),
        )
        script = (
            "cd /run/secrets; for f in open mine deep/er/key /etc/ssl/key.pem /app.ini; do cat $f; done; cat roots;"
            "stat -c '%a %u %g' mine; echo x > open; echo x > new; echo x > /etc/ssl/key.pem; rm open; echo end"
        )
        said = await node.said("sh", "-c", script, spec=spec, secrets={"a": b"s1\n"}, configs={"c": b"c1\n"})
        assert said.startswith("s1\ns1\ns1\ns1\nc1\n")
        assert "400 1000 2002\n" in said
        assert said.count("Read-only file system") == 4
        assert "roots': Permission denied" in said or "roots: Permission denied" in said
        assert "end\n" in said

    on_node(body)


def test_secret_bytes_never_reach_the_disk_of_the_node(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        marker = b"canary-5ad7c1f2"
        spec = ContainerSpec(secrets=(secret("a", "x"), secret("a", "/opt/y")), configs=(config("a", "z"),))
        script = "echo planted-0b77 > /planted; trap 'exit 0' TERM; while :; do sleep 0.05; done"
        task = await node.run("sh", "-c", script, spec=spec, secrets={"a": marker}, configs={"a": marker})
        while not list(node.base.glob(f"data/tasks/{task}/upper/planted")):
            await node.exec(task, "true")
        on_disk = [
            path
            for path in node.base.rglob("*")
            if path.is_file() and not _is_mounted(path, node.base) and marker in path.read_bytes()
        ]
        assert on_disk == []
        assert [path for path in node.base.glob("data/**/planted") if b"planted-0b77" in path.read_bytes()]

    on_node(body)


def _is_mounted(path: Path, base: Path) -> bool:
    return any(each.point in path.parents for each in mounts_under(base))


def test_a_task_sees_no_secret_of_another(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        first = await node.run("sleep", "100", spec=ContainerSpec(secrets=(secret("a", "x"),)), secrets={"a": b"one"})
        second = await node.run("sleep", "100", spec=ContainerSpec(secrets=(secret("b", "y"),)), secrets={"b": b"two"})
        assert (await node.exec(first, "ls", "/run/secrets"))[1] == "x\n"
        assert (await node.exec(second, "ls", "/run/secrets"))[1] == "y\n"
        code, mounts, _ = await node.exec(second, "cat", "/proc/1/mountinfo")
        assert code == 0
        assert first not in mounts

    on_node(body)


def test_user_directory_environment_and_names_are_as_asked(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        spec = ContainerSpec(
            user="app", dir="/made/up", env=("A=1 2", "EMPTY="), hostname="box", hosts=("1.2.3.4 db",), groups=("3003",)
        )
        said = await node.said(
            "sh",
            "-c",
            "id; pwd; echo $A/$EMPTY/$HOSTNAME/$HOME; hostname; cat /etc/hostname; cat /etc/hosts",
            spec=spec,
        )
        assert said.startswith(
            "uid=1000(app) gid=1001(app) groups=1001(app),2002(extra),3003\n/made/up\n1 2//box//home/app\nbox\nbox\n"
        )
        assert "1.2.3.4\tdb\n" in said

    on_node(body)


def test_without_a_name_a_container_is_called_by_its_short_id(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = node.task(ContainerSpec(args=("hostname",)))
        status = await node.executor.prepare(task, image=node.image, secrets={}, configs={})
        assert re.fullmatch(r"[0-9a-f]{64}", status.container_id)
        await node.executor.start(task.id)
        assert await node.output(task.id) == status.container_id[:12] + "\n"

    on_node(body)


def test_the_image_says_what_the_service_does_not(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        image = FakeImage(
            layers=node.image.layers,
            config=FakeConfig(
                entrypoint=("sh", "-c"), cmd=("echo $FROM $(id -u) $(pwd)",), env=("FROM=image",), user="1000",
                working_dir="/tmp",
            ),
        )  # fmt: skip
        assert await node.said(image=image) == "image 1000 /tmp\n"

    on_node(body)


@pytest.mark.parametrize("read_only", [False, True])
def test_the_root_is_writable_unless_asked_otherwise_and_layers_stay_as_they_are(
    on_node: OnNode, read_only: bool, busybox: Path
) -> None:
    async def body(node: Node) -> None:
        spec = ContainerSpec(read_only=read_only, mounts=(Mount(type="tmpfs", target="/scratch"),))
        said = await node.said(
            "sh", "-c", "echo x > /new; echo y > /data/shipped; echo z > /scratch/z && cat /scratch/z", spec=spec
        )
        assert said.count("Read-only file system") == (2 if read_only else 0)
        assert "z\n" in said

    on_node(body)
    assert (busybox / "data/shipped").read_text() == "from the image\n"
    assert not (busybox / "new").exists()


def test_layers_cover_those_below_them(on_node: OnNode, tmp_path: Path, busybox: Path) -> None:
    top = tmp_path / "odd, name: top\\"
    (top / "data").mkdir(parents=True)
    (top / "data/shipped").write_text("from the top\n")

    async def body(node: Node) -> None:
        image = FakeImage(layers=(busybox, *(_empty(tmp_path / f"layer-{n}") for n in range(60)), top))
        assert await node.said("cat", "/data/shipped", image=image) == "from the top\n"

    on_node(body)


def _empty(path: Path) -> Path:
    path.mkdir()
    return path


def test_bind_mounts_show_the_host_and_a_missing_source_is_refused(on_node: OnNode, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/file").write_text("hello\n")

    async def body(node: Node) -> None:
        mount = Mount(type="bind", source=str(tmp_path / "shared"), target="/mnt/x")
        said = await node.said(
            "sh", "-c", "cat /mnt/x/file; echo made > /mnt/x/new", spec=ContainerSpec(mounts=(mount,))
        )
        assert said == "hello\n"
        assert (tmp_path / "shared/new").read_text() == "made\n"
        read_only = ContainerSpec(mounts=(replace(mount, read_only=True),))
        assert "Read-only" in await node.said("sh", "-c", "echo x > /mnt/x/new", spec=read_only)
        missing = ContainerSpec(mounts=(replace(mount, source="/no/such/place"),))
        with pytest.raises(TaskRejected) as refusal:
            await node.run("true", spec=missing)
        assert str(refusal.value) == (
            'invalid mount config for type "bind": bind source path does not exist: /no/such/place'
        )
        assert list((node.base / "run/tasks").iterdir()) == list((node.base / "data/tasks").iterdir()) == []

    on_node(body)


def test_a_named_volume_is_filled_from_the_image_and_outlives_its_tasks(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        spec = ContainerSpec(mounts=(Mount(type="volume", source="kept", target="/data"),))
        assert await node.said("sh", "-c", "cat /data/shipped; echo more > /data/more", spec=spec) == "from the image\n"
        assert await node.said("sh", "-c", "cat /data/more; rm /data/shipped; ls /data", spec=spec) == "more\nmore\n"
        assert await node.said("ls", "/data", spec=spec) == "more\n"
        bare = Mount(type="volume", source="bare", target="/data", volume_options=VolumeOptions(no_copy=True))
        assert await node.said("ls", "/data", spec=ContainerSpec(mounts=(bare,))) == ""

    on_node(body)


def test_a_copied_volume_keeps_owner_and_mode_of_the_images_directory(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        spec = ContainerSpec(user="app", mounts=(Mount(type="volume", source="home", target="/home/app"),))
        assert await node.said("sh", "-c", "echo mine > /home/app/x; cat /home/app/x", spec=spec) == "mine\n"

    on_node(body)


def test_a_volume_without_a_name_goes_with_its_task(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        image = FakeImage(layers=node.image.layers, config=FakeConfig(volumes=("/data", "/fresh")))
        volumes = node.base / "data/volumes"
        task = await node.run("sh", "-c", "cat /data/shipped; echo x > /fresh/x; cat /fresh/x", image=image)
        assert await node.output(task) == "from the image\nx\n"
        assert len([path for path in volumes.iterdir() if re.fullmatch("[0-9a-f]{64}", path.name)]) == 2
        await node.executor.remove(task)
        assert list(volumes.iterdir()) == []

    on_node(body)


def test_an_image_cannot_lead_copies_or_accounts_out_of_itself(on_node: OnNode, tmp_path: Path, busybox: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/passwd").write_text("app:x:4242:4242::/:\n")
    trap = tmp_path / "trap"
    (trap / "etc").mkdir(parents=True)
    (trap / "etc/passwd").symlink_to("../" * 30 + str(tmp_path / "outside/passwd").lstrip("/"))
    (trap / "vol").symlink_to(tmp_path / "outside")
    (trap / "work").symlink_to("/../../" + str(tmp_path / "outside2"))

    async def body(node: Node) -> None:
        image = FakeImage(layers=(busybox, trap))
        spec = ContainerSpec(dir="/work/x", mounts=(Mount(type="volume", source="trapped", target="/vol"),))
        assert await node.said("ls", "/vol", spec=spec, image=image) == ""
        with pytest.raises(TaskRejected, match="unable to find user app"):
            await node.run("id", spec=ContainerSpec(user="app"), image=image)
        assert sorted(path.name for path in (tmp_path / "outside").iterdir()) == ["passwd"]

    on_node(body)


def test_limits_are_those_of_the_cgroup(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        limits = Resources(limits=Limit(nano_cpus=250_000_000, memory_bytes=32 << 20, pids=6))
        script = (
            "ulimit -n; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
            " /sys/fs/cgroup/pids/pids.max; sleep 100"
        )
        spec = ContainerSpec(ulimits=(Ulimit(name="nofile", soft=77, hard=99),))
        task = await node.run("sh", "-c", script, spec=spec, resources=limits)
        usage = await node.executor.usage(task)
        assert usage.pids >= 1
        assert 0 < usage.memory_bytes <= 32 << 20
        lines = [line async for line in _head(node, task, 4)]
        assert lines == ["77", str(32 << 20), "25000", "6"]
        assert [each.command for each in await node.executor.top(task)][-1].endswith("sleep 100")

    on_node(body)


async def _head(node: Node, task: Any, count: int) -> Any:
    from vault.agent.logs import LogQuery

    async for line in node.executor.logs(task, LogQuery(follow=True)):
        yield line.data.decode().strip()
        count -= 1
        if not count:
            return


def test_a_container_has_dockers_rights_and_no_more(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        masked = "cat /proc/keys /proc/interrupts | wc -c; ls /sys/firmware | wc -l"
        said = await node.said("sh", "-c", f"cat /proc/self/status; {masked}")
        assert "CapBnd:\t00000000a80425fb\n" in said
        assert "Seccomp:\t2\n" in said
        assert "NoNewPrivs:\t0\n" in said
        assert said.endswith("\n0\n0\n")
        assert "NoNewPrivs:\t1\n" in await node.said(
            "busybox", "grep", "NoNewPrivs", "/proc/self/status",
            spec=ContainerSpec(privileges=Privileges(no_new_privileges=True)),
        )  # fmt: skip

    on_node(body)


def test_without_a_network_there_is_only_loopback_and_host_is_the_hosts(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        assert (await node.said("ls", "/sys/class/net")).split() == ["lo"]
        up = await node.said("sh", "-c", "ip -o addr show lo | head -1")
        assert "127.0.0.1/8" in up
        hosts = sorted(path.name for path in Path("/sys/class/net").iterdir())
        assert sorted((await node.said("ls", "/sys/class/net", network=HOST_NETWORK)).split()) == hosts

    on_node(body)


def test_a_tmpfs_mount_has_its_size_and_mode(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        mount = Mount(type="tmpfs", target="/scratch", tmpfs_options=TmpfsOptions(size_bytes=1 << 20, mode=0o700))
        script = "stat -c %a /scratch; dd if=/dev/zero of=/scratch/x bs=1024 count=2000 2>&1 | head -1"
        said = await node.said("sh", "-c", script, spec=ContainerSpec(mounts=(mount,)))
        assert said.startswith("700\n")
        assert "No space left" in said

    on_node(body)


def test_an_image_is_mounted_and_written_to_for_this_task_alone(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        mounts = (
            Mount(type="image", source="tools", target="/tools"),
            Mount(
                type="image",
                source="tools",
                target="/only/etc",
                read_only=True,
                image_options=ImageOptions(subpath="etc"),
            ),
        )
        script = "cat /tools/etc/passwd | wc -l; echo own > /tools/own; cat /tools/own; ls /only/etc; touch /only/etc/x"
        for _ in range(2):
            said = await node.said(
                "sh", "-c", f"ls /tools/own; {script}", spec=ContainerSpec(mounts=mounts), mounted={"tools": node.image}
            )
            assert "ls: /tools/own: No such file or directory" in said
            assert "own\n" in said
            assert "passwd\n" in said
            assert "touch: /only/etc/x: Read-only file system" in said
        bad = Mount(type="image", source="tools", target="/x", image_options=ImageOptions(subpath="nosuch"))
        with pytest.raises(TaskRejected, match="subpath 'nosuch' does not exist in image tools"):
            await node.run("true", spec=ContainerSpec(mounts=(bad,)), mounted={"tools": node.image})

    on_node(body)


def test_what_is_mounted_below_a_read_only_directory_is_read_only_unless_wished_otherwise(
    on_node: OnNode, tmp_path: Path
) -> None:
    below = tmp_path / "below"
    below.mkdir()
    mount("tmpfs", below, "tmpfs")

    def bound(**options: bool) -> ContainerSpec:
        wanted = Mount(
            type="bind", source=str(tmp_path), target="/x", read_only=True, bind_options=BindOptions(**options)
        )
        return ContainerSpec(mounts=(wanted,))

    async def body(node: Node) -> None:
        script = "touch /x/below/y && rm /x/below/y && echo written"
        assert "Read-only file system" in await node.said("sh", "-c", script, spec=bound())
        assert "Read-only file system" in await node.said(
            "sh", "-c", script, spec=bound(read_only_force_recursive=True)
        )
        assert await node.said("sh", "-c", script, spec=bound(read_only_non_recursive=True)) == "written\n"

    try:
        on_node(body)
    finally:
        unmount_all(below)


def test_with_a_terminal_output_is_one_stream_with_carriage_returns(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        assert await node.said("sh", "-c", "tty; echo err >&2", spec=ContainerSpec(tty=True)) == "/dev/pts/0\r\nerr\r\n"

    on_node(body)


def test_open_input_without_a_terminal_is_waited_on_and_closed_input_ends_at_once(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        assert (await node.exited("cat")).code == 0
        waiting = await node.run("cat", spec=ContainerSpec(open_stdin=True, init=True))
        assert (await node.exec(waiting, "true"))[0] == 0
        await node.executor.stop(waiting)
        assert (await node.executor.wait(waiting)).code == 143

    on_node(body)


def test_a_service_may_bring_its_own_seccomp_profile_or_none(on_node: OnNode) -> None:
    def privileged(**seccomp: str) -> ContainerSpec:
        return ContainerSpec(privileges=Privileges(seccomp=SeccompOpts(**seccomp)))

    async def body(node: Node) -> None:
        seen = "busybox", "grep", "Seccomp:", "/proc/self/status"
        assert await node.said(*seen, spec=privileged(mode="unconfined")) == "Seccomp:\t0\n"
        no_mkdir = b'{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": ['
        no_mkdir += b'{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}'
        own = privileged(mode="custom", profile=base64.b64encode(no_mkdir).decode())
        assert "Operation not permitted" in await node.said("mkdir", "/x", spec=own)
        for bad in (privileged(mode="custom", profile="?"), privileged(mode="wild"), privileged(mode="custom")):
            with pytest.raises(TaskRejected, match="seccomp"):
                await node.run("true", spec=bad)

    on_node(body)


def test_a_container_makes_no_user_namespace_and_no_mount(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        script = "busybox unshare -U true; busybox unshare -m true; busybox mount -t tmpfs x /tmp; (echo forked); true"
        for _ in range(2):  # With a filter made for the container, and with one that was kept.
            said = await node.said("sh", "-c", script)
            assert said.count("Operation not permitted") + said.count("permission denied") == 3
            assert "forked" in said
        task = await node.run("sleep", "100")
        assert record_of(node, task).seccomp_digest
        assert (await node.exec(task, "busybox", "grep", "Seccomp:", "/proc/self/status"))[1] == "Seccomp:\t2\n"

    on_node(body)


def test_no_descriptor_of_vaultd_reaches_a_container_or_a_command_in_it(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        assert (await node.said("sh", "-c", "ls /proc/$$/fd; true")).split() == ["0", "1", "2"]
        task = await node.run("sleep", "100")
        assert (await node.exec(task, "sh", "-c", "ls /proc/$$/fd; true"))[1].split() == ["0", "1", "2"]

    on_node(body)
