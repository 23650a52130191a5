"""ONNX Runtime: on the CPU everywhere, on CUDA where the GPU build of the package is installed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
import onnxruntime as ort

from perception_ros.backends.base import EngineInfo, Outputs
from perception_ros.backends.slots import SlotEngine
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import BackendError


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
        wanted, where = _providers(device)
        try:
            self._session = ort.InferenceSession(str(bundle.graph_path), options, wanted)
        except Exception as error:  # the runtime raises many types, none of them documented
            raise BackendError(
                f'ONNX Runtime {ort.__version__} refuses {bundle.graph_path}: {error}'
            ) from error
        if wanted[0] not in self._session.get_providers():
            raise BackendError(
                f'device {device!r}: ONNX Runtime could not start {wanted[0]} and fell back to '
                f'{self._session.get_providers()}; check the driver, or set device to cpu'
            )
        self._names = [output.name for output in self._session.get_outputs()]
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

    def _run(self, images: NDArray[np.uint8]) -> Outputs:
        try:
            return dict(zip(self._names, self._session.run(None, {'images': images}), strict=True))
        except Exception as error:  # as above
            raise BackendError(
                f'ONNX Runtime failed on a batch of {len(images)}: {error}'
            ) from error


def _providers(device: str) -> tuple[list[str | tuple[str, dict[str, str]]], str]:
    """Return ONNX Runtime's providers for a device, and the device's full name."""
    has_cuda = 'CUDAExecutionProvider' in ort.get_available_providers()
    if device == 'cpu' or (device == 'auto' and not has_cuda):
        return ['CPUExecutionProvider'], 'cpu'
    if device != 'auto' and not device.startswith('cuda'):
        raise BackendError(f'device {device!r}: expected auto, cpu, cuda or cuda:<index>')
    if not has_cuda:
        raise BackendError(
            f'device {device!r}: this ONNX Runtime has only {ort.get_available_providers()}; '
            'install onnxruntime-gpu in place of onnxruntime, or set device to cpu'
        )
    index = device.partition(':')[2] or '0'
    return ['CUDAExecutionProvider', 'CPUExecutionProvider'], f'cuda:{index}'
