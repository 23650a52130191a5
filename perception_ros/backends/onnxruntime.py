"""ONNX Runtime: on the CPU everywhere, on CUDA where the GPU build of the package is installed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import logging
import re
from typing import Any

import numpy as np
import onnxruntime as ort

from perception_ros.backends.base import EngineInfo, Outputs
from perception_ros.backends.slots import SlotEngine
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import BackendError

_log = logging.getLogger(__name__)

CUDA = 'CUDAExecutionProvider'


class OnnxRuntimeEngine(SlotEngine):
    """A bundle's graph in an ONNX Runtime session.

    :param device: 'auto' (CUDA if it works here, else CPU), 'cpu', 'cuda' or 'cuda:<index>'.
    :param threads: CPU threads of one call; 0: the runtime chooses.
    :raises BackendError: the device is not to be had, or the runtime refuses the graph.
    """

    def __init__(
        self, bundle: Bundle, *, max_batch: int, device: str = 'auto', threads: int = 0
    ) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Spinning idle threads would take the cores from decoding and letterboxing the next batch.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        session, where = _open(bundle, options, device)
        self._session: ort.InferenceSession | None = session
        self._names = [output.name for output in session.get_outputs()]
        size = bundle.manifest.input
        super().__init__(
            EngineInfo(
                backend=f'onnxruntime {ort.__version__}',
                device=where,
                precision=bundle.manifest.precision,
                max_batch=max_batch,
                input_size=(size.width, size.height),
            ),
            ThreadPoolExecutor(1, thread_name_prefix='onnxruntime'),
        )

    def _run(self, images: np.ndarray) -> Outputs:
        assert self._session is not None  # requests are refused before it is freed
        try:
            return dict(zip(self._names, self._session.run(None, {'images': images}), strict=True))
        except Exception as error:  # the runtime raises many types, none of them documented
            raise BackendError(
                f'ONNX Runtime failed on a batch of {len(images)}: {error}'
            ) from error

    def _free(self) -> None:
        self._session = None


def _open(
    bundle: Bundle, options: ort.SessionOptions, device: str
) -> tuple[ort.InferenceSession, str]:
    """Return a session on the device that was asked for, and that device's name."""
    index = _cuda_index(device)
    if device == 'cpu' or (device == 'auto' and CUDA not in ort.get_available_providers()):
        return _session(bundle, options, ['CPUExecutionProvider']), 'cpu'
    if CUDA not in ort.get_available_providers():
        raise BackendError(
            f'device {device!r}: this ONNX Runtime has only {ort.get_available_providers()}; '
            'install onnxruntime-gpu in place of onnxruntime, or set device to cpu'
        )
    providers = [(CUDA, {'device_id': str(index)}), 'CPUExecutionProvider']
    session = _session(bundle, options, providers)
    if CUDA in session.get_providers():
        return session, f'cuda:{index}'
    # The runtime falls back by itself, and says so in its own log at best.
    reason = f'device {device!r}: ONNX Runtime could not start CUDA; check the driver'
    if device != 'auto':
        raise BackendError(f'{reason}, or set device to cpu')
    _log.warning('%s. Inferring on the CPU', reason)
    return session, 'cpu'


def _cuda_index(device: str) -> int:
    match = re.fullmatch(r'auto|cpu|cuda(?::(\d+))?', device)
    if match is None:
        raise BackendError(f'device {device!r}: expected auto, cpu, cuda or cuda:<index>')
    return int(match[1] or 0)


def _session(
    bundle: Bundle, options: ort.SessionOptions, providers: list[Any]
) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(str(bundle.graph_path), options, providers)
    except Exception as error:  # the runtime raises many types, none of them documented
        raise BackendError(
            f'ONNX Runtime {ort.__version__} refuses {bundle.graph_path}: {error}'
        ) from error
