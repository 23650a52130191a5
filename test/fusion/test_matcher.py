"""The rules that bring sweeps and images together, whatever comes in."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.fusion.matcher import (
    LOST_AFTER,
    MatchedSweep,
    MOST_IMAGES,
    MOST_SWEEPS,
    SweepMatcher,
)
from perception_ros.fusion.types import Sweep
from test.builders import MS

CAMERAS = ('front', 'rear')
OUTPUTS = ('detections', 'semantic/scene')
WAIT_MS = 100.0


def matcher(**options: object) -> SweepMatcher:
    given: dict[str, object] = {
        'cameras': dict.fromkeys(CAMERAS, OUTPUTS), 'offsets_ms': {}, 'tolerance_ms': 60.0,
        'max_wait_ms': WAIT_MS,
    }
    return SweepMatcher(**{**given, **options})  # type: ignore[arg-type]


def sweep(stamp_ms: float, received_ms: float | None = None) -> Sweep:
    received_ms = stamp_ms if received_ms is None else received_ms
    points = np.zeros((0, 3), np.float32)
    return Sweep(round(stamp_ms * MS), round(received_ms * MS), 'lidar', points)


class Drive:
    """A matcher in the time of its messages: it is polled when something is due, as by a node."""

    def __init__(self, made: SweepMatcher) -> None:
        self.matcher = made
        self.left: list[MatchedSweep] = []
        self.left_ms: list[float] = []

    def until(self, now_ms: float) -> None:
        while (due_ns := self.matcher.next_deadline_ns()) is not None and due_ns <= now_ms * MS:
            self._poll(due_ns / MS)

    def sweep(self, stamp_ms: float, received_ms: float | None = None) -> None:
        one = sweep(stamp_ms, received_ms)
        self.until(one.received_ns / MS)
        self.matcher.push_sweep(one)
        self._poll(one.received_ns / MS)

    def image(
        self, camera: str, stamp_ms: float, received_ms: float, outputs: tuple[str, ...] = OUTPUTS
    ) -> None:
        self.until(received_ms)
        for output in outputs:
            self.matcher.push(
                camera, output, round(stamp_ms * MS), (camera, output, stamp_ms),
                round(received_ms * MS),
            )
        self._poll(received_ms)

    def _poll(self, now_ms: float) -> None:
        for found in self.matcher.poll(round(now_ms * MS)):
            self.left.append(found)
            self.left_ms.append(now_ms)

    @property
    def waits_ms(self) -> list[float]:
        return [
            left_ms - found.sweep.received_ns / MS
            for found, left_ms in zip(self.left, self.left_ms, strict=True)
        ]


def test_a_sweep_leaves_as_soon_as_no_better_image_can_come() -> None:
    """Any longer would be latency for nothing, any sooner another image's boxes on its points."""
    drive = Drive(matcher())
    for camera in CAMERAS:
        drive.image(camera, 960, 990)
    drive.sweep(1000, 1001)
    drive.image('front', 993, 1010)
    drive.image('front', 1026, 1043)
    assert not drive.left, 'the nearest of the rear camera may still come'
    drive.image('rear', 1005, 1050)
    [found] = drive.left
    assert {name: image.stamp_ns / MS for name, image in found.images.items()} == {
        'front': 993, 'rear': 1005
    }
    assert (found.missing, drive.left_ms) == ((), [1050])


def test_boxes_and_masks_of_one_image_go_together() -> None:
    """A mask of another moment would paint what has moved on."""
    drive = Drive(matcher(cameras={'front': OUTPUTS}))
    drive.sweep(1000)
    drive.image('front', 1000, 1020, ('detections',))
    drive.image('front', 970, 1021, ('semantic/scene',))
    assert not drive.left
    drive.image('front', 1000, 1060, ('semantic/scene',))
    [found] = drive.left
    assert found.images['front'].outputs == {name: ('front', name, 1000) for name in OUTPUTS}


def test_an_overdue_sweep_leaves_with_what_there_is() -> None:
    drive = Drive(matcher())
    drive.sweep(1000, 1002)
    drive.image('rear', 1010, 1030, ('detections',))
    assert drive.matcher.next_deadline_ns() == (1002 + WAIT_MS) * MS
    drive.until(2000)
    [found] = drive.left
    assert found.missing == ('front',)
    assert list(found.images['rear'].outputs) == ['detections'], 'better without its mask'
    assert drive.waits_ms == [WAIT_MS]


