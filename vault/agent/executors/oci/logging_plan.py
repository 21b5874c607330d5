"""What is done with a container's output: its log driver, what goes with each line, and whether this node can do it.

Called by `prepare`; looks at nothing but the sockets and files that a driver needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from vault.agent.executors.port import TaskRejected
from vault.agent.logdrivers import journald, syslog
from vault.agent.logdrivers.attributes import Logged, attributes_of, tag_of
from vault.model.log_options import LogSettings, log_settings
from vault.model.secret import Driver


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingPlan:
    """What a record says of a container's log."""

    settings: LogSettings
    options: Mapping[str, str]
    tag: str
    details: Mapping[str, str]  # For readers.
    fields: Mapping[str, str]  # For the journal.


def plan_logging(driver: Driver | None, container: Logged) -> LoggingPlan:
    """Return what is done with a container's output.  Raises `TaskRejected` with Docker's text."""
    driver = driver or Driver()
    try:
        settings = log_settings(driver.name, driver.options)
    except ValueError as error:
        raise TaskRejected(str(error)) from None
    if refusal := _refusal(settings):
        raise TaskRejected(f"failed to initialize logging driver: {refusal}")
    attributes, tag = attributes_of(settings, container), tag_of(settings, container)
    return LoggingPlan(
        settings=settings,
        options=driver.options,
        tag=tag,
        details=attributes | ({"tag": tag} if settings.tag else {}),
        fields=journald.fields_of(container, tag, attributes) if settings.driver == "journald" else {},
    )


def _refusal(settings: LogSettings) -> str:
    if settings.driver == "journald":
        return journald.why_not()
    return syslog.why_not(settings.syslog) if settings.syslog is not None else ""
