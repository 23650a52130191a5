"""Inference runtimes behind one contract (`base`); `open_engine` picks one."""

from __future__ import annotations

from perception_ros.backends.base import Engine, EngineInfo, Outputs, Request
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import BackendError

__all__ = ['Engine', 'EngineInfo', 'Outputs', 'Request', 'open_engine']


def open_engine(
    bundle: Bundle,
    backend: str = 'auto',
    *,
    max_batch: int = 8,
    device: str = 'auto',
    threads: int = 0,
) -> Engine:
    """Open a bundle with a backend: 'auto', 'onnxruntime' or 'fake'.

    A runtime is imported only when it is asked for.

    :raises BackendError: no such backend, or it does not work here.
    """
    if backend in ('auto', 'onnxruntime'):
        try:
            from perception_ros.backends.onnxruntime import OnnxRuntimeEngine
        except ImportError as error:
            raise BackendError(
                f'backend onnxruntime does not work here: {error}; pip install onnxruntime'
            ) from error
        return OnnxRuntimeEngine(bundle, max_batch=max_batch, device=device, threads=threads)
    if backend == 'fake':
        from perception_ros.backends.fake import FakeEngine

        return FakeEngine(bundle, max_batch=max_batch)
    raise BackendError(f'backend {backend!r}: expected auto, onnxruntime or fake')