@pytest.mark.parametrize('offset_ms', [-40.0, 40.0])
def test_an_offset_says_when_a_camera_sees_what_the_beams_see(offset_ms: float) -> None:
    drive = Drive(matcher(cameras={'front': ('detections',)}, offsets_ms={'front': offset_ms}))
    for stamp_ms in (960, 1000, 1040, 1080):
        drive.image('front', stamp_ms, stamp_ms + 5, ('detections',))
    drive.sweep(1000, 1090)
    assert drive.left[0].images['front'].stamp_ns == (1000 + offset_ms) * MS


def run(
    drive: Drive, sweeps: int, delay_ms: float, *, clock_ms: float = 0.0,
    outputs: tuple[str, ...] = OUTPUTS,
) -> None:
    """Play a LiDAR of 10 Hz, and 'front' at 30 Hz, whose results take `delay_ms`."""
    events: list[tuple[float, str, float]] = []
    for index in range(sweeps):
        events.append((1000 + 100 * index, 'sweep', 1000 + 100 * index))
    for index in range(3 * sweeps + 9):
        stamp_ms = 800 + 100 * index / 3
        events.append((stamp_ms + delay_ms, 'image', stamp_ms + clock_ms))
    for received_ms, kind, stamp_ms in sorted(events):
        if kind == 'sweep':
            drive.sweep(stamp_ms, received_ms)
        else:
            drive.image('front', stamp_ms, received_ms, outputs)
    drive.until(1e6)


def test_a_silent_camera_is_waited_for_by_few_sweeps() -> None:
    """One dead camera must not make all that planning gets late."""
    drive = Drive(matcher())
    run(drive, 10, delay_ms=30)
    assert drive.waits_ms[:LOST_AFTER] == [WAIT_MS] * LOST_AFTER
    assert max(drive.waits_ms[LOST_AFTER:]) < 70
    assert all(found.missing == ('rear',) for found in drive.left)


def test_a_camera_that_comes_back_is_waited_for_again() -> None:
    drive = Drive(matcher(cameras={'front': ('detections',)}))
    for index in range(6):
        drive.sweep(1000 + 100 * index)
        drive.until(1099 + 100 * index)
    drive.image('front', 1600, 1620, ('detections',))
    drive.sweep(1700)
    drive.until(1790)
    assert len(drive.left) == 6, 'it is waited for'
    drive.image('front', 1700, 1795, ('detections',))
    assert drive.left[-1].images['front'].stamp_ns == 1700 * MS


@pytest.mark.parametrize(('delay_ms', 'clock_ms'), [
    pytest.param(400, 0, id='always too late'),
    pytest.param(30, -300_000, id='clock minutes behind'),
    pytest.param(30, 300_000, id='clock minutes ahead'),
])
def test_a_camera_of_no_use_delays_nobody_for_long(delay_ms: float, clock_ms: float) -> None:
    """It delivers all the time, so that it speaks says nothing."""
    drive = Drive(matcher(cameras={'front': OUTPUTS}))
    run(drive, 30, delay_ms, clock_ms=clock_ms)
    assert sum(wait > 70 for wait in drive.waits_ms) <= LOST_AFTER
    assert all(found.missing == ('front',) for found in drive.left)
    apart_s = [found.apart_ns['front'] / 1e9 for found in drive.left if found.apart_ns]
    assert apart_s
    if clock_ms:
        assert all(abs(apart - clock_ms / 1e3) < 1 for apart in apart_s)
        assert drive.matcher.late['front'] == 0, 'another clock is not late'
    else:
        assert drive.matcher.late['front'] > 30


def test_a_mask_that_is_always_too_late_is_not_waited_for() -> None:
    """Its boxes are in time, and so must be the sweep."""
    drive = Drive(matcher(cameras={'front': OUTPUTS}))
    events = [(1000.0 + 100 * i, 'sweep', 1000.0 + 100 * i) for i in range(30)]
    for index in range(99):
        stamp_ms = 800 + 100 * index / 3
        events += [(stamp_ms + 30, 'detections', stamp_ms)]
        events += [(stamp_ms + 250, 'semantic/scene', stamp_ms)]
    for received_ms, kind, stamp_ms in sorted(events):
        if kind == 'sweep':
            drive.sweep(stamp_ms)
        else:
            drive.image('front', stamp_ms, received_ms, (kind,))
    drive.until(1e6)
    assert sum(wait > 70 for wait in drive.waits_ms) <= LOST_AFTER
    assert all('detections' in found.images['front'].outputs for found in drive.left)


