"""What holds for every test: a skipped test fails the run where CI=true, and the run says where its time went."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import PurePosixPath

import pytest

SKIPS_FAIL = os.environ.get("CI") == "true"


class Account:
    """What was skipped, and how long each directory of tests took."""

    def __init__(self) -> None:
        self.skipped: list[str] = []
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.tests: defaultdict[str, int] = defaultdict(int)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count each phase of each test."""
        parts = PurePosixPath(report.nodeid.partition("::")[0]).parts
        directory = "/".join(parts[:2]) if len(parts) > 2 else "/".join(parts[:1])
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
