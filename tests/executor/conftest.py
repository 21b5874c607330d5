"""A node with one image made of Debian's static busybox, and builders for tasks on it."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vault.agent.executors.oci.executor import OciExecutor
from vault.agent.executors.port import Channel, ExecSession, ExecSpec, Exit, NetworkView
from vault.agent.logs import LogQuery
from vault.crypto.plaintext import Plaintext
from vault.model.container import ContainerSpec, HealthConfig
from vault.model.ids import ConfigID, SecretID, TaskID
from vault.model.secret import ConfigReference, FileTarget, SecretReference
from vault.model.service import TaskSpec
from vault.model.task import Task
from vault.tmpfs.mount import mounts_under, unmount_all

CACHE = Path(__file__).parents[2] / ".cache" / "busybox-root"
_APPLETS = "sh cat echo sleep id ls mkdir hostname env wc tty stty touch rm true false kill ps dd head test pwd ip stat"


@dataclass(frozen=True, kw_only=True)
class FakeConfig:
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ("sh",)
    user: str = ""
    working_dir: str = ""
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    exposed_ports: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    healthcheck: HealthConfig | None = None
    shell: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FakeImage:
    layers: tuple[Path, ...]
    config: FakeConfig = FakeConfig()
    id: str = "sha256:" + "1" * 64


@pytest.fixture(scope="session")
def busybox() -> Path:
    """A root directory with busybox, made once and kept between runs."""
    if not (CACHE / "bin" / "true").is_symlink():
        _make_root(CACHE)
    return CACHE


def _make_root(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    parcel = root.with_name("busybox-parcel")
    shutil.rmtree(parcel, ignore_errors=True)
    parcel.mkdir(parents=True)
    subprocess.run(["apt-get", "download", "-q", "busybox-static"], cwd=parcel, check=True, capture_output=True)
    (package,) = parcel.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", package, parcel / "x"], check=True)
    for name in ("bin", "etc", "tmp", "data", "proc", "sys", "dev", "home/app", "root"):
        (root / name).mkdir(parents=True)
    shutil.copy(parcel / "x/bin/busybox", root / "bin/busybox")
    for applet in _APPLETS.split():
        (root / "bin" / applet).symlink_to("busybox")
    (root / "tmp").chmod(0o1777)
    (root / "data/shipped").write_text("from the image\n")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\napp:x:1001:\nextra:x:2002:app\n")
    os.chown(root / "home/app", 1000, 1001)
    shutil.rmtree(parcel)


class Node:
    """One executor on roots of its own, with short words for what tests do."""

    def __init__(self, base: Path, executor: OciExecutor, image: FakeImage) -> None:
        self.base = base
        self.executor = executor
        self.image = image
        self._count = 0

    def task(self, spec: ContainerSpec, *, task_id: str = "", **fields: Any) -> Task:
        self._count += 1
        return Task(
            id=task_id or f"{self._count:025d}",
            spec=TaskSpec(container_spec=spec, **fields),
            service_id="s" * 25,
            service_name="web",
            slot=self._count,
            node_id="n" * 25,
        )

    async def prepare(
        self,
        task: Task,
        *,
        image: FakeImage | None = None,
        secrets: dict[str, bytes] | None = None,
        configs: dict[str, bytes] | None = None,
        network: NetworkView | None = None,
        mounted: dict[str, FakeImage] | None = None,
    ) -> TaskID:
        await self.executor.prepare(
            task,
            image=image or self.image,
            secrets={SecretID(key): Plaintext(value) for key, value in (secrets or {}).items()},
            configs={ConfigID(key): Plaintext(value) for key, value in (configs or {}).items()},
            network=network or NetworkView(),
            mounted=mounted or {},
        )
        return TaskID(task.id)

    async def run(self, *args: str, spec: ContainerSpec | None = None, **more: Any) -> TaskID:
        """Prepare and start `args` in a container."""
        fields = {key: more.pop(key) for key in ("resources", "log_driver") if key in more}
        from msgspec.structs import replace

        task = self.task(replace(spec or ContainerSpec(), args=args), **fields)
        task_id = await self.prepare(task, **more)
        await self.executor.start(task_id)
        return task_id

    async def output(self, task_id: TaskID, **query: Any) -> str:
        lines = [line.data async for line in self.executor.logs(task_id, LogQuery(follow=True, **query))]
        return b"".join(lines).decode()

    async def said(self, *args: str, **more: Any) -> str:
        """Run `args` in a container to its end and return what it printed."""
        task_id = await self.run(*args, **more)
        text = await self.output(task_id)
        await self.executor.wait(task_id)
        await self.executor.remove(task_id)
        return text

    async def exited(self, *args: str, **more: Any) -> Exit:
        return await self.executor.wait(await self.run(*args, **more))

    async def exec(self, task_id: TaskID, *args: str, stdin: bytes | None = None, **spec: Any) -> tuple[int, str, str]:
        session = await self.executor.exec(task_id, ExecSpec(args=args, stdin=stdin is not None, **spec))
        return await finish(session, stdin)


async def finish(session: ExecSession, stdin: bytes | None = None) -> tuple[int, str, str]:
    """Feed a command and return its code, output and errors."""
    texts = {Channel.OUT: b"", Channel.ERR: b""}

    async def feed() -> None:
        if stdin is not None:
            await session.write(stdin)
            await session.close_stdin()

    feeding = asyncio.ensure_future(feed())
    async for channel, data in session.output():
        texts[channel] += data
    await feeding
    code = await session.wait()
    session.close()
    return code, texts[Channel.OUT].decode(), texts[Channel.ERR].decode()


def secret(key: str, target: str, **how: Any) -> SecretReference:
    return SecretReference(secret_id=key, secret_name=key, file=FileTarget(name=target, **how))


def config(key: str, target: str, **how: Any) -> ConfigReference:
    return ConfigReference(config_id=key, config_name=key, file=FileTarget(name=target, **how))


@asynccontextmanager
async def open_node(base: Path, image: FakeImage) -> AsyncIterator[Node]:
    executor = await OciExecutor.open(data_root=base / "data", run_root=base / "run")
    node = Node(base, executor, image)
    try:
        yield node
    finally:
        await executor.reap(())
        await executor.close()


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for mounted in reversed(mounts_under(tmp_path)):
        unmount_all(mounted.point)


Body = Callable[[Node], Coroutine[Any, Any, None]]


@pytest.fixture
def on_node(base: Path, busybox: Path) -> Callable[[Body], None]:
    """Run a coroutine with a node that is cleaned up afterwards."""

    def run(body: Body) -> None:
        async def main() -> None:
            async with open_node(base, FakeImage(layers=(busybox,))) as node:
                await asyncio.wait_for(body(node), 60)

        asyncio.run(main())

    return run
