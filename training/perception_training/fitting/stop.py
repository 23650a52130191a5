"""Ctrl-C, or a scheduler that wants the machine back: the step is finished and kept."""

from collections.abc import Iterator
from contextlib import contextmanager
import signal
import threading
from types import FrameType

from perception_training.errors import TrainingError

HEEDED = (signal.SIGINT, signal.SIGTERM)


class StoppedError(TrainingError):
    """Somebody asked the run to end; it can go on later."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.status = 128 + number
        """What a shell calls a process that a signal ended."""


class StopRequest:
    """The signal that asked this process to end, once there is one."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; after the first Ctrl-C a second one ends the process at once."""
        self.signal = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def error(self, said: str) -> StoppedError:
        """Give the error that ends the run."""
        assert self.signal is not None
        return StoppedError(f'{self.signal.name} {said}', self.signal)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note requests to end instead of dying of them; Python allows that in the main thread."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request) for number in HEEDED}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
