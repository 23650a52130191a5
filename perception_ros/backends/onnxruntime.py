"""ONNX Runtime: on the CPU everywhere, on CUDA and TensorRT where its GPU build is installed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import replace
from functools import lru_cache
from io import StringIO
import logging

import numpy as np
from numpy.typing import NDArray
import onnxruntime as ort

from perception_ros.backends.base import Engine, EngineInfo, EngineOptions, Outputs
from perception_ros.backends.slots import BlockingEngine
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import BackendError, NoSuchDeviceError
from perception_ros.core.machine import usable_cores

_log = logging.getLogger(__name__)

_CPU, _CUDA, _TENSORRT = (
    f'{name}ExecutionProvider' for name in ('CPU', 'CUDA', 'Tensorrt')
)

_OF_PROVIDER = {_CUDA: {'cudnn_conv_algo_search': 'HEURISTIC'}}
"""By default cuDNN tries every algorithm, which took 4 s a batch size on an H100."""

_OPTIMIZATION = {
    'disabled': ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    'basic': ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    'extended': ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    'all': ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}

Provider = tuple[str, dict[str, str]]
"""Name of an execution provider of ONNX Runtime, and its options."""


class _Lanes:
    """As many threads as a call may take, each of which runs one image at a time."""

    def __init__(self, threads: int, session: ort.InferenceSession) -> None:
        self.threads = threads
        self.session = session
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix='onnxruntime lane')


def probe() -> str:
    """Say which ONNX Runtime is here, and which providers this build has."""
    available = ort.get_available_providers()
    names = ', '.join(name.removesuffix('ExecutionProvider').lower() for name in available)
    # Whether a GPU's provider can start is known only when it is asked to.
    tried = ' (a GPU is tried when a bundle is opened)' if _CUDA in available else ''
    return f'onnxruntime {ort.__version__}: {names}{tried}'


def open_bundle(bundle: Bundle, options: EngineOptions) -> Engine:
    """Return an engine for a bundle; see `OnnxRuntimeEngine`."""
    return OnnxRuntimeEngine(bundle, options)


class OnnxRuntimeEngine(BlockingEngine):
    """A bundle's graph in an ONNX Runtime session.

    :param options: `device` is 'auto' (CUDA if it works here, else the CPU), 'cpu', 'cuda',
        'cuda:<index>', 'tensorrt' or 'tensorrt:<index>'. `performance_hint` has no counterpart
        here.
    :raises BackendError: the device is not to be had, or the runtime refuses the graph.

    On the CPU a batch of at least as many images as threads is run image by image, each in one
    thread: threads that share an operation wait for one another, and the activations of one image
    stay in the cache. A smaller batch is one call, in which all threads take part.

    On a GPU each call has one of a few sizes, and each of these a session of its own: one session
    plans its convolutions anew whenever the size of its batch changes (0.2 to 4 s on an H100).
    """

    def __init__(self, bundle: Bundle, options: EngineOptions) -> None:
        wanted, where = providers(options.device, ort.get_available_providers())
        session = _session(bundle, options, wanted)
        if wanted[0][0] not in session.get_providers():
            problem = (
                f'device {options.device!r}: ONNX Runtime could not start {wanted[0][0]} and fell '
                f'back to {session.get_providers()}; check the driver, or set device to cpu'
            )
            if options.device != 'auto':
                raise BackendError(problem)
            _log.warning('%s', problem)
            where = 'cpu'
        self._session: ort.InferenceSession | None = session
        """Takes any batch; on a GPU, the greatest one alone."""
        is_cpu = where == 'cpu'
        smaller = () if is_cpu else call_sizes(options.max_batch)[:-1]
        self._smaller = {size: _session(bundle, options, wanted) for size in smaller}
        threads = options.threads or usable_cores()
        self._lanes: _Lanes | None = None
        if is_cpu and 1 < threads <= options.max_batch:
            self._lanes = _Lanes(threads, _session(bundle, replace(options, threads=1), wanted))
        self._names = [output.name for output in session.get_outputs()]
        size = bundle.manifest.input
        super().__init__(
            EngineInfo(
                backend=f'onnxruntime {ort.__version__}',
                device=where,
                precision=bundle.manifest.precision,
                max_batch=options.max_batch,
                input_size=(size.width, size.height),
            ),
            ThreadPoolExecutor(1, thread_name_prefix='onnxruntime'),
        )

    def call_size(self, batch_size: int) -> int:
        """Return the batch on the CPU, on a GPU the next size that has a session."""
        if self.info.device == 'cpu':
            return batch_size
        return min((n for n in self._smaller if n >= batch_size), default=self.info.max_batch)

    def _submit(self, images: NDArray[np.uint8]) -> Sequence[Future[Outputs]]:
        lanes = self._lanes
        if lanes is None or len(images) < lanes.threads:
            return super()._submit(images)
        return [
            lanes.executor.submit(self._call, lanes.session, images[index : index + 1])
            for index in range(len(images))
        ]

    def _run(self, images: NDArray[np.uint8]) -> Outputs:
        session = self._smaller.get(len(images), self._session)
        assert session is not None  # requests are refused before it is freed
        return self._call(session, images)

    def _call(self, session: ort.InferenceSession, images: NDArray[np.uint8]) -> Outputs:
        try:
            return dict(zip(self._names, session.run(None, {'images': images}), strict=True))
        except Exception as error:  # as in _session
            raise BackendError(
                f'ONNX Runtime failed on a batch of {len(images)}: {error}'
            ) from error

    def _settle(self) -> None:
        super()._settle()
        if self._lanes:
            self._lanes.executor.shutdown(wait=True)
        # Cleanup and configure must not hold two engines on one GPU.
        self._session, self._smaller, self._lanes = None, {}, None


def _session(
    bundle: Bundle, options: EngineOptions, wanted: list[Provider]
) -> ort.InferenceSession:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.log_severity_level = 3
    settings.graph_optimization_level = _OPTIMIZATION[options.graph_optimization]
    # Spinning idle threads would take the cores from decoding and letterboxing the next batch.
    settings.add_session_config_entry('session.intra_op.allow_spinning', '0')
    if wanted[0][0] != _CPU:
        _load_cuda()
    try:
        return ort.InferenceSession(str(bundle.graph_path), settings, wanted)
    except Exception as error:  # the runtime raises many types, none of them documented
        raise BackendError(
            f'ONNX Runtime {ort.__version__} refuses {bundle.graph_path}: {error}'
        ) from error


def call_sizes(max_batch: int) -> tuple[int, ...]:
    """Return the sizes of calls on a GPU: the powers of two below the greatest batch, and that."""
    powers = (1 << exponent for exponent in range(max_batch.bit_length()))
    return (*(size for size in powers if size < max_batch), max_batch)


@lru_cache(maxsize=1)
def _load_cuda() -> None:
    """Load CUDA and cuDNN where they came as Python packages, which no linker looks for."""
    if preload := getattr(ort, 'preload_dlls', None):
        with redirect_stdout(StringIO()):  # it complains of what the system has instead
            preload()


def providers(device: str, available: Sequence[str]) -> tuple[list[Provider], str]:
    """Return ONNX Runtime's providers for a device, best first, and the device's full name.

    :param available: names of the providers that this build of ONNX Runtime has.
    :raises BackendError: there is no such device, or this build has no provider for it.
    """
    kind, _, index = device.partition(':')
    index = index or '0'
    if device == 'auto':
        kind = 'cuda' if _CUDA in available else 'cpu'
    elif (device != 'cpu' and kind not in ('cuda', 'tensorrt')) or not index.isdecimal():
        raise NoSuchDeviceError(
            f'device {device!r}: expected auto, cpu, cuda, cuda:<index>, tensorrt or '
            'tensorrt:<index> with backend onnxruntime'
        )
    if kind == 'cpu':
        return [(_CPU, {})], 'cpu'
    # What TensorRT leaves over goes to CUDA, and what that leaves over to the CPU.
    names = [_TENSORRT, _CUDA] if kind == 'tensorrt' else [_CUDA]
    if names[0] not in available:
        raise BackendError(
            f'device {device!r}: this ONNX Runtime has only {list(available)}; '
            'install onnxruntime-gpu in place of onnxruntime, or set device to cpu'
        )
    chosen: list[Provider] = [
        (name, {'device_id': index, **_OF_PROVIDER.get(name, {})})
        for name in names if name in available
    ]
    return [*chosen, (_CPU, {})], f'{kind}:{index}'
