"""What holds for every test: a skipped test fails the run where CI=true, and the run says where its time went.

In a run of two workers (`make test`), one does the tests that use the machine, in order, and the other all the rest.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

SKIPS_FAIL = os.environ.get("CI") == "true"

# What these start (daemons, engines, namespaces, mounts) is waited for most of the time, and looked for on the whole
# machine afterwards: never two of them at once.
ON_THE_MACHINE = frozenset(
    (
        *("bench", "cluster", "daemon", "deploy", "dns", "docker", "e2e", "executor", "images"),
        *("lab", "membership", "network", "plugins", "raftstore", "tmpfs", "tutorial", "volumes"),
    )
)


def directory_of(nodeid: str) -> str:
    """Return the directory of a test: `tests/lab`, or `tests` for one right below it."""
    parts = PurePosixPath(nodeid.partition("::")[0]).parts
    return "/".join(parts[:2]) if len(parts) > 2 else "/".join(parts[:1])


class Lanes(LoadScopeScheduling):
    """Gives the tests that use the machine to one worker, in order; the others go file by file to who is free."""

    def _split_scope(self, nodeid: str) -> str:
        directory = directory_of(nodeid).rpartition("/")[2]
        return "the machine" if directory in ON_THE_MACHINE else nodeid.partition("::")[0]


class Account:
    """What was skipped, and how long each directory of tests took."""

    def __init__(self) -> None:
        self.skipped: list[str] = []
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.tests: defaultdict[str, int] = defaultdict(int)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count each phase of each test."""
        directory = directory_of(report.nodeid)
        self.seconds[directory] += report.duration
        self.tests[directory] += report.when == "call"
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a module that skips itself as a whole."""
        if report.skipped:
            self.skipped.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn skipped tests into a failed run."""
        passed = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if SKIPS_FAIL and self.skipped and passed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say it."""
        if sum(self.seconds.values()) >= 60:
            terminalreporter.section("minutes by directory")
            for directory, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
                terminalreporter.line(f"{seconds / 60:6.2f}  {directory} ({self.tests[directory]} tests)")
        if SKIPS_FAIL and self.skipped:
            terminalreporter.section("skipped, which fails the run here")
            for name in self.skipped:
                terminalreporter.line(name)


def pytest_configure(config: pytest.Config) -> None:
    """Keep the account of this run."""
    config.pluginmanager.register(Account(), "vault-account")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    """Share the tests out between workers."""
    return Lanes(config, log)
