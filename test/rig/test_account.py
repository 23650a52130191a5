"""What was sent against what was heard; ticks; shares of an overload; slopes and schedules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.benchmarks.live.figures import Sent
from perception_ros.benchmarks.live.reports import Sample
from perception_ros.rig.overload import bound_ratio, lost, serving_for, unfairness
from perception_ros.rig.soak import comings_and_goings, slope_mb_per_h
from perception_ros.rig.trial import account, together
from test.benchmarks.live_reports import STREAM, turn

MS = 1_000_000


def heard(*pairs_ms: tuple[int, int]) -> np.ndarray:
    return np.array(pairs_ms, np.int64).reshape(-1, 2) * MS


def test_every_frame_that_was_sent_is_heard_or_lost() -> None:
    """Of the warm-up only what arrives late counts; a result that comes twice counts once."""
    sent = {'a': np.array([100, 200, 300]) * MS, 'b': np.array([100, 200, 300]) * MS}
    came = {
        'a': heard((0, 150), (100, 130), (200, 230), (300, 460)),
        'b': heard((100, 110), (100, 120)),
    }
    found = account(sent, came, 100 * MS, 0.3, deadline_ms=100)
    assert (found.by_camera, found.lost) == ({'a': 3, 'b': 1}, 2)
    assert found.within == 5, 'what arrives within the window, whenever it was sent'
    assert found.per_s == pytest.approx(5 / 0.3)
    assert found.late == 1 and found.delay_ms and found.delay_ms.max == 160


def test_nothing_heard() -> None:
    found = account({'a': np.array([1])}, {'a': heard()}, 0, 1.0)
    assert (found.lost, found.delay_ms, found.late) == (1, None, None)


def test_several_senders_are_as_good_as_the_worst() -> None:
    part = turn().sent
    slow = part.model_copy(update={'by_camera': {'c': 5}, 'frames': 5, 'rate_hz': 2.5})
    both: Sent = together([part, slow])
    assert (both.frames, both.rate_hz, both.cpu_cores) == (45, 2.5, 0.2)
    assert list(both.by_camera) == ['camera1', 'camera2', 'c']


def test_an_overload_is_judged_by_shares() -> None:
    assert unfairness(turn()) == 0
    assert unfairness(turn(lost=10)) == pytest.approx(100 / 3), '10 and 20: 5 from 15'
    assert lost(turn(lost=5), ['camera1']) == 25 and lost(turn(lost=5), ['camera2']) == 0
    assert bound_ratio(turn(delay_ms=60), turn(delay_ms=20), call_ms=20) == 1.0
    serving = serving_for('means', STREAM, times=3, batch=2)
    assert serving.max_batch / serving.fake_ms * 1e3 * 3 == pytest.approx(20), '2 cameras, 10 Hz'


def test_the_slope_is_that_of_most_samples() -> None:
    """A peak of one sample, as when somebody looks at an overlay, is no leak."""
    samples = [
        Sample(at_s=s, memory_bytes=300_000_000 + 1000 * s, threads=9, open_files=9)
        for s in range(0, 3600, 60)
    ]
    samples[30] = samples[30].model_copy(update={'memory_bytes': 900_000_000})
    assert slope_mb_per_h(samples) == pytest.approx(3.6, rel=1e-3)
    assert slope_mb_per_h(samples[:1]) is None


@given(seconds=st.floats(1, 7200), count=st.integers(1, 8))
def test_cameras_are_gone_within_the_run_and_never_twice_at_once(
    seconds: float, count: int
) -> None:
    names = [f'camera{number}' for number in range(count)]
    absences = list(comings_and_goings(names, seconds))
    for name in names:
        times = [time for camera, *span in absences if camera == name for time in span]
        assert times == sorted(times)
        assert all(0 < time < seconds for time in times)
    assert absences == list(comings_and_goings(names, seconds)), 'the same in every run'
    if seconds > 600:
        assert {camera for camera, _, _ in absences} == set(names)
