"""The engine: a plan on the GPU, two slots with a stream each, and in which order all is freed."""

from __future__ import annotations

import logging
import threading
from typing import Any, TYPE_CHECKING

import numpy as np

from perception_ros.backends.base import EngineInfo, EngineOptions, Request
from perception_ros.backends.cuda.device import Gpu
from perception_ros.backends.cuda.letterbox import KERNEL, SOURCE
from perception_ros.backends.cuda.nvrtc import compile_cubin
from perception_ros.backends.slots import CLOSED, SlotEngine, SLOTS
from perception_ros.backends.tensorrt.inspector import layers_of
from perception_ros.backends.tensorrt.library import Library
from perception_ros.backends.tensorrt.plans import name_of, plan_for
from perception_ros.backends.tensorrt.run import LoadedPlan
from perception_ros.backends.tensorrt.slot import GpuSlot
from perception_ros.bundles.bundle import Bundle
from perception_ros.bundles.contract import expected_input, expected_outputs, INPUT_NAME
from perception_ros.core.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt

_log = logging.getLogger(__name__)


class TensorRtEngine(SlotEngine):
    """A bundle's plan in TensorRT.

    Each slot has a stream of its own, so the copies of one overlap the other's computing. Camera
    images are letterboxed on the GPU. What a slot has is freed by `close`, or when the last slot
    comes back that was out then.

    :param options: `device` was chosen with `gpu`. The options of a build are those of the plan;
        `threads`, `performance_hint` and `graph_optimization` have no counterpart here.
    :param gpu: the engine's own from now on, unless an error is raised.
    :raises BackendError: the plan cannot be built or loaded, or its memory is not to be had.
    """

    def __init__(
        self, bundle: Bundle, options: EngineOptions, library: Library, gpu: Gpu
    ) -> None:
        size = bundle.manifest.input
        with gpu.current():
            plan = plan_for(bundle, options, library, name_of(gpu, library))
            engine = deserialize(plan.payload, options.dla_core, library)
            _check_tensors(engine, bundle, library)
            self._plan = LoadedPlan(
                engine,
                library,
                batch_size=options.max_batch if plan.profile.is_static else 0,
                cuda_graphs=options.cuda_graphs,
            )
            kernel = _letterbox_kernel(gpu)
            accelerator = f', DLA core {options.dla_core}' if options.dla_core >= 0 else ''
            super().__init__(
                EngineInfo(
                    backend=str(library),
                    device=f'cuda:{gpu.index} ({gpu.name}{accelerator})',
                    precision=plan.precision,
                    max_batch=options.max_batch,
                    input_size=(size.width, size.height),
                )
            )
            self._gpu = gpu
            self._library = library
            self._lock = threading.Lock()  # between closing, starting and lending
            self._lent: set[Request] = set()
            self._is_freed = False
            outputs = expected_outputs(bundle.manifest)
            self._slots = [GpuSlot(self, gpu, self._plan, outputs, kernel) for _ in range(SLOTS)]
        self._offer(self._slots)

    def request(self) -> Request:
        """Return a free slot, waiting for one if all are in use."""
        slot = super().request()
        with self._lock:
            if self._is_freed:
                raise BackendError(CLOSED)
            self._lent.add(slot)
        return slot

    def give_back(self, slot: Request) -> None:
        """Make a slot free again, or the engine's memory if it is closed and this was the last."""
        with self._lock:
            self._lent.discard(slot)
        super().give_back(slot)
        self._free_if_done()

    def begin(self, slot: GpuSlot, batch_size: int) -> BackendError | None:
        """Start a run, which goes on by itself, or return why it could not be started.

        :raises BackendError: the engine is closed.
        """
        with self._lock:
            if self._closed:
                raise BackendError(CLOSED)
            try:
                with self._gpu.current():
                    self._run(slot, batch_size)
            except BackendError as error:
                return error
        return None

    def warm_up(self) -> None:
        """Run every batch size on every slot, so that no frame waits for its graph."""
        super().warm_up()
        slots = [self.request() for _ in range(SLOTS)]
        try:
            for slot in slots:
                for batch_size in self._plan.batch_sizes(self.info.max_batch):
                    for _ in range(2):  # the first run of a size prepares, the second captures
                        slot.start(batch_size)
                        slot.result()
        finally:
            for slot in slots:
                slot.release()

    def report(self) -> dict[str, Any]:
        """Return what TensorRT's inspector says about the plan; see `inspector.layers_of`.

        :raises BackendError: the engine is closed.
        """
        with self._lock, self._gpu.current():
            if self._is_freed:
                raise BackendError(CLOSED)
            return layers_of(self._plan.engine, self._library)

    def close(self) -> None:
        """Wait for running requests, refuse new ones, free what no slot in use needs."""
        super().close()
        self._free_if_done()

    def _run(self, slot: GpuSlot, batch_size: int) -> None:
        slot.enqueue(batch_size)

    def _settle(self) -> None:
        with self._lock:
            for slot in self._slots:
                slot.wait()

    def _free_if_done(self) -> None:
        with self._lock:
            if not self._closed or self._lent or self._is_freed:
                return
            self._is_freed = True
            with self._gpu.current():
                for slot in self._slots:
                    slot.close()
                self._plan.close()
            self._slots.clear()
            self._gpu.close()


def deserialize(payload: bytes, dla_core: int, library: Library) -> trt.ICudaEngine:
    """Return a plan on the GPU whose context is current, or on the first one.

    :raises BackendError: there is no GPU, or the plan is not for it.
    """
    library.errors.clear()
    try:
        runtime = library.module.Runtime(library.logger)
        if dla_core >= 0:
            runtime.DLA_core = dla_core
        engine = runtime.deserialize_cuda_engine(payload)
    except (RuntimeError, TypeError) as error:  # pybind's words for a constructor that failed
        raise BackendError(
            f'{library} cannot start: {library.explain()}; check the driver'
        ) from error
    if engine is None:
        raise BackendError(
            f'{library} cannot load the plan: {library.explain()}; it needs a driver and the GPU '
            'that it is for; after `perception_ros cache --remove-after-days 0` it is built anew'
        )
    return engine


def _check_tensors(engine: trt.ICudaEngine, bundle: Bundle, library: Library) -> None:
    """Refuse a plan whose tensors are not those that the buffers are made for."""
    expected = {INPUT_NAME: expected_input(bundle.manifest), **expected_outputs(bundle.manifest)}
    wanted = {name: (spec.dtype, spec.shape[1:]) for name, spec in expected.items()}
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    came: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name in names:
        shape = engine.get_tensor_shape(name)
        dtype = np.dtype(library.module.nptype(engine.get_tensor_dtype(name))).name
        came[name] = (dtype, tuple(shape[axis] for axis in range(1, len(shape))))
    if came != wanted:
        raise BackendError(f'{library} made a plan with {came}; expected {wanted}')


def _letterbox_kernel(gpu: Gpu) -> int | None:
    """Return the kernel, or None where it cannot be compiled: then the CPU does its work."""
    try:
        cubin = compile_cubin(SOURCE.read_text('utf-8'), gpu.capability, gpu.cuda_version[0])
        return gpu.load(cubin, KERNEL)
    except BackendError as error:
        # Its text alone: a record of the error would keep the plan from being freed.
        _log.warning('images are letterboxed on the CPU: %s', str(error))
        return None
