"""A worker with backends that break in ways in which runtimes break; for tests."""

from __future__ import annotations

import os
import signal
import sys
from types import ModuleType
from typing import NoReturn

from perception_ros.backends import Backend, BACKENDS
from perception_ros.benchmarks import worker


def _chat() -> str:
    print('what a runtime prints is no answer', flush=True)
    return 'dies 1.0'


def _die(*unused: object) -> NoReturn:
    print('assertion in kernel.cu', file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError('unreachable')


def _raise(*unused: object) -> NoReturn:
    raise RuntimeError('out of memory')


def register() -> None:
    """Add the backends `dies`, when a bundle is opened, and `raises`, when it is looked at."""
    for name, probe, open_bundle in (('dies', _chat, _die), ('raises', _raise, _raise)):
        module = ModuleType(f'breaking_{name}')
        vars(module).update(probe=probe, open_bundle=open_bundle)
        sys.modules[module.__name__] = module
        BACKENDS[name] = Backend(module.__name__)


if __name__ == '__main__':
    register()
    worker.main()