def test_a_bag_that_loops_begins_afresh() -> None:
    """Stamps go back by a minute; from the next image on all is as it was."""
    drive = Drive(matcher(cameras={'front': ('detections',)}))
    for begin_ms, received_ms in ((60_000.0, 0.0), (1_000.0, 10_000.0)):
        for index in range(10):
            stamp_ms, now_ms = begin_ms + 100 * index, received_ms + 100 * index
            drive.image('front', stamp_ms, now_ms + 20, ('detections',))
            drive.sweep(stamp_ms, now_ms + 25)
    drive.until(1e6)
    matched = [found.images['front'].stamp_ns == found.sweep.stamp_ns for found in drive.left]
    assert matched == [True] * 20


TIMES = st.integers(0, 3000)
EVENTS = st.lists(st.one_of(
    st.tuples(st.just('sweep'), st.just(''), TIMES),
    st.tuples(st.sampled_from(CAMERAS), st.sampled_from(OUTPUTS), TIMES),
), max_size=120)


@settings(max_examples=300, deadline=None)
@given(EVENTS, st.lists(st.integers(0, 120), min_size=120, max_size=120))
def test_whatever_comes_no_sweep_is_lost_or_mixed_up(
    events: list[tuple[str, str, int]], pauses: list[int]
) -> None:
    """Stamps in any order, from any camera: each sweep leaves once, in its order, in its time."""
    drive = Drive(matcher())
    said: Counter[tuple[str, str, float]] = Counter()
    pushed, now_ms = [], 0.0
    for (camera, output, stamp_ms), pause_ms in zip(events, pauses, strict=False):
        now_ms += pause_ms
        if camera == 'sweep':
            drive.sweep(stamp_ms, now_ms)
            pushed.append(stamp_ms)
        else:
            said[camera, output, stamp_ms] += 1
            drive.image(camera, stamp_ms, now_ms, (output,))
        for its in drive.matcher._cameras.values():
            assert len(its.images) <= MOST_IMAGES
        assert len(drive.matcher._waiting) <= MOST_SWEEPS
    drive.until(now_ms + WAIT_MS)
    assert drive.matcher.next_deadline_ns() is None
    assert [found.sweep.stamp_ns / MS for found in drive.left] == pushed
    assert all(0 <= wait <= WAIT_MS for wait in drive.waits_ms)
    for found in drive.left:
        assert {*found.images, *found.missing} == set(CAMERAS)
        assert not {*found.images} & {*found.missing}
        for camera, image in found.images.items():
            assert abs(image.stamp_ns - found.sweep.stamp_ns) <= 60 * MS
            for output, value in image.outputs.items():
                assert value == (camera, output, image.stamp_ns / MS)
                assert said[value]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=30, max_size=30), st.integers(0, 45))
def test_jitter_within_the_wait_costs_no_camera(jitter_ms: list[int], delay_ms: int) -> None:
    """A steady camera whose results are in time is in every sweep, with its nearest image."""
    drive = Drive(matcher(cameras={'front': ('detections',)}))
    events = [(1000.0 + 100 * i, 'sweep', 1000.0 + 100 * i) for i in range(10)]
    for index, jitter in enumerate(jitter_ms):
        stamp_ms = 990 + 100 * index / 3
        events.append((stamp_ms + delay_ms + jitter, 'image', stamp_ms))
    for received_ms, kind, stamp_ms in sorted(events):
        if kind == 'sweep':
            drive.sweep(stamp_ms)
        else:
            drive.image('front', stamp_ms, received_ms, ('detections',))
    drive.until(1e6)
    assert all(not found.missing for found in drive.left)
    for found in drive.left[:-1]:
        off_ms = abs(found.images['front'].stamp_ns - found.sweep.stamp_ns) / MS
        assert off_ms <= 100 / 3 / 2 + jitter_tolerance(jitter_ms), off_ms


def jitter_tolerance(jitter_ms: list[int]) -> float:
    """Return by how much images that overtake one another may be off: none, if none does."""
    return 100 / 3 if max(jitter_ms) - min(jitter_ms) > 100 / 3 - 1 else 0.01
