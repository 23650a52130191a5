"""OpenVINO: its own asynchronous requests, reading our buffers in place.

Each slot is one of OpenVINO's infer requests. The input tensors for 1..max_batch images are views
of the slot's buffer, so a batch of any size runs without a copy and without another compilation:
the graph is compiled once, for a batch between 1 and max_batch.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray
import openvino as ov

from perception_ros.backends.base import Engine, EngineInfo, EngineOptions, Outputs
from perception_ros.backends.slots import CLOSED, NOT_STARTED, Slot, SlotEngine, SLOTS
from perception_ros.bundles.bundle import Bundle
from perception_ros.bundles.contract import expected_outputs, INPUT_NAME
from perception_ros.core.errors import BackendError, NoSuchDeviceError

VERSION = ov.get_version().partition('-')[0]

_PRECISIONS = {'f32': 'fp32', 'f16': 'fp16', 'bf16': 'bf16', 'i8': 'int8', 'u8': 'int8'}
_HEAVY = ('Convolution', 'Deconvolution', 'FullyConnected', 'MatMul')
"""Layers that a network spends its time in; their precision is the engine's."""


def probe() -> str:
    """Say which OpenVINO is here, and for which devices.

    :raises BackendError: it has no device.
    """
    devices = _core().available_devices
    if not devices:
        raise BackendError(f'openvino {VERSION} finds no device, not even a CPU; install it anew')
    return f'openvino {VERSION}: {", ".join(name.lower() for name in devices)}'


def open_bundle(bundle: Bundle, options: EngineOptions) -> Engine:
    """Return an engine for a bundle; see `OpenVinoEngine`."""
    return OpenVinoEngine(bundle, options)


class OpenVinoEngine(SlotEngine):
    """A bundle's graph, compiled by OpenVINO.

    :param options: `device` is 'auto' (the CPU), 'cpu', 'gpu' or 'gpu:<index>' (Intel's).
        `performance_hint` 'throughput' runs the slots side by side, each on its share of the
        cores. `graph_optimization` has no counterpart here.
    :raises BackendError: the device is not to be had, or the runtime refuses the graph.
    """

    def __init__(self, bundle: Bundle, options: EngineOptions) -> None:
        device = _device(options.device)
        try:
            compiled = _compile(bundle, device, options)
            requests = [compiled.create_infer_request() for _ in range(SLOTS)]
        except RuntimeError as error:
            raise BackendError(
                f'OpenVINO {VERSION} refuses {bundle.graph_path}: {error}'
            ) from error
        size = bundle.manifest.input
        super().__init__(
            EngineInfo(
                backend=f'openvino {VERSION}',
                device=_device_name(device),
                precision=_precision(compiled) or bundle.manifest.precision,
                max_batch=options.max_batch,
                input_size=(size.width, size.height),
            )
        )
        names = list(expected_outputs(bundle.manifest))
        self._lock = threading.Lock()  # between closing and starting
        self._slots = [
            _Slot(self, images, request, names)
            for images, request in zip(self._buffers(), requests, strict=True)
        ]
        self._offer(self._slots)

    def begin(self, request: ov.InferRequest, images: ov.Tensor) -> Exception | None:
        """Start a request, which goes on by itself, or return why it could not be started.

        :raises BackendError: the engine is closed.
        """
        with self._lock:
            if self._closed:
                raise BackendError(CLOSED)
            try:
                self._run(request, images)
            except (RuntimeError, BackendError) as error:
                return error
        return None

    def _run(self, request: ov.InferRequest, images: ov.Tensor) -> None:
        request.set_input_tensor(images)
        request.start_async()

    def _settle(self) -> None:
        with self._lock:
            slots, self._slots = self._slots, []
        for slot in slots:
            slot.wait()


class _Slot(Slot):
    def __init__(
        self,
        engine: OpenVinoEngine,
        images: NDArray[np.uint8],
        request: ov.InferRequest,
        names: list[str],
    ) -> None:
        super().__init__(engine, images)
        self._engine = engine
        self._request = request
        self._names = names
        self._tensors = [
            ov.Tensor(images[: n + 1], shared_memory=True) for n in range(len(images))
        ]
        self._started = False
        self._error: Exception | None = None

    def result(self) -> Outputs:
        if not self._started:
            raise BackendError(NOT_STARTED)
        self.wait()
        if self._error is not None:
            n = self._request.get_input_tensor().shape[0]
            raise BackendError(
                f'OpenVINO {VERSION} failed on a batch of {n}: {self._error}'
            ) from self._error
        return {name: self._request.get_tensor(name).data for name in self._names}

    def wait(self) -> None:
        """Wait for the run, if there is one, and keep its error for `result`."""
        if self._started and self._error is None:
            try:
                self._request.wait()
            except RuntimeError as error:
                self._error = error

    def _begin(self, batch_size: int) -> None:
        self._started = False
        self._error = self._engine.begin(self._request, self._tensors[batch_size - 1])
        self._started = True

    def _rest(self) -> None:
        self.wait()
        self._started, self._error = False, None


@cache
def _core() -> ov.Core:
    return ov.Core()


def _compile(bundle: Bundle, device: str, options: EngineOptions) -> ov.CompiledModel:
    model = _core().read_model(str(bundle.graph_path))
    size = bundle.manifest.input
    batch = ov.Dimension(1, options.max_batch)
    model.reshape({INPUT_NAME: ov.PartialShape([batch, size.height, size.width, 3])})
    settings: dict[str, Any] = {
        'PERFORMANCE_HINT': options.performance_hint.upper(),
        'PERFORMANCE_HINT_NUM_REQUESTS': SLOTS,
        # By default a CPU with bfloat16 units computes in bfloat16, whatever the graph says.
        'EXECUTION_MODE_HINT': 'ACCURACY',
    }
    if device == 'CPU':
        # Decoding, letterboxing and other models' engines need the same cores.
        settings['ENABLE_CPU_PINNING'] = False
        if options.threads:
            settings['INFERENCE_NUM_THREADS'] = options.threads
    return _core().compile_model(model, device, settings)


def _device(wanted: str) -> str:
    """Return OpenVINO's name of a device: 'CPU', 'GPU', 'GPU.1'."""
    kind, _, index = wanted.partition(':')
    if wanted in ('auto', 'cpu'):
        return 'CPU'
    if kind != 'gpu' or (index and not index.isdecimal()):
        raise NoSuchDeviceError(
            f'device {wanted!r}: expected auto, cpu, gpu or gpu:<index> with backend openvino'
        )
    name = f'GPU.{index}' if index else 'GPU'
    devices = _core().available_devices
    if not any(device == name or device.startswith(f'{name}.') for device in devices):
        raise BackendError(
            f'device {wanted!r}: OpenVINO {VERSION} finds only {", ".join(devices)}; install '
            "Intel's GPU driver, or set device to cpu"
        )
    return name


def _device_name(device: str) -> str:
    if device == 'CPU':
        return 'cpu'
    name = _core().get_property(device, 'FULL_DEVICE_NAME')
    return f'{device.lower().replace(".", ":")} ({name})'


def _precision(compiled: ov.CompiledModel) -> str:
    """Return the precision that most heavy layers were compiled to; '' where there are none."""
    used: Counter[str] = Counter()
    for layer in compiled.get_runtime_model().get_ops():
        info = layer.get_rt_info()
        if 'layerType' in info and info['layerType'].astype(str) in _HEAVY:
            used[info['runtimePrecision'].astype(str)] += 1
    name = used.most_common(1)[0][0] if used else ''
    return _PRECISIONS.get(name, name)
