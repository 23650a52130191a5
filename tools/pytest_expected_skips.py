"""
A pytest plugin: a test may be skipped only where a committed list expects it.

A skip is a promise that the test runs somewhere else. The list, ``test/expected_skips.txt`` below
pytest's root folder (ini option ``expected_skips``), says where and why; a skip that it does not
name is reported always, and fails the run where the environment says ``CI=true``.

A line of the list is ``pattern of test ids | pattern of the reason | why``, with shell wildcards.
Brackets stand for themselves, because parametrised ids are full of them.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
import os
from pathlib import Path
from typing import NamedTuple

import pytest


class ExpectedSkip(NamedTuple):
    """One line of the list."""

    test: str
    reason: str
    why: str

    def covers(self, test: str, reason: str) -> bool:
        """Whether a skip is the one that this line expects."""
        return _matches(test, self.test) and _matches(reason, self.reason)


def _matches(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern.replace('[', '[[]'))


def read_list(path: Path) -> list[ExpectedSkip]:
    """
    Read the list; a missing file expects no skip.

    :raises pytest.UsageError: for a line without its three parts.
    """
    if not path.exists():
        return []
    entries = []
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        if not line.strip() or line.lstrip().startswith('#'):
            continue
        parts = [part.strip() for part in line.split('|', 2)]
        if len(parts) != 3 or not all(parts):
            raise pytest.UsageError(
                f'{path}:{number}: expected "test ids | reason | why", got {line!r}')
        entries.append(ExpectedSkip(*parts))
    return entries


class SkipWatch:
    """Collects the skips of one run that the list does not expect."""

    def __init__(self, expected: list[ExpectedSkip], listed_in: str, fail: bool) -> None:
        self._expected = expected
        self._listed_in = listed_in
        self._fail = fail
        self.unexpected: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Look at a test's report."""
        # An expected failure is reported as skipped, too, and is none of our business.
        if report.skipped and not hasattr(report, 'wasxfail'):
            self._look(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Look at a file's report: a module can skip itself while it is imported."""
        if report.skipped:
            self._look(report)

    def _look(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = text.removeprefix('Skipped: ')
        if not any(entry.covers(report.nodeid, reason) for entry in self._expected):
            self.unexpected.append((report.nodeid, reason))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that is otherwise green, or had no test left to run."""
        if self._fail and self.unexpected and session.exitstatus in (
                pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name every unexpected skip and what to do about it."""
        if not self.unexpected:
            return
        terminalreporter.section('unexpected skips', red=self._fail, yellow=not self._fail)
        for test, reason in self.unexpected:
            terminalreporter.line(f'{test}: {reason}')
        terminalreporter.line(
            f'Make them run here, or say in {self._listed_in} why they cannot.'
            + (' CI fails on them.' if self._fail else ''))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare where the list is."""
    parser.addini(
        'expected_skips', 'list of the skips that are expected, below the root folder',
        default='test/expected_skips.txt')


def pytest_configure(config: pytest.Config) -> None:
    """Watch this run's skips."""
    listed_in = config.getini('expected_skips')
    in_ci = os.environ.get('CI', '').lower() not in ('', '0', 'false', 'no')
    config.pluginmanager.register(
        SkipWatch(read_list(config.rootpath / listed_in), listed_in, in_ci), 'skip-watch')
