"""The test server as a process that can be killed, stopped, and started again at its port."""

from __future__ import annotations

from pathlib import Path
import signal
import subprocess
import sys

from typing_extensions import Self

ROOT = Path(__file__).resolve().parents[3]


class ServerProcess:
    """A running server; a context manager.

    :param shared: whether it lets clients use shared memory.
    """

    def __init__(self, repository: Path, *, shared: bool = True) -> None:
        self.repository = repository
        self._shared = shared
        self._port = 0
        self.start()

    @property
    def address(self) -> str:
        """Where it listens, now and after a restart."""
        return f'localhost:{self._port}'

    def start(self) -> None:
        """Start it, and wait until its models are ready."""
        command = [
            sys.executable, '-m', 'test.backends.triton.server', str(self.repository),
            '--port', str(self._port), *([] if self._shared else ['--no-client-shm']),
        ]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self._port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        with self._process:  # closes the pipe and waits
            pass

    def stop(self) -> None:
        """Let it hang: it keeps its connections and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on where it was stopped."""
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        """Return the process itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.kill()
