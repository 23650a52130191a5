"""Boxes keep their ids in an image, by the library itself: frames lost, clocks set back."""

from __future__ import annotations

import sys

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.core.errors import ConfigError
from perception_ros.core.types import Detections
from perception_ros.tracking.images import ImageTracker, track_id

START_NS = 1_000_000_000_000
FRAME_NS = 33_333_333
THRESHOLD = 0.3


def boxes(*corners: tuple[float, float], scores: tuple[float, ...] = ()) -> Detections:
    """Return boxes of 80x60 px."""
    count = len(corners)
    place = np.array(corners, np.float32).reshape(-1, 2)
    return Detections(
        np.hstack([place, place + np.array([80, 60])]).astype(np.float32),
        np.array(scores or (0.9,) * count, np.float32), np.zeros(count, np.int32), ('car',),
    )


def ids(
    tracker: ImageTracker, frame: float, found: Detections, camera: str = 'front'
) -> list[str]:
    return list(tracker.ids(camera, START_NS + round(frame * FRAME_NS), found, THRESHOLD))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=10, max_size=30), st.floats(-6, 6))
def test_ids_stay_whatever_frames_are_lost(steps: list[int], speed_px: float) -> None:
    """Two cars; a step is as long as the time that has passed, so a gap is no jump."""
    tracker, frame, seen = ImageTracker(1.0), 0, set()
    for step in [1, 1, 1, *steps]:
        frame += step
        found = boxes((500 + speed_px * frame, 300), (500 - speed_px * frame, 600))
        seen.add(tuple(ids(tracker, frame, found)))
    assert seen <= {('', ''), (track_id('front', 1), track_id('front', 2)),
                    (track_id('front', 2), track_id('front', 1))}
    assert len(seen - {('', '')}) == 1


def test_a_box_without_a_past_has_no_id_and_one_that_stays_has() -> None:
    tracker = ImageTracker(1.0)
    assert ids(tracker, 0, boxes((100, 100))) == ['']
    assert ids(tracker, 1, boxes((101, 100))) == [track_id('front', 1)]


def test_cameras_have_ids_of_their_own() -> None:
    """The fusion joins them; a name must say which camera's it is."""
    tracker = ImageTracker(1.0)
    for frame in range(3):
        front = ids(tracker, frame, boxes((100, 100)))
        left = ids(tracker, frame, boxes((100, 100)), 'left')
    assert front == [track_id('front', 1)]
    assert left == [track_id('left', 1)]
    assert front[0].partition('/')[0] == 'front'


def test_a_low_score_keeps_a_track_and_begins_none() -> None:
    """What ByteTrack is about: a half hidden car is found with a low score."""
    tracker = ImageTracker(1.0)
    for frame in range(5):
        known = ids(tracker, frame, boxes((100, 100)))
    low = boxes((100, 100), (600, 100), scores=(0.32, 0.32))
    for frame in range(5, 10):
        assert ids(tracker, frame, low) == [known[0], '']


def test_a_threshold_that_is_raised_counts_from_the_next_image() -> None:
    """It may change while the node runs, and the tracker was made before."""
    tracker = ImageTracker(1.0)
    for frame in range(3):
        tracker.ids('front', START_NS + frame * FRAME_NS, boxes((100, 100), scores=(0.6,)), 0.3)
    both = boxes((100, 100), (600, 100), scores=(0.6, 0.6))
    for frame in range(3, 6):
        found = tracker.ids('front', START_NS + frame * FRAME_NS, both, 0.55)
    assert found == (track_id('front', 1), '')


def test_a_camera_that_comes_back_soon_knows_its_boxes_and_later_does_not() -> None:
    tracker = ImageTracker(0.5)
    for frame in range(5):
        before = ids(tracker, frame, boxes((100, 100)))
    assert ids(tracker, 4 + 12, boxes((100, 100))) == before
    later = [ids(tracker, 16 + 30 + frame, boxes((100, 100))) for frame in range(3)][-1]
    assert later != before
    assert later[0]


def test_a_clock_set_back_begins_anew_and_uses_no_id_again() -> None:
    """A bag that loops."""
    tracker = ImageTracker(1.0)
    first = [ids(tracker, 1000 + frame, boxes((100, 100), (400, 100))) for frame in range(3)][-1]
    again = [ids(tracker, frame, boxes((100, 100), (400, 100))) for frame in range(3)][-1]
    assert all(again)
    assert not {*first} & {*again}


def test_a_frame_twice_has_no_ids_and_harms_nobody() -> None:
    tracker = ImageTracker(1.0)
    for frame in range(3):
        known = ids(tracker, frame, boxes((100, 100)))
    assert ids(tracker, 2, boxes((100, 100))) == ['']
    assert ids(tracker, 3, boxes((100, 100))) == known


def test_nothing_found_for_a_while_is_no_trouble() -> None:
    tracker = ImageTracker(1.0)
    for frame in range(3):
        known = ids(tracker, frame, boxes((100, 100)))
    for frame in range(3, 6):
        assert ids(tracker, frame, boxes()) == []
    assert ids(tracker, 6, boxes((100, 100))) == known


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'trackers', None)
    with pytest.raises(ConfigError, match=r'pip install perception_ros\[tracking\]'):
        ImageTracker(1.0)
