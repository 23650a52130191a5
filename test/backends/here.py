"""Open the backends that work on this machine, and skip the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from perception_ros.backends import Engine, EngineOptions, open_engine
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import NotInstalledError

ON_GPU = ('tensorrt', 'tensorrt_rtx')
"""Backends that have no device but a GPU."""


def marked(names: Iterable[str]) -> list[Any]:
    """Return names as parameters of a test; those that need a GPU are marked so."""
    return [
        pytest.param(name, marks=pytest.mark.gpu) if name in ON_GPU else name for name in names
    ]


def open_here(bundle: Bundle, backend: str, options: EngineOptions) -> Engine:
    """Open a bundle as `options` say, but on the GPU where the backend knows nothing else."""
    if backend in ON_GPU:
        options = replace(options, device='auto')
    try:
        return open_engine(bundle, backend, options)
    except NotInstalledError as error:
        pytest.skip(f'needs a runtime: {error}')
