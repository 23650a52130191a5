"""What is said of tracks is what anyone can count by hand."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from perception_ros.core.errors import DatasetError
from perception_ros.evaluation.tracks import iou, nearness, REACH_M, SAME, TrackScorer

ASKED = np.ones(2, np.bool_)
ALIKE = np.eye(2) * 0.9


def test_perfect_tracks() -> None:
    scorer = TrackScorer()
    for _ in range(10):
        assert scorer.add('front', [4, 9], ASKED, ['a', 'b'], ALIKE) == {0: 0, 1: 1}
    found = scorer.result()
    assert (found.mota, found.idf1) == (1, 1)
    assert (found.objects, found.boxes) == (2, 20)
    assert (found.switches, found.missed, found.false) == (0, 0, 0)


def test_two_that_change_names() -> None:
    """Two switches in twenty boxes; half of each name's boxes are of the right thing."""
    scorer = TrackScorer()
    for frame in range(10):
        scorer.add('front', [4, 9], ASKED, ['a', 'b'] if frame < 5 else ['b', 'a'], ALIKE)
    found = scorer.result()
    assert (found.switches, found.missed, found.false) == (2, 0, 0)
    assert found.mota == pytest.approx(1 - 2 / 20)
    assert found.idf1 == pytest.approx(0.5)


def test_what_is_missed_and_what_is_nothing() -> None:
    scorer = TrackScorer()
    for frame in range(10):
        names = ['a', 'c'] if frame else ['a']
        scorer.add('front', [4, 9], ASKED, names, np.array([[0.9, 0], [0, 0.4]])[:, :len(names)])
    found = scorer.result()
    assert (found.missed, found.false) == (10, 9)
    assert found.mota == pytest.approx(1 - 19 / 20)


def test_a_track_on_what_is_hidden_counts_neither_way() -> None:
    scorer = TrackScorer()
    for _ in range(10):
        asked = np.array([True, False])
        assert scorer.add('front', [4, 9], asked, ['a', 'b'], ALIKE) == {0: 0}
    found = scorer.result()
    assert (found.mota, found.boxes, found.false) == (1, 10, 0)


def test_cameras_are_counted_apart_and_added_up() -> None:
    """A thing in two cameras' images is two: each has ids of its own."""
    scorer = TrackScorer()
    for _ in range(4):
        scorer.add('front', [4], ASKED[:1], ['front/1'], ALIKE[:1, :1])
        scorer.add('left', [4], ASKED[:1], ['left/1'], ALIKE[:1, :1])
    found = scorer.result()
    assert (found.objects, found.boxes, found.mota, found.idf1) == (2, 8, 1, 1)


def test_nothing_followed_is_all_missed() -> None:
    scorer = TrackScorer()
    for _ in range(4):
        scorer.add('front', [4], ASKED[:1], [], np.zeros((1, 0)))
    found = scorer.result()
    assert (found.missed, found.mota, found.idf1) == (4, 0, 0)


def test_likenesses() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10.0]])
    assert np.allclose(iou(boxes, boxes + np.array([5, 0, 5, 0])), [[1 / 3, 0], [0, 1 / 3]])
    assert iou(boxes[:0], boxes).shape == (0, 2)
    near = nearness(np.zeros((1, 2)), np.array([[0, 0], [REACH_M, 0], [0, 5 * REACH_M]]))
    assert np.allclose(near, [[1, SAME, 0]])


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'trackeval', None)
    with pytest.raises(DatasetError, match=r'pip install trackeval'):
        TrackScorer()
