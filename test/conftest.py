"""What every test shares."""

from __future__ import annotations

from collections.abc import Iterator
import sys
from types import ModuleType

import pytest

from perception_ros.backends import Backend, BACKENDS
from test.device import Device

pytest_plugins = ['pytest_expected_skips', 'pytester']


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
