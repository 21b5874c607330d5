"""Whether a container is well: what its health check asks for, and what each result of a probe makes of it.

Pure: a spec and results in, status and the time of the next probe out.  `vault.agent.probing` runs the probes,
`vault.agent.step` decides what follows.  The rules are Docker's: a failure during the start period counts for nothing
until the first success; so many failures in a row as there are retries make a container unhealthy.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Final

import msgspec

from vault.model.base import SECOND_NS
from vault.model.container import HealthConfig

# Docker's.  Source: its reference of HEALTHCHECK; the same when a spec, or an image, says 0.
INTERVAL_S: Final = 30.0
TIMEOUT_S: Final = 30.0
START_INTERVAL_S: Final = 5.0
RETRIES: Final = 3
RESULTS_KEPT: Final = 5
LEAST_NS: Final = 1_000_000  # What an image may say, and no spec may.
NONE, COMMAND, SHELL_COMMAND = "NONE", "CMD", "CMD-SHELL"
SHELL: Final = ("/bin/sh", "-c")
_MOST_NS: Final = (1 << 63) - 1


class HealthStatus(Enum):
    """How a container with a check stands; its values are Docker's words."""

    STARTING = "starting"  # Neither well nor given up.
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A health check with nothing left open."""

    command: tuple[str, ...]  # A program and its arguments; a shell's if it was a line for the shell.
    interval_s: float = INTERVAL_S  # Before the first probe, and from the end of one to the next.
    timeout_s: float = TIMEOUT_S  # A probe that runs longer has failed, and is killed.
    start_period_s: float = 0.0  # After the start of the container.
    start_interval_s: float = START_INTERVAL_S  # Instead of the interval, in the start period until the first success.
    retries: int = RETRIES


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How one probe went."""

    begun_at: datetime
    ended_at: datetime
    exit_code: int  # 0 = well; -1 = it took too long, or could not be run.
    output: str = ""  # Of both streams, cut off; may hold anything the container knows.

    @property
    def well(self) -> bool:
        """Whether the probe found the container well."""
        return self.exit_code == 0


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a container stands, and by which results."""

    status: HealthStatus = HealthStatus.STARTING
    failing_streak: int = 0
    log: tuple[Result, ...] = ()  # The last ones, the newest at the end.


class KeptHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What the next vaultd must know to go on: never what a probe printed."""

    check: Check
    status: HealthStatus
    failing_streak: int


def check_of(spec: HealthConfig | None, image: HealthConfig | None, shell: Sequence[str] = ()) -> Check | None:
    """Return the check of a container; None when it has none.

    spec: of the service; what it leaves open is the image's.  shell: the image's, empty for the usual one.
    """
    config = merged(spec, image) or HealthConfig()
    command = _command(config.test, shell)
    if not command:
        return None
    return Check(
        command=command,
        interval_s=_seconds(config.interval, INTERVAL_S),
        timeout_s=_seconds(config.timeout, TIMEOUT_S),
        start_period_s=_seconds(config.start_period, 0.0),
        start_interval_s=_seconds(config.start_interval, START_INTERVAL_S),
        retries=config.retries if config.retries > 0 else RETRIES,
    )


def merged(spec: HealthConfig | None, image: HealthConfig | None) -> HealthConfig | None:
    """Return what a service and its image say together, field by field; the service's word comes first."""
    if spec is None or image is None:
        return spec or image
    return HealthConfig(
        test=spec.test or image.test,
        interval=spec.interval or image.interval,
        timeout=spec.timeout or image.timeout,
        start_period=spec.start_period or image.start_period,
        start_interval=spec.start_interval or image.start_interval,
        retries=spec.retries or image.retries,
    )


def _command(test: Sequence[str], shell: Sequence[str]) -> tuple[str, ...]:
    """Return what is to be run; empty for NONE, and for what only an image can say and nobody can run."""
    kind, *words = test or (NONE,)
    if kind == COMMAND:
        return tuple(words)
    return (*(shell or SHELL), *words) if kind == SHELL_COMMAND and words else ()


def _seconds(nanoseconds: int, default_s: float) -> float:
    return min(max(nanoseconds, LEAST_NS), _MOST_NS) / SECOND_NS if nanoseconds > 0 else default_s


def judged(check: Check, health: Health, result: Result, *, age_s: float) -> Health:
    """Return how a container stands after a probe.  age_s: how long it had run when the probe began."""
    log = (*health.log, result)[-RESULTS_KEPT:]
    if result.well:
        return Health(status=HealthStatus.HEALTHY, log=log)
    if health.status is HealthStatus.STARTING and age_s < check.start_period_s:
        return Health(status=health.status, failing_streak=health.failing_streak, log=log)
    streak = health.failing_streak + 1
    status = HealthStatus.UNHEALTHY if streak >= check.retries else health.status
    return Health(status=status, failing_streak=streak, log=log)


def wait_s(check: Check, health: Health, *, age_s: float) -> float:
    """Return how long to wait for the next probe: the start period's end does not pass by unnoticed."""
    left_s = check.start_period_s - age_s
    if health.status is HealthStatus.STARTING and left_s > 0:
        return min(check.start_interval_s, max(left_s, LEAST_NS / SECOND_NS))
    return check.interval_s
