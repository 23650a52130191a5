"""A double of TensorRT's runtime over the double of the driver: ONNX Runtime computes the answers.

A "plan" is the ONNX graph itself. What a context is told to do, its stream does as late as the
driver's double does anything. It refuses what TensorRT's documentation forbids: another shape or
address after the first run of a context, scratch memory that was not given, a second use of it at
once. It proves nothing about what TensorRT makes of a plan.
"""

from __future__ import annotations

from collections.abc import Callable
import ctypes
import enum
import json

import numpy as np
import onnxruntime as ort

__version__ = '10.13.0.35'

STATIC_BATCH = 0
"""If not 0, plans take this batch only."""

_CALLBACK = ctypes.CFUNCTYPE(None)
_kept: list[Callable[[], None]] = []
_TYPES = {'tensor(uint8)': np.uint8, 'tensor(float)': np.float32, 'tensor(int32)': np.int32}


class ILogger:
    INTERNAL_ERROR, ERROR = range(2)


class ExecutionContextAllocationStrategy(enum.Enum):
    USER_MANAGED = 2


class LayerInformationFormat(enum.Enum):
    JSON = 1


def nptype(dtype: type) -> type:
    return dtype


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self.DLA_core = -1

    def deserialize_cuda_engine(self, payload: bytes) -> ICudaEngine | None:
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = 1
        try:
            return ICudaEngine(ort.InferenceSession(payload, settings))
        except Exception as error:
            self._logger.log(ILogger.ERROR, f'not a plan: {error}')  # type: ignore[attr-defined]
            return None


class ICudaEngine:
    alive = 0

    def __init__(self, session: ort.InferenceSession) -> None:
        self.session = session
        self._tensors = {t.name: t for t in [*session.get_inputs(), *session.get_outputs()]}
        self.device_memory_size_v2 = 1000
        ICudaEngine.alive += 1

    def __del__(self) -> None:
        ICudaEngine.alive -= 1

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_dtype(self, name: str) -> type:
        return _TYPES[self._tensors[name].type]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (STATIC_BATCH or -1, *self._tensors[name].shape[1:])

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy
    ) -> IExecutionContext:
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        return IExecutionContext(self)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)


class EngineInspector:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine

    def get_engine_information(self, form: LayerInformationFormat) -> str:
        assert form is LayerInformationFormat.JSON
        return json.dumps({'Layers': ['all of it'], 'Bindings': list(self._engine._tensors)})


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}
        self._scratch = 0
        self._has_run = False

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory and size >= self._engine.device_memory_size_v2
        self._scratch = memory

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == 'images' and not self._has_run, 'its graph would be invalid'
        self._shape = shape
        return not STATIC_BATCH or shape[0] == STATIC_BATCH

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert not self._has_run, 'its graph would be invalid'
        self._addresses[name] = memory
        return name in self._engine._tensors

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert self._shape and self._scratch and len(self._addresses) == len(self._engine._tensors)
        self._has_run = True
        shape, addresses, session = self._shape, dict(self._addresses), self._engine.session

        def compute() -> None:
            images = _array(addresses['images'], shape, np.uint8)
            names = [output.name for output in session.get_outputs()]
            for name, answer in zip(names, session.run(names, {'images': images}), strict=True):
                _array(addresses[name], answer.shape, answer.dtype)[...] = answer

        callback = _CALLBACK(compute)
        _kept.append(callback)
        ctypes.CDLL('libcuda.so.1').double_give(ctypes.c_void_p(stream_handle), callback)
        return True


def _array(address: int, shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = (ctypes.c_uint8 * size).from_address(address)
    return np.frombuffer(memory, dtype).reshape(shape)
