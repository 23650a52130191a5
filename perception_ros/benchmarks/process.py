"""A `worker` as a child process: asked for one thing at a time, and missed when it dies."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import json
from pathlib import Path
import select
import signal
import subprocess
import sys
from types import TracebackType
from typing import Any

from typing_extensions import Self

from perception_ros.core.errors import BenchmarkError

WORKER = (sys.executable, '-m', 'perception_ros.benchmarks.worker')

_PATIENCE_S = 10.0


class WorkerProcess:
    """A context manager; leaving it ends the process.

    :param log: file for what the worker and its runtime print.
    :param command: what to run.
    """

    def __init__(self, log: Path, command: Sequence[str] = WORKER) -> None:
        self._log_path = log
        self._log = log.open('wb')
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # Ctrl-C goes to the parent alone; without it stdin ends, and with that the worker
            start_new_session=True,
        )

    def ask(self, task: str, within_s: float, **arguments: Any) -> dict[str, Any]:
        """Have a task done and return its answer.

        :raises BenchmarkError: it cannot be done, the worker died, or took too long and was ended.
        """
        tasks, answers = self._process.stdin, self._process.stdout
        assert tasks and answers
        try:
            tasks.write(json.dumps({'task': task, **arguments}).encode() + b'\n')
            tasks.flush()
        except OSError:  # it is gone: there is no answer either
            pass
        else:
            if not select.select([answers], [], [], within_s)[0]:
                self._process.kill()
                raise BenchmarkError(f'{task}: no answer within {within_s:g} s')
        line = answers.readline()
        if not line:
            raise BenchmarkError(f'{task}: {self._how_it_ended()}')
        answer: dict[str, Any] = json.loads(line)
        if 'problem' in answer:
            raise BenchmarkError(answer['problem'])
        return answer

    def _how_it_ended(self) -> str:
        status = self._process.wait()
        how = f'status {status}' if status >= 0 else f'signal {signal.Signals(-status).name}'
        said = self._log_path.read_text(errors='replace').split('\n')
        last = next((line.strip() for line in reversed(said) if line.strip()), '')
        return f'the process ended with {how}' + (f'; its last words: {last}' if last else '')

    def close(self) -> None:
        """End it. Idempotent."""
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):  # what it never read
                if stream:
                    stream.close()
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
        """End it."""
        self.close()
