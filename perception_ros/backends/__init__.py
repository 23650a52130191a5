"""Inference runtimes behind one contract (`base`); `open_engine` picks one."""

from __future__ import annotations

from dataclasses import replace
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
from perception_ros.backends.fallback import Candidate, open_with_fallback
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import BackendError, NoSuchDeviceError, NotInstalledError

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
    'tensorrt': Backend(f'{__name__}.tensorrt'),
    'tensorrt_rtx': Backend(f'{__name__}.tensorrt.rtx'),
    'onnxruntime': Backend(f'{__name__}.onnxruntime', 'pip install onnxruntime'),
    'openvino': Backend(f'{__name__}.openvino', "pip install 'openvino>=2026.4'"),
    'triton': Backend(f'{__name__}.triton', "pip install 'tritonclient[grpc]'", auto=False),
    'fake': Backend(f'{__name__}.fake', auto=False),
}
"""Every backend by its name; 'auto' tries them in this order."""


def open_engine(
    bundle: Bundle,
    backend: str = 'auto',
    options: EngineOptions = EngineOptions(),
    *,
    fallback: str = '',
    fallback_device: str = 'auto',
    background: bool = False,
) -> Engine:
    """Open a bundle with a backend of `BACKENDS`, or with 'auto': the first that can.

    :param fallback: backend that serves if the first one cannot be opened or fails again and
        again (`backends.fallback` has the rules); '': none.
    :param fallback_device: as `options.device`, for the fallback.
    :param background: let the fallback serve while the first one is being opened.
    :raises BackendError: no such backend, or it does not work here; with 'auto', none does.
    """
    if not fallback:
        return _open(bundle, backend, options)
    for name in (backend, fallback):
        _check_name(name)  # now, not on the day when it is needed

    def candidate(name: str, device: str) -> Candidate:
        return Candidate(
            name, lambda n: _open(bundle, name, replace(options, max_batch=n, device=device))
        )

    return open_with_fallback(
        bundle.manifest.name,
        candidate(backend, options.device),
        candidate(fallback, fallback_device),
        options.max_batch,
        background=background,
    )


def load_backend(name: str) -> BackendModule:
    """Import a backend's module, and so its runtime.

    :raises NotInstalledError: its runtime is not here.
    :raises BackendError: there is no such backend, or its runtime cannot be imported.
    """
    _check_name(name)
    backend = BACKENDS[name]
    try:
        return cast(BackendModule, import_module(backend.module))
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError)
        kind = NotInstalledError if absent else BackendError
        raise kind(f'backend {name} does not work here: {error}; {backend.install}') from error


def _check_name(name: str) -> None:
    names = ['auto', *BACKENDS]
    if name not in names:
        raise BackendError(f'backend {name!r}: expected {", ".join(names[:-1])} or {names[-1]}')


def _open(bundle: Bundle, backend: str, options: EngineOptions) -> Engine:
    if backend == 'auto':
        return _open_first(bundle, options)
    return load_backend(backend).open_bundle(bundle, options)


def _open_first(bundle: Bundle, options: EngineOptions) -> Engine:
    names = [name for name, backend in BACKENDS.items() if backend.auto]
    reasons = {}
    for name in names:
        try:
            engine = load_backend(name).open_bundle(bundle, options)
        except BackendError as error:
            reasons[name] = str(error)
            # What nobody has installed or asked for is as intended; what does not work is not.
            intended = isinstance(error, (NotInstalledError, NoSuchDeviceError))
            level = logging.INFO if intended else logging.WARNING
            _log.log(level, 'backend auto: not %s: %s', name, error)
        else:
            rest = ', '.join(names[len(reasons) + 1 :])
            _log.info('backend auto: %s%s', name, rest and f'; not tried: {rest}')
            return engine
    raise BackendError('backend auto: none works here. ' + '. '.join(
        f'{name}: {reason}' for name, reason in reasons.items()
    ))
