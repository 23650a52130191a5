"""The sweeps in the time of the world: nothing that fails ends the thread, nothing piles up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import threading
import time
from typing import Any

import numpy as np
import pytest

from perception_ros.core.errors import FusionError
from perception_ros.core.poses import pose
from perception_ros.fusion.config import FusionCameraConfig, FusionConfig
from perception_ros.fusion.pipeline import FusedSweep, ImageOutputs
from perception_ros.fusion.threaded import MOST_READY, SweepCounters, ThreadedSweeps
from perception_ros.fusion.types import Sweep
from test.builders import MS

S = 1_000_000_000


class Driven:
    """Sweeps of a vehicle whose one camera says nothing, and what came of them."""

    def __init__(self, max_wait_ms: float = 0.0) -> None:
        self.published: list[int] = []
        self.hindrance: Callable[[int], None] = lambda number: None
        config = FusionConfig(
            cameras={'front': FusionCameraConfig()}, fixed_frame='', max_wait_ms=max_wait_ms,
        )
        self.sweeps = ThreadedSweeps(config, self._decode, self._publish, lambda: True)
        with self.sweeps.known() as pipeline:
            pipeline.transform('base_link', 'lidar', 0, pose((0, 0, 1.8), (0, 0, 0, 1)),
                               is_static=True)

    @staticmethod
    def _decode(camera: str, outputs: Mapping[str, Any]) -> ImageOutputs:
        return ImageOutputs(camera, problems=('it says nothing',))

    def _publish(self, fused: FusedSweep) -> None:
        number = fused.placed.fusion_set.sweep.stamp_ns // S
        self.hindrance(number)
        self.published.append(number)

    def take(self, number: int) -> None:
        points = np.array([[5, 0, -1.8]], np.float32)
        self.sweeps.receive_sweep(Sweep(number * S, time.monotonic_ns(), 'lidar', points))


@pytest.fixture
def driven() -> Iterator[Driven]:
    made = Driven()
    made.sweeps.start()
    yield made
    made.sweeps.stop()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, 'it did not happen in time'
        time.sleep(0.005)


@pytest.mark.parametrize('error', [FusionError('bad'), ZeroDivisionError('worse')])
def test_an_error_costs_one_sweep(driven: Driven, error: Exception) -> None:
    def fail(number: int) -> None:
        if number == 2:
            raise error

    driven.hindrance = fail
    for number in (1, 2, 3):
        driven.take(number)
    wait_for(lambda: 3 in driven.published)
    assert driven.published == [1, 3]
    counts, cameras, problems, latencies_ms = driven.sweeps.counters.take()
    assert (counts['received'], counts['fused'], counts['failed']) == (3, 2, 1)
    assert cameras['front', 'missing'] == 2 and len(latencies_ms) == 2
    assert str(error) in problems['fusion']


def test_what_cannot_be_kept_up_with_is_left_out_and_counted(driven: Driven) -> None:
    """The newest are of use; a queue that grows would make all of them late."""
    go_on = threading.Event()
    driven.hindrance = lambda number: go_on.wait(20) and None
    for number in range(1, 21):
        driven.take(number)
        time.sleep(0.002)
    go_on.set()
    wait_for(lambda: 20 in driven.published)
    counts, *_ = driven.sweeps.counters.take()
    assert counts['received'] == 20
    assert counts['fused'] + counts['skipped'] == 20
    assert len(driven.published) <= MOST_READY + 2
    assert driven.published == sorted(driven.published)


def test_a_sweep_that_waits_in_vain_leaves_on_time() -> None:
    """Nothing comes that could wake the thread but the deadline itself."""
    driven = Driven(max_wait_ms=200.0)
    driven.sweeps.start()
    try:
        time.sleep(0.05)  # it sleeps without a deadline
        begun_s = time.monotonic()
        driven.take(1)
        wait_for(lambda: driven.published)
        assert time.monotonic() - begun_s >= 0.2
    finally:
        driven.sweeps.stop()


def test_what_waits_when_it_is_stopped_is_not_fused_when_it_is_started_again() -> None:
    """An hour later it would be an hour old."""
    driven = Driven(max_wait_ms=5_000.0)
    driven.sweeps.start()
    driven.take(1)
    driven.sweeps.stop()
    driven.sweeps.stop()
    assert driven.sweeps.matcher.next_deadline_ns() is None
    driven.sweeps.start()
    driven.sweeps.receive('front', 'detections', 9 * S, b'')  # newer than the sweep can need
    driven.take(2)
    try:
        wait_for(lambda: driven.published)
        assert driven.published == [2]
    finally:
        driven.sweeps.stop()


@pytest.mark.parametrize('wobble', [0.0, 0.03, 0.15])
@pytest.mark.parametrize(('kept', 'share'), [
    pytest.param(lambda step: True, 0.0, id='all'),
    pytest.param(lambda step: step % 5 != 2, 0.25, id='one in five is lost'),
    pytest.param(lambda step: step % 7 in (0, 1, 3), 0.66, id='more than half are lost'),
    pytest.param(lambda step: step % 14 in (0, 1), 0.5, id='for more than a second each time'),
    pytest.param(lambda step: step < 300 or step > 330, 0.02, id='one pause'),
])
def test_sweeps_that_do_not_come_leave_gaps(
    kept: Callable[[int], bool], share: float, wobble: float
) -> None:
    """What is too large for the middleware is lost without a word; stamps wobble."""
    counters, random = SweepCounters(), np.random.default_rng(1)
    for step in filter(kept, range(360)):
        counters.received(S + round((step + random.normal(0, wobble)) * 100 * MS))
    gaps, steps = counters.gaps()
    assert steps > 30
    assert gaps / steps == pytest.approx(share, abs=0.04)


def test_a_clock_that_is_set_back_is_no_gap() -> None:
    counters = SweepCounters()
    assert counters.gaps() == (0, 0)
    for step in (*range(20), *range(20)):
        counters.received(S + step * 100 * MS)
    assert counters.gaps() == (0, 38)
