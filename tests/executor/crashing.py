"""A vaultd that starts containers and is then killed; run by `test_adopt`.  Says `ready` when it may be killed."""

import asyncio
import sys
from pathlib import Path

from tests.executor.conftest import CACHE, FakeImage, Node, secret
from vault.agent.executors.oci.executor import OciExecutor
from vault.agent.health import Check, HealthStatus, KeptHealth
from vault.model.container import ContainerSpec

TICKING = "n=0; trap 'exit 5' TERM; while :; do echo $n; n=$((n+1)); sleep 0.02; done"
SHORT = "echo begun; while [ ! -e /go ]; do sleep 0.02; done; echo done; exit 7"
KEPT = KeptHealth(check=Check(command=("true",)), status=HealthStatus.HEALTHY, failing_streak=2)
SPEC = ContainerSpec(secrets=(secret("k", "db"),))


async def main(base: Path) -> None:
    executor = await OciExecutor.open(data_root=base / "data", run_root=base / "run")
    node = Node(base, executor, FakeImage(layers=(CACHE,)))
    ticking = await node.run("sh", "-c", TICKING, spec=SPEC, secrets={"k": b"s3cret"})  # 1
    await node.run("sh", "-c", SHORT, spec=SPEC, secrets={"k": b"s3cret"})  # 2
    await node.prepare(node.task(ContainerSpec(args=("echo", "late"))))  # 3
    ended = await node.run("sh", "-c", "echo early; exit 3")  # 4
    await executor.wait(ended)
    await executor.keep_health(ticking, KEPT)
    probe = asyncio.create_task(executor.probe(ticking, ("sh", "-c", "sleep 1001 & sleep 1002"), timeout_s=60))
    while "sleep 1002" not in {one.command for one in await executor.top(ticking)}:
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    await probe


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
