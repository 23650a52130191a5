"""Nodes as child processes that are never left behind, and whose end is never a riddle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
from pathlib import Path
import signal
import subprocess
import sys
from types import TracebackType

from typing_extensions import Self

from perception_ros.core.errors import PerceptionError

_PATIENCE_S = 10.0
"""A node may have to finish a batch before it ends."""
_TAIL_LINES = 20
BOUND = 'perception_ros.demo.bound'
"""What ends a node when nobody is left to stop it."""


class DemoError(PerceptionError):
    """The demonstration cannot go on; `details` are lines of a log that may say why."""

    def __init__(self, message: str, details: str = '') -> None:
        super().__init__(message)
        self.details = details


class NodeProcess:
    """A node of this package as a process; its output goes to a log file. A context manager."""

    def __init__(
        self, module: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = module.rpartition('.')[2]
        self._log_path = log
        self._log = log.open('w')
        self._process = subprocess.Popen(
            [sys.executable, '-m', BOUND, str(os.getpid()), module, '--ros-args', *arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            # a Ctrl-C in the terminal goes to the parent alone, which then ends them in order
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def check(self, may_end: bool = False) -> None:
        """Look whether all is well.

        :param may_end: whether an end with status 0 is no surprise.
        :raises DemoError: it is not; with the last lines of its log.
        """
        status = self._process.poll()
        if status is None or (may_end and status == 0):
            return
        how = f'status {status}' if status >= 0 else f'signal {signal.Signals(-status).name}'
        raise DemoError(f'{self.name} ended with {how}', self.log_tail())

    def log_tail(self) -> str:
        """Return the last lines of the log, with where it is."""
        lines = self._log_path.read_text(errors='replace').splitlines()[-_TAIL_LINES:]
        return '\n  '.join([f'the log {self._log_path} ends with', *(lines or ['(nothing)'])])

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not. Idempotent."""
        if self.is_running:
            self._process.terminate()  # no interrupt: a shell's background job ignores those
            try:
                self._process.wait(_PATIENCE_S)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                self._process.kill()
                self._process.wait()
        self._log.close()

    def __enter__(self) -> Self:
        """Return the process itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()
