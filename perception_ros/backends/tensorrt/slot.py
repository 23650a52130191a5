"""A slot on the GPU: camera images in, letterboxed there; answers out, into page-locked memory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from perception_ros.backends.base import Outputs
from perception_ros.backends.cuda.device import Gpu
from perception_ros.backends.cuda.letterbox import BLOCK, CameraImage, grid
from perception_ros.backends.slots import NOT_STARTED, Slot
from perception_ros.backends.tensorrt.run import Buffer, LoadedPlan, Run
from perception_ros.bundles.contract import TensorSpec
from perception_ros.core.errors import BackendError
from perception_ros.core.image import Image
from perception_ros.core.letterbox import Letterbox

if TYPE_CHECKING:
    from perception_ros.backends.tensorrt.engine import TensorRtEngine


class GpuSlot(Slot):
    """One stream, and all the memory of one batch.

    :param outputs: what the plan gives; the batch is their first axis.
    :param kernel: that of letterbox.cu; None: images are letterboxed on the CPU.
    """

    def __init__(
        self,
        engine: TensorRtEngine,
        gpu: Gpu,
        plan: LoadedPlan,
        outputs: Mapping[str, TensorSpec],
        kernel: int | None,
    ) -> None:
        most, (width, height) = engine.info.max_batch, engine.info.input_size
        super().__init__(engine, gpu.page_locked((most, height, width, 3), np.uint8))
        self._images[...] = 0
        self._image_bytes = height * width * 3
        self._engine, self._gpu, self._plan, self._kernel = engine, gpu, plan, kernel
        self._stream, self._done = gpu.stream(), gpu.event()
        self._input = gpu.allocate(self._images.nbytes)
        self._scratch = gpu.allocate(plan.scratch_bytes)
        self._outputs = {name: _buffer(gpu, most, spec) for name, spec in outputs.items()}
        self._frames: dict[int, Buffer] = {}
        """Camera images on their way to the GPU, by their place in the batch."""
        self._runs: dict[int, Run] = {}
        self._written: set[int] = set()
        """Places that were letterboxed on the GPU, until `release`."""
        self._batch_size = 0
        """Of the run that was started; 0: none."""
        self._error: BackendError | None = None

    @property
    def letterboxes_on_cpu(self) -> bool:
        """Whether there is no kernel that does it."""
        return self._kernel is None

    def write(self, index: int, image: Image, letterbox: Letterbox) -> None:
        """Copy a camera's image to the GPU and letterbox it there into place `index`."""
        if not 0 <= index < len(self._images):
            raise IndexError(f'place {index}: expected one below {len(self._images)}')
        if letterbox.input_size != self._engine.info.input_size:
            raise ValueError(
                f'letterbox to {letterbox.input_size}: expected {self._engine.info.input_size}'
            )
        if self._kernel is None:
            super().write(index, image, letterbox)
            return
        source = CameraImage(image)
        with self._gpu.current():
            if index in self._written:
                self._gpu.synchronize(self._stream)  # the frame's buffer is still being copied
            frame = self._frame(index, source.data.nbytes)
            staged = frame.host[: source.data.nbytes]
            np.copyto(staged, source.data)
            self._gpu.upload(frame.address, staged, self._stream)
            self._written.add(index)
            self._gpu.launch(
                self._kernel,
                grid(letterbox),
                BLOCK,
                bytes(source.job(frame.address, self._place(index), letterbox)),
                self._stream,
            )

    def enqueue(self, batch_size: int) -> None:
        """Give the stream all that a run needs; nothing is waited for.

        :raises BackendError: TensorRT or CUDA refuses.
        """
        if not self._written:
            self._gpu.upload(self._input, self._images[:batch_size], self._stream)
        else:
            for index in set(range(batch_size)) - self._written:
                self._gpu.upload(self._place(index), self._images[index], self._stream)
        size = self._plan.runs_as(batch_size)
        try:
            self._run_of(size).start()
        except BackendError:
            with suppress(BackendError):  # what it has begun still needs its context
                self._gpu.synchronize(self._stream)
            self._runs.pop(size, None)  # whose state is unknown
            raise
        self._gpu.record(self._done, self._stream)

    def result(self) -> Outputs:
        """Wait for the run and return views of page-locked memory."""
        if not self._batch_size:
            raise BackendError(NOT_STARTED)
        self.wait()
        n = self._batch_size
        if self._error is not None:
            raise BackendError(
                f'{self._engine.info.backend} failed on a batch of {n}: {self._error}'
            ) from self._error
        return {name: buffer.host[:n] for name, buffer in self._outputs.items()}

    def wait(self) -> None:
        """Wait for the run, if there is one, and keep its error for `result`."""
        if self._batch_size and self._error is None:
            try:
                with self._gpu.current():
                    self._gpu.wait(self._done)
            except BackendError as error:
                self._error = error

    def close(self) -> None:
        """Free the execution contexts; all else is the GPU's to free."""
        self._runs.clear()

    def _begin(self, batch_size: int) -> None:
        self._batch_size = 0
        self._error = self._engine.begin(self, batch_size)
        self._batch_size = batch_size

    def _rest(self) -> None:
        if self._written or self._batch_size:
            with self._gpu.current(), suppress(BackendError):  # whoever runs next is told
                self._gpu.synchronize(self._stream)
        self._written.clear()
        self._batch_size, self._error = 0, None

    def _place(self, index: int) -> int:
        """Return the address of an image of the input."""
        return self._input + index * self._image_bytes

    def _run_of(self, batch_size: int) -> Run:
        if batch_size not in self._runs:
            self._runs[batch_size] = Run(
                self._plan,
                self._gpu,
                self._stream,
                batch_size,
                self._images.shape[1:],
                self._input,
                self._outputs,
                self._scratch,
            )
        return self._runs[batch_size]

    def _frame(self, index: int, size: int) -> Buffer:
        """Return a buffer of at least `size` bytes; it grows at least twofold, so seldom."""
        frame = self._frames.get(index)
        if frame is None or frame.host.nbytes < size:
            size = max(size, 2 * frame.host.nbytes if frame else 0)
            host = self._gpu.page_locked((size,), np.uint8)
            frame = self._frames[index] = Buffer(host, self._gpu.allocate(size))
        return frame


def _buffer(gpu: Gpu, batch_size: int, spec: TensorSpec) -> Buffer:
    host = gpu.page_locked((batch_size, *(n or 0 for n in spec.shape[1:])), spec.dtype)
    return Buffer(host, gpu.allocate(host.nbytes))
