"""Requests for runtimes that only know a blocking call: a few slots and a thread to run them."""

from __future__ import annotations

from abc import abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
import queue

import numpy as np
from numpy.typing import NDArray

from perception_ros.backends.base import Engine, EngineInfo, Outputs, Request
from perception_ros.core.errors import BackendError

SLOTS = 2
"""One batch runs while the next one is being prepared; more would only let frames grow old."""

CLOSED = 'the engine is closed; open it again to use it'


class SlotEngine(Engine):
    """An engine whose runtime has one blocking call, `_run`."""

    def __init__(self, info: EngineInfo, executor: ThreadPoolExecutor) -> None:
        self._info = info
        self._executor = executor
        self._closed = False
        self._slots: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        width, height = info.input_size
        for _ in range(SLOTS):
            self._slots.put(_Slot(self, np.zeros((info.max_batch, height, width, 3), np.uint8)))

    @abstractmethod
    def _run(self, images: NDArray[np.uint8]) -> Outputs:
        """Infer uint8 [n, H, W, 3] and return arrays that stay valid until the next call.

        :raises BackendError: the runtime failed.
        """

    def submit(self, images: NDArray[np.uint8]) -> Future[Outputs]:
        """Run uint8 [n, H, W, 3] behind whatever runs now."""
        try:
            return self._executor.submit(self._run, images)
        except RuntimeError as error:  # the executor's word for: shut down
            raise BackendError(CLOSED) from error

    def give_back(self, slot: _Slot) -> None:
        """Make a slot free again."""
        if not self._closed:
            self._slots.put(slot)

    def _free(self) -> None:
        """Let go of the runtime and its memory; nothing runs any more."""

    @property
    def info(self) -> EngineInfo:
        """What this engine really is."""
        return self._info

    def request(self) -> Request:
        """Return a free slot, waiting for one if both are in use."""
        slot = self._slots.get()
        if slot is None:
            self._slots.put(None)  # for the next one who waits
            raise BackendError(CLOSED)
        return slot

    def close(self) -> None:
        """Wait for running requests, then refuse new ones."""
        if not self._closed:
            self._closed = True
            self._executor.shutdown(wait=True)
            while not self._slots.empty():
                self._slots.get()
            self._slots.put(None)
            self._free()


class _Slot(Request):
    def __init__(self, engine: SlotEngine, images: NDArray[np.uint8]) -> None:
        self._engine = engine
        self._images = images
        self._future: Future[Outputs] | None = None

    @property
    def images(self) -> NDArray[np.uint8]:
        return self._images

    def start(self, batch_size: int) -> None:
        if not 1 <= batch_size <= len(self._images):
            raise ValueError(
                f"batch size: expected 1..{len(self._images)} (the engine's greatest batch); "
                f'got {batch_size}'
            )
        self._future = self._engine.submit(self._images[:batch_size])

    def result(self) -> Outputs:
        if self._future is None:
            raise BackendError('result() before start(): fill `images`, then call start(n)')
        return self._future.result()

    def release(self) -> None:
        if self._future is not None and not self._future.cancel():
            self._future.exception()  # wait: the buffer must be at rest before it is reused
        self._future = None
        self._engine.give_back(self)
