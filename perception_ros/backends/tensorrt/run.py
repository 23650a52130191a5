"""Runs of a loaded plan: one execution context, and one CUDA graph, for each batch size of a slot.

A context whose shapes and addresses never change is what a graph needs: TensorRT's own advice for
dynamic shapes. So nothing ever makes a graph invalid but an error, which costs the whole run. The
contexts of a slot share their scratch memory, since its runs follow one another on one stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import logging
from typing import Any, NamedTuple, TYPE_CHECKING

from numpy.typing import NDArray

from perception_ros.backends.cuda.device import Gpu
from perception_ros.backends.tensorrt.library import Library
from perception_ros.bundles.contract import INPUT_NAME
from perception_ros.core.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt

_log = logging.getLogger(__name__)


class Buffer(NamedTuple):
    """A tensor's two places: page-locked on the host, and on the GPU; for max_batch images."""

    host: NDArray[Any]
    address: int


class LoadedPlan:
    """A plan on the GPU, and how it is run.

    :param batch_size: the only one that the plan takes; 0: from 1 to its greatest.
    :param cuda_graphs: whether runs are captured.
    """

    def __init__(
        self, engine: trt.ICudaEngine, library: Library, *, batch_size: int, cuda_graphs: bool
    ) -> None:
        self._engine: trt.ICudaEngine | None = engine
        self._library = library
        self._batch_size = batch_size
        self.cuda_graphs = cuda_graphs
        # Its kernels are exchanged for better ones while it runs; only it knows when.
        self.captures = cuda_graphs and not library.is_rtx

    @property
    def engine(self) -> trt.ICudaEngine:
        """The library's own object."""
        assert self._engine is not None  # runs are refused before it is freed
        return self._engine

    @property
    def scratch_bytes(self) -> int:
        """What one run needs besides its inputs and outputs."""
        return max(int(self.engine.device_memory_size_v2), 1)

    def explain(self) -> str:
        """Return what the library has complained of, with its name."""
        return f'{self._library}: {self._library.explain()}'

    def runs_as(self, batch_size: int) -> int:
        """Return the batch size that is really run: a static plan takes no other than its own."""
        return self._batch_size or batch_size

    def batch_sizes(self, greatest: int) -> list[int]:
        """Return all batch sizes that are really run."""
        return [self._batch_size] if self._batch_size else list(range(1, greatest + 1))

    def context(self) -> trt.IExecutionContext:
        """Return a context that is still to be given its scratch memory.

        :raises BackendError: there is not enough memory, most likely.
        """
        strategy = self._library.module.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._library.is_rtx:
            config: Any = self.engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            if self.cuda_graphs:
                strategies = self._library.module.CudaGraphStrategy
                config.cuda_graph_strategy = strategies.WHOLE_GRAPH_CAPTURE
            context = self.engine.create_execution_context(config)
        else:
            context = self.engine.create_execution_context(strategy)
        if context is None:
            raise BackendError(f'no execution context: {self.explain()}')
        return context

    def close(self) -> None:
        """Free the plan; its contexts must be gone."""
        self._engine = None


class Run:
    """One batch size on one slot, ready to be started any number of times.

    :param batch_size: one that `LoadedPlan.runs_as` gave.
    :param images: address of the input.
    :param scratch: address of `LoadedPlan.scratch_bytes`, which no other run uses meanwhile.
    :raises BackendError: TensorRT refuses it.
    """

    def __init__(
        self,
        plan: LoadedPlan,
        gpu: Gpu,
        stream: int,
        batch_size: int,
        input_shape: Sequence[int],
        images: int,
        outputs: Mapping[str, Buffer],
        scratch: int,
    ) -> None:
        self._plan, self._gpu, self._stream = plan, gpu, stream
        self._downloads = [(b.host[:batch_size], b.address) for b in outputs.values()]
        self._graph: int | None = None
        self._started = False
        context = plan.context()
        context.set_device_memory(scratch, plan.scratch_bytes)
        addresses = {INPUT_NAME: images, **{n: b.address for n, b in outputs.items()}}
        if not (
            context.set_input_shape(INPUT_NAME, (batch_size, *input_shape))
            and all(context.set_tensor_address(name, at) for name, at in addresses.items())
        ):
            raise BackendError(f'a batch of {batch_size} is refused: {plan.explain()}')
        self._context = context

    def start(self) -> None:
        """Compute and copy the outputs to the host, behind what the stream has to do.

        The first time it is done plainly, which lets TensorRT prepare itself; the second time a
        graph is captured, if the plan is to.

        :raises BackendError: TensorRT or CUDA refuses; the run is not to be used again.
        """
        if self._graph is None and self._started and self._plan.captures:
            self._capture()
        if self._graph is None:
            self._enqueue()
        else:
            self._gpu.replay(self._graph, self._stream)
        self._started = True

    def _capture(self) -> None:
        try:
            self._graph = self._gpu.capture(self._stream, self._enqueue)
        except BackendError as error:
            self._plan.captures = False
            # Its text alone: a record of the error would keep the context from being freed.
            _log.info('runs go on without CUDA graphs: %s', str(error))

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise BackendError(self._plan.explain())
        for array, address in self._downloads:
            self._gpu.download(array, address, self._stream)
