"""When a played frame goes out, and which never do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import ValidationError
import pytest

from perception_ros.core.errors import ConfigError
from perception_ros.core.playback import Fate, play, PlayerConfig, Slot, Timeline
from perception_ros.core.sources import FrameSet, Source

CAMERAS = ('left', 'front', 'right')


class Count(Source):
    """A source of `length` sets whose frames count up."""

    def __init__(self, length: int) -> None:
        super().__init__(('front',), 'count')
        self._length = length

    def frame_sets(self) -> Iterator[FrameSet]:
        for value in range(self._length):
            yield {'front': np.full((1, 1, 3), value, np.uint8)}


def _sets(count: int, **settings: object) -> list[list[Slot]]:
    timeline = Timeline(CAMERAS, PlayerConfig(input='x', **settings))
    return [timeline.next_set() for _ in range(count)]


def _fates(sets: list[list[Slot]], camera: str) -> list[Fate]:
    return [slot.fate for slots in sets for slot in slots if slot.camera == camera]


def test_sets_are_due_by_absolute_time() -> None:
    timeline = Timeline(CAMERAS, PlayerConfig(input='x', rate_hz=30.0))
    assert [timeline.due_ns(i) for i in (0, 1, 3, 30_000)] == [0, 33333333, 10**8, 10**12]


def test_without_faults_everything_is_on_time() -> None:
    for slots in _sets(20):
        assert [slot.camera for slot in slots] == list(CAMERAS)
        assert all(slot == Slot(slot.camera, Fate.PUBLISHED, 0) for slot in slots)


def test_jitter_delays_within_its_bound_and_in_order() -> None:
    sets = _sets(200, jitter_ms=8.0)
    delays = [slot.delay_ns for slots in sets for slot in slots]
    assert 0 <= min(delays) < 1e6
    assert 7e6 < max(delays) <= 8e6
    for slots in sets:
        assert [slot.delay_ns for slot in slots] == sorted(slot.delay_ns for slot in slots)


def test_losses_come_as_often_as_asked() -> None:
    fates = _fates(_sets(2000, drop_probability=0.2), 'front')
    assert 0.17 < fates.count(Fate.LOST) / len(fates) < 0.23


def test_a_camera_goes_away_and_comes_back_and_the_others_stay() -> None:
    faults = {'drop_probability': 0.1, 'jitter_ms': 3.0, 'seed': 5}
    outage = {'outage_camera': 'front', 'outage_from_s': 1.0, 'outage_for_s': 4.0}
    sets = _sets(200, rate_hz=30.0, **faults, **outage)
    away = [fate is Fate.AWAY for fate in _fates(sets, 'front')]
    assert away == [30 <= index < 150 for index in range(200)]
    without = _sets(200, rate_hz=30.0, **faults)
    for camera in ('left', 'right'):
        assert _fates(sets, camera) == _fates(without, camera)


def test_a_seed_repeats_itself() -> None:
    faults = {'drop_probability': 0.3, 'jitter_ms': 5.0}
    assert _sets(50, seed=1, **faults) == _sets(50, seed=1, **faults)
    assert _sets(50, seed=1, **faults) != _sets(50, seed=2, **faults)


@pytest.mark.parametrize(
    ('length', 'loop', 'sets', 'expected'),
    [
        pytest.param(3, False, 0, [0, 1, 2], id='once'),
        pytest.param(3, False, 2, [0, 1], id='not all of it'),
        pytest.param(3, False, 9, [0, 1, 2], id='ends before the limit'),
        pytest.param(3, True, 7, [0, 1, 2, 0, 1, 2, 0], id='again and again'),
        pytest.param(0, True, 7, [], id='nothing there'),
    ],
)
def test_loop_and_limit(length: int, loop: bool, sets: int, expected: list[int]) -> None:
    frames = play(Count(length), loop=loop, sets=sets)
    assert [int(frame['front'][0, 0, 0]) for frame in frames] == expected


def test_matrix_from_the_field_of_view() -> None:
    fx, _, cx, _, fy, cy, *last = PlayerConfig(input='x', horizontal_fov_deg=90.0).matrix(
        0, 640, 480
    )
    assert (fx, fy) == (pytest.approx(320), pytest.approx(320))
    assert (cx, cy) == (319.5, 239.5)
    assert last == [0, 0, 1]


def test_given_matrices_for_all_or_each() -> None:
    one = tuple(float(value) for value in range(9))
    two = one + tuple(value + 100 for value in one)
    assert PlayerConfig(input='x', camera_matrix=one).matrix(1, 640, 480) == one
    assert PlayerConfig(input='x', camera_matrix=two).matrix(1, 640, 480) == two[9:]


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        pytest.param({'outage_camera': 'roof'}, "'roof'; expected one of left", id='outage'),
        pytest.param({'camera_matrix': (1.0,) * 18}, 'or 27 for 3 cameras', id='matrices'),
    ],
)
def test_settings_must_fit_the_cameras(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PlayerConfig(input='x', **settings).check_cameras(CAMERAS)


def test_half_a_matrix_is_refused() -> None:
    with pytest.raises(ValidationError, match='expected 9 for all cameras'):
        PlayerConfig(input='x', camera_matrix=(1.0,) * 5)
