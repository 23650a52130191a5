"""A backend for tests that fails, and takes its time to open, when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import threading
import time

import numpy as np

from perception_ros.backends.base import Engine, EngineOptions, Outputs
from perception_ros.backends.fake import FakeEngine
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import BackendError
from test.builders import fake_bundle

BATCH = 3


class WatchedEngine(FakeEngine):
    """A fake engine that runs at once, fails on demand, and counts how often it is closed."""

    def __init__(self, bundle: Bundle | None = None, *, max_batch: int = BATCH) -> None:
        super().__init__(bundle or fake_bundle(), max_batch=max_batch)
        self._info = replace(self._info, backend='device')
        self.fails = False
        self.closed = 0
        """How often."""

    def _run(self, images: np.ndarray) -> Outputs:
        assert not self.closed, 'used after it was closed'
        if self.fails:
            raise BackendError('the device is gone')
        return super()._run(images)

    def close(self) -> None:
        super().close()
        self.closed += 1


class Device:
    """A backend whose engines do as they are told; the fixture `device` registers it."""

    def __init__(self) -> None:
        self.engines: list[WatchedEngine] = []
        """All that were opened, the last one last."""
        self.asked_for: list[str] = []
        """The device that was asked for, of each attempt to open one."""
        self.greatest_batch = 256
        """More than that the engines do not take, whatever is asked for."""
        self.refuses = ''
        """Why an engine cannot be opened; '': it can."""
        self.ready = threading.Event()
        """Opening waits for this."""
        self.ready.set()

    def probe(self) -> str:
        return 'device: cpu'

    def open_bundle(self, bundle: Bundle, options: EngineOptions) -> Engine:
        self.ready.wait(10)
        self.asked_for.append(options.device)
        if self.refuses:
            raise BackendError(self.refuses)
        max_batch = min(options.max_batch, self.greatest_batch)
        self.engines.append(WatchedEngine(bundle, max_batch=max_batch))
        return self.engines[-1]


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, 'did not happen in time'
        time.sleep(0.001)
