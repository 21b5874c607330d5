"""A vaultd that starts containers and is then killed; run by `test_adopt`.  Says `ready` when it may be killed."""

import asyncio
import sys
from pathlib import Path

from tests.executor.conftest import CACHE, FakeImage, Node, secret
from vault.agent.executors.oci.executor import OciExecutor
from vault.model.container import ContainerSpec

TICKING = "n=0; trap 'exit 5' TERM; while :; do echo $n; n=$((n+1)); sleep 0.02; done"
SHORT = "echo begun; while [ ! -e /go ]; do sleep 0.02; done; echo done; exit 7"
SPEC = ContainerSpec(secrets=(secret("k", "db"),))


async def main(base: Path) -> None:
    executor = await OciExecutor.open(data_root=base / "data", run_root=base / "run")
    node = Node(base, executor, FakeImage(layers=(CACHE,)))
    await node.run("sh", "-c", TICKING, spec=SPEC, secrets={"k": b"s3cret"})  # 1
    await node.run("sh", "-c", SHORT, spec=SPEC, secrets={"k": b"s3cret"})  # 2
    await node.prepare(node.task(ContainerSpec(args=("echo", "late"))))  # 3
    ended = await node.run("sh", "-c", "echo early; exit 3")  # 4
    await executor.wait(ended)
    print("ready", flush=True)
    await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
