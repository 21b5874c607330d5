"""The probes of one container: asks again and again whether it is well, until it is given up or nobody wants to know.

Not pure.  Used by `vault.agent.runner`, one a container with a health check; what follows from a result is decided by
`vault.agent.health`.  One probe at a time; what goes wrong with one is a result like any other.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final
from zlib import crc32

from vault.agent.executors.port import ContainerNotRunning, NoSuchContainer, Probed
from vault.agent.health import Check, Health, HealthStatus, KeptHealth, Result, judged, wait_s
from vault.model.errors import VaultError

logger = logging.getLogger(__name__)
FAILED: Final = -1  # Exit code of a probe that could not be run.


class Monitor:
    """Keeps a container's health up to date from `begin` to `end`."""

    def __init__(
        self,
        kept: KeptHealth,
        *,
        age_s: float,
        first_part: float = 1.0,
        probe: Callable[[Check], Awaitable[Probed]],
        changed: Callable[[KeptHealth], Awaitable[None]],
    ) -> None:
        """kept: where to begin.  age_s: how long the container has run already.

        first_part: of the usual time before the first probe.  changed: told when status or streak did; the next probe
        comes after it.
        """
        self.check = kept.check
        self.health = Health(status=kept.status, failing_streak=kept.failing_streak)
        self._began_s = asyncio.get_running_loop().time() - age_s
        self._first_part = first_part
        self._probe = probe
        self._changed = changed
        self._job: asyncio.Task[None] | None = None

    @property
    def kept(self) -> KeptHealth:
        """What the next vaultd must know."""
        return KeptHealth(check=self.check, status=self.health.status, failing_streak=self.health.failing_streak)

    def begin(self) -> "asyncio.Task[None] | None":
        """Begin to probe, unless that was done before; return what does it, None once the last probe was made."""
        if self._job is None:
            self._job = asyncio.create_task(self._run())
        return None if self._is_over(self._job) else self._job

    @staticmethod
    def _is_over(job: "asyncio.Task[None]") -> bool:
        return job.done() and not job.cancelled() and job.exception() is None

    async def end(self) -> None:
        """Break off; a probe that is under way is killed."""
        if (job := self._job) is not None:
            self._job = None
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)

    async def _run(self) -> None:
        """Probe until the container is given up, or has ended."""
        await self._wait(self._first_part)
        while self.health.status is not HealthStatus.UNHEALTHY:
            age_s, before = self._age_s, self.kept
            try:
                result = await self._result()
            except (ContainerNotRunning, NoSuchContainer):
                return
            self.health = judged(self.check, self.health, result, age_s=age_s)
            if self.kept != before:
                await self._changed(self.kept)
            await self._wait()

    @property
    def _age_s(self) -> float:
        return asyncio.get_running_loop().time() - self._began_s

    async def _wait(self, part: float = 1.0) -> None:
        await asyncio.sleep(part * wait_s(self.check, self.health, age_s=self._age_s))

    async def _result(self) -> Result:
        begun_at = datetime.now(UTC)
        try:
            probed = await self._probe(self.check)
        except (ContainerNotRunning, NoSuchContainer):
            raise
        except VaultError as error:
            probed = Probed(exit_code=FAILED, output=error.message)
        except Exception as error:  # A probe ends here; the container and the agent go on.
            logger.exception("probe_failed")
            probed = Probed(exit_code=FAILED, output=f"internal error ({type(error).__name__}): see the log of vaultd")
        return Result(begun_at=begun_at, ended_at=datetime.now(UTC), exit_code=probed.exit_code, output=probed.output)


def part_of(task_id: str) -> float:
    """Return a part of 1, another for each task, so that containers adopted together are not probed together."""
    return crc32(task_id.encode()) / (1 << 32)
