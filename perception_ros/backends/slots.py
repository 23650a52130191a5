"""A few request slots: who waits for one, and what closing means.

`SlotEngine` is for runtimes that run asynchronously themselves, `BlockingEngine` for those that
only know a blocking call.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
import queue

import numpy as np
from numpy.typing import NDArray

from perception_ros.backends.base import Engine, EngineInfo, Outputs, Request
from perception_ros.core.errors import BackendError

SLOTS = 2
"""One batch runs while the next one is being prepared; more would only let frames grow old."""

CLOSED = 'the engine is closed; open it again to use it'
NOT_STARTED = 'result() before start(): fill `images`, then call start(n)'


class SlotEngine(Engine):
    """An engine with a few slots, which its class makes and hands over with `_offer`."""

    def __init__(self, info: EngineInfo) -> None:
        self._info = info
        self._closed = False
        self._free: queue.SimpleQueue[Request | None] = queue.SimpleQueue()

    @abstractmethod
    def _settle(self) -> None:
        """Wait for what runs and let nothing new begin. Called once, when the engine closes."""

    def _offer(self, slots: Iterable[Request]) -> None:
        for slot in slots:
            self._free.put(slot)

    def _buffers(self) -> list[NDArray[np.uint8]]:
        """Return an input buffer uint8 [max_batch, H, W, 3] for each slot."""
        width, height = self._info.input_size
        shape = (self._info.max_batch, height, width, 3)
        return [np.zeros(shape, np.uint8) for _ in range(SLOTS)]

    def give_back(self, slot: Request) -> None:
        """Make a slot free again."""
        if not self._closed:
            self._free.put(slot)

    @property
    def info(self) -> EngineInfo:
        """What this engine really is."""
        return self._info

    def request(self) -> Request:
        """Return a free slot, waiting for one if all are in use."""
        slot = self._free.get()
        if slot is None:
            self._free.put(None)  # for the next one who waits
            raise BackendError(CLOSED)
        return slot

    def close(self) -> None:
        """Wait for running requests, then refuse new ones."""
        if not self._closed:
            self._closed = True
            self._settle()
            while not self._free.empty():
                self._free.get()
            self._free.put(None)


class Slot(Request):
    """What the slots of every runtime have in common."""

    def __init__(self, engine: SlotEngine, images: NDArray[np.uint8]) -> None:
        self._owner = engine
        self._images = images

    @property
    def images(self) -> NDArray[np.uint8]:
        """Input, uint8 [max_batch, H, W, 3] RGB."""
        return self._images

    def start(self, batch_size: int) -> None:
        """Begin a run of the first `batch_size` images."""
        if not 1 <= batch_size <= len(self._images):
            raise ValueError(
                f"batch size: expected 1..{len(self._images)} (the engine's greatest batch); "
                f'got {batch_size}'
            )
        self._begin(batch_size)

    def release(self) -> None:
        """Give the slot back once nothing reads its input any more."""
        self._rest()
        self._owner.give_back(self)

    @abstractmethod
    def _begin(self, batch_size: int) -> None:
        """As `start`, of a batch that fits."""

    @abstractmethod
    def _rest(self) -> None:
        """Wait until nothing reads the input any more, and forget the run and its errors."""


class FutureSlot(Slot):
    """A slot whose run is one future or several, each for a part of the batch: `_begin` sets."""

    def __init__(self, engine: SlotEngine, images: NDArray[np.uint8]) -> None:
        super().__init__(engine, images)
        self._futures: Sequence[Future[Outputs]] = ()

    def result(self) -> Outputs:
        """Wait for the run and return its outputs."""
        if not self._futures:
            raise BackendError(NOT_STARTED)
        parts = [future.result() for future in self._futures]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _rest(self) -> None:
        for future in self._futures:
            if not future.cancel():
                future.exception()  # waits
        self._futures = ()


class BlockingEngine(SlotEngine):
    """An engine whose runtime has one blocking call, `_run`, and a thread for it."""

    def __init__(self, info: EngineInfo, executor: ThreadPoolExecutor) -> None:
        super().__init__(info)
        self._executor = executor
        self._offer(_BlockingSlot(self, images) for images in self._buffers())

    @abstractmethod
    def _run(self, images: NDArray[np.uint8]) -> Outputs:
        """Infer uint8 [n, H, W, 3] and return arrays that no later call writes to.

        :raises BackendError: the runtime failed.
        """

    def call_size(self, batch_size: int) -> int:
        """Return how many images a call takes for such a batch; what is more is padding."""
        return batch_size

    def submit(self, images: NDArray[np.uint8]) -> Sequence[Future[Outputs]]:
        """Run uint8 [n, H, W, 3] behind whatever runs now, in one part or several, in order."""
        try:
            return self._submit(images)
        except RuntimeError as error:  # an executor's word for: shut down
            raise BackendError(CLOSED) from error

    def _submit(self, images: NDArray[np.uint8]) -> Sequence[Future[Outputs]]:
        return [self._executor.submit(self._run, images)]

    def _settle(self) -> None:
        self._executor.shutdown(wait=True)


class _BlockingSlot(FutureSlot):
    def __init__(self, engine: BlockingEngine, images: NDArray[np.uint8]) -> None:
        super().__init__(engine, images)
        self._engine = engine
        self._batch_size = 0

    def result(self) -> Outputs:
        """Wait for the run and return its outputs, without those of the padding."""
        return {name: array[: self._batch_size] for name, array in super().result().items()}

    def _begin(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._futures = self._engine.submit(self._images[: self._engine.call_size(batch_size)])
