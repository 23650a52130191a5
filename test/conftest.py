"""What every test shares."""

from __future__ import annotations

from collections.abc import Iterator
import sys
from types import ModuleType

import pytest

from perception_ros.backends import Backend, BACKENDS
from perception_ros.backends.cuda import open_gpu
from perception_ros.core.errors import BackendError
from perception_ros.replay.crew import Crew
from test.device import Device

pytest_plugins = ['pytest_expected_skips', 'pytester']


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker('gpu'):
        try:
            open_gpu()
        except BackendError as error:
            pytest.skip(f'needs an NVIDIA GPU: {error}')


@pytest.fixture(scope='session')
def ray_cluster() -> Iterator[None]:
    """Start two workers, which takes seconds, for all tests that want some."""
    pytest.importorskip('ray', reason='ray is not installed')
    with Crew(3, cpus=0.5).at_work():  # two whole CPUs: Ray has no machines with parts of one
        yield


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """Return the backend 'device', whose engines do as they are told."""
    made = Device()
    module = ModuleType('device_backend')
    vars(module).update(probe=made.probe, open_bundle=made.open_bundle)
    monkeypatch.setitem(sys.modules, 'device_backend', module)
    monkeypatch.setitem(BACKENDS, 'device', Backend('device_backend', auto=False))
    yield made
    made.ready.set()
