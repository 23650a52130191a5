"""What the tests of TensorRT share: the real builder of TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from perception_ros.backends.store import EngineStore
from perception_ros.backends.tensorrt.library import Library, load_library


@pytest.fixture(scope='session')
def library() -> Library:
    """Return TensorRT-RTX, which requirements/ install on x86-64 Linux."""
    pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')
    return load_library('tensorrt_rtx')


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / 'cache')
