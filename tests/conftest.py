"""What holds for every test: a skipped test fails the run where CI=true, and the run says where its time went.

A run of several workers (`make test`) has two lanes for tests that use the machine; all the rest goes beside them.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

SKIPS_FAIL = os.environ.get("CI") == "true"

# Tests of these directories start daemons, engines, namespaces and mounts, and wait for them most of the time.  Those
# of one lane share ports, names of devices or what is looked for on the machine afterwards: never two of them at once.
LANES = {
    **dict.fromkeys(("cluster", "membership"), "clusters"),
    **dict.fromkeys(("bench", "daemon", "deploy", "dns", "docker", "e2e", "executor", "images", "lab"), "nodes"),
    **dict.fromkeys(("network", "plugins", "tmpfs", "tutorial", "volumes"), "nodes"),
}


def directory_of(nodeid: str) -> str:
    """Return the directory of a test: `tests/lab`, or `tests` for one right below it."""
    parts = PurePosixPath(nodeid.partition("::")[0]).parts
    return "/".join(parts[:2]) if len(parts) > 2 else "/".join(parts[:1])


class Lanes(LoadScopeScheduling):
    """Gives the tests of a lane to one worker, in order; the others go file by file to who is free."""

    def _split_scope(self, nodeid: str) -> str:
        return LANES.get(directory_of(nodeid).rpartition("/")[2], nodeid.partition("::")[0])


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
