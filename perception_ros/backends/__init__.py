"""Inference runtimes behind one contract (`base`); `open_engine` picks one."""

from __future__ import annotations

from importlib import import_module
import logging
from typing import cast, NamedTuple

from perception_ros.backends.base import (
    BackendModule,
    Engine,
    EngineInfo,
    EngineOptions,
    Outputs,
    Request,
)
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import BackendError

__all__ = [
    'BACKENDS', 'Backend', 'Engine', 'EngineInfo', 'EngineOptions', 'Outputs', 'Request',
    'load_backend', 'open_engine',
]

_log = logging.getLogger(__name__)


class Backend(NamedTuple):
    """Where a backend lives; its runtime is imported only when it is asked for."""

    module: str
    """Name of a module with the functions of `BackendModule`."""
    install: str = ''
    """How to get the runtime, for those who lack it."""
    auto: bool = True
    """Whether 'auto' may take it."""


BACKENDS: dict[str, Backend] = {
    'onnxruntime': Backend(f'{__name__}.onnxruntime', 'pip install onnxruntime'),
    'openvino': Backend(f'{__name__}.openvino', "pip install 'openvino>=2026.4'"),
    'fake': Backend(f'{__name__}.fake', auto=False),
}
"""Every backend by its name; 'auto' tries them in this order."""


def open_engine(
    bundle: Bundle, backend: str = 'auto', options: EngineOptions = EngineOptions()
) -> Engine:
    """Open a bundle with a backend of `BACKENDS`, or with 'auto': the first that can.

    :raises BackendError: no such backend, or it does not work here; with 'auto', none does.
    """
    if backend == 'auto':
        return _open_first(bundle, options)
    return load_backend(backend).open_bundle(bundle, options)


def load_backend(name: str) -> BackendModule:
    """Import a backend's module, and so its runtime.

    :raises BackendError: there is no such backend, or its runtime cannot be imported.
    """
    if name not in BACKENDS:
        *some, last = ['auto', *BACKENDS]
        raise BackendError(f'backend {name!r}: expected {", ".join(some)} or {last}')
    backend = BACKENDS[name]
    try:
        return cast(BackendModule, import_module(backend.module))
    except ImportError as error:
        raise BackendError(
            f'backend {name} does not work here: {error}; {backend.install}'
        ) from error


def _open_first(bundle: Bundle, options: EngineOptions) -> Engine:
    names = [name for name, backend in BACKENDS.items() if backend.auto]
    reasons = {}
    for name in names:
        try:
            engine = load_backend(name).open_bundle(bundle, options)
        except BackendError as error:
            reasons[name] = str(error)
            _log.warning('backend auto: not %s: %s', name, error)
        else:
            rest = ', '.join(names[len(reasons) + 1 :])
            _log.info('backend auto: %s%s', name, rest and f'; not tried: {rest}')
            return engine
    raise BackendError('backend auto: none works here. ' + '. '.join(
        f'{name}: {reason}' for name, reason in reasons.items()
    ))
