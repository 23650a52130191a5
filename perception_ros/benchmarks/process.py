"""A `worker` as a child process: asked for one thing at a time, and missed when it dies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    :param environment: of the process; None: this one's.
    """

    def __init__(
        self,
        log: Path,
        command: Sequence[str] = WORKER,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log_path = log
        self._log = log.open('wb')
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            # Ctrl-C goes to the parent alone; without it stdin ends, and with that the worker
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def ask(self, task: str, within_s: float, **arguments: Any) -> dict[str, Any]:
        """Have a task done and return its answer.

        :raises BenchmarkError: it cannot be done, the worker died, or took too long and was ended.
        """
        self.tell(task, **arguments)
        return self.answer(task, within_s)

    def tell(self, task: str, **arguments: Any) -> None:
        """Have a task begun; `answer` has to follow."""
        assert self._process.stdin
        with contextlib.suppress(OSError):  # it is gone: there will be no answer either
            self._process.stdin.write(json.dumps({'task': task, **arguments}).encode() + b'\n')
            self._process.stdin.flush()

    def answer(self, task: str, within_s: float) -> dict[str, Any]:
        """Return the answer to what was told.

        :raises BenchmarkError: as `ask`.
        """
        answers = self._process.stdout
        assert answers
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

    def interrupt(self) -> None:
        """Ask a process that may be busy to come to an end."""
        self._process.terminate()

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
