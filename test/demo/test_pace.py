"""The rate that a machine can take."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
import pytest

from perception_ros.backends.base import EngineOptions, Outputs
from perception_ros.backends.fake import FakeEngine
from perception_ros.bundles import Bundle
from perception_ros.demo import pace
from test.builders import fake_bundle


@pytest.mark.parametrize(
    ('duration_ms', 'models', 'expected_hz'),
    [
        pytest.param(0.0, 1, pace.FASTEST_HZ, id='faster than anybody wants to see'),
        pytest.param(150.0, 1, 4.0, id='one model'),
        pytest.param(150.0, 2, 2.0, id='two models share the machine'),
        pytest.param(700.0, 2, pace.SLOWEST_HZ, id='slower than anybody wants to wait'),
    ],
)
def test_rate_leaves_room_for_all_models(
    monkeypatch: pytest.MonkeyPatch, duration_ms: float, models: int, expected_hz: float
) -> None:
    calls: list[list[int]] = []
    clock_s = [0.0]

    class Slow(FakeEngine):
        """Takes its time on a clock of our own, so that a busy machine changes nothing."""

        def _run(self, images: NDArray[np.uint8]) -> Outputs:
            clock_s[0] += duration_ms / 1e3
            return super()._run(images)

    def open_slow(bundle: Bundle, backend: str, options: EngineOptions) -> FakeEngine:
        engine = Slow(bundle, max_batch=options.max_batch)
        calls.append(engine.calls)
        return engine

    monkeypatch.setattr(pace, 'open_engine', open_slow)
    monkeypatch.setattr(pace, 'time', SimpleNamespace(perf_counter=lambda: clock_s[0]))
    rate_hz = pace.comfortable_rate_hz([fake_bundle()] * models, 'fake', 3)
    assert rate_hz == pytest.approx(expected_hz, rel=0.3)
    assert calls == [[3, 3]] * models, 'one call for all cameras: to warm up, and to be timed'
