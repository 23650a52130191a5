"""Requests for runtimes that only know a blocking call: a few slots and a thread to run them."""

from __future__ import annotations

import queue
from abc import abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from perception_ros.backends.base import Engine, EngineInfo, Outputs, Request
from perception_ros.core.errors import BackendError

SLOTS = 2
"""One batch runs while the next one is being prepared; more would only let frames grow old."""


class SlotEngine(Engine):
    """An engine whose runtime has one blocking call, `_run`."""

    def __init__(self, info: EngineInfo, executor: ThreadPoolExecutor) -> None:
        self._info = info
        self._executor = executor
        self._closed = False
        self._free: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        width, height = info.input_size
        for _ in range(SLOTS):
            self._free.put(_Slot(self, np.zeros((info.max_batch, height, width, 3), np.uint8)))

    @abstractmethod
    def _run(self, images: NDArray[np.uint8]) -> Outputs:
        """Infer uint8 [n, H, W, 3] and return arrays that stay valid until the next call.

        :raises BackendError: the runtime failed.
        """

    @property
    def info(self) -> EngineInfo:
        """What this engine really is."""
        return self._info

    def request(self, batch_size: int) -> Request:
        """Return a free slot, waiting for one if both are in use."""
        if not 1 <= batch_size <= self._info.max_batch:
            raise ValueError(
                f'batch size must be in 1..{self._info.max_batch} (the engine\'s greatest batch); '
                f'got {batch_size}'
            )
        slot = self._free.get()
        if slot is None:
            self._free.put(None)  # for the next one who waits
            raise BackendError('the engine is closed; open it again to use it')
        slot.take(batch_size)
        return slot

    def close(self) -> None:
        """Wait for running requests, then refuse new ones."""
        if not self._closed:
            self._closed = True
            self._executor.shutdown(wait=True)
            while not self._free.empty():
                self._free.get()
            self._free.put(None)


class _Slot(Request):
    def __init__(self, engine: SlotEngine, buffer: NDArray[np.uint8]) -> None:
        self._engine = engine
        self._buffer = buffer
        self._images = buffer[:0]
        self._future: Future[Outputs] | None = None

    def take(self, batch_size: int) -> None:
        self._images = self._buffer[:batch_size]
        self._future = None

    @property
    def images(self) -> NDArray[np.uint8]:
        return self._images

    def start(self) -> None:
        try:
            self._future = self._engine._executor.submit(self._engine._run, self._images)
        except RuntimeError as error:
            raise BackendError('the engine is closed; open it again to use it') from error

    def result(self) -> Outputs:
        if self._future is None:
            raise BackendError('result() before start(): fill `images`, then call start()')
        return self._future.result()

    def release(self) -> None:
        if self._future is not None:
            self._future.cancel() or self._future.exception()  # the buffer must be at rest
            self._future = None
        if not self._engine._closed:
            self._engine._free.put(self)
