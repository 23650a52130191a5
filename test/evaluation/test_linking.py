"""Pseudo-labels are right where hindsight can be: through gaps and crossings, without clutter."""

from __future__ import annotations

import numpy as np

from perception_ros.core.types import Detections
from perception_ros.evaluation.linking import link, Linked

RATE_HZ = 25.0


def found(*boxes: tuple[float, float, float]) -> Detections:
    """Return boxes of 80x60 px; x, y px and score."""
    items = np.array(boxes, np.float32).reshape(-1, 3)
    return Detections(
        np.hstack([items[:, :2], items[:, :2] + np.array([80, 60])]).astype(np.float32),
        items[:, 2].copy(), np.zeros(len(items), np.int32), ('car',),
    )


def labels(*frames: Detections) -> list[Linked]:
    return link(frames, RATE_HZ, sure_score=0.5, least_height_px=16)


def test_a_gap_is_bridged_and_filled() -> None:
    """A car that is hidden for a second, and goes on as it went."""
    gap = range(20, 40)
    linked = labels(*(
        found() if frame in gap else found((4.0 * frame, 100, 0.9)) for frame in range(60)
    ))
    assert {number for item in linked for number in item.ids.tolist()} == {0}
    assert all(item.is_clear.all() and len(item.ids) == 1 for item in linked)
    assert np.allclose(linked[30].boxes, [[120, 100, 200, 160]], atol=2)


def test_crossing_cars_keep_to_their_ways() -> None:
    """Where both overlap nobody can tell from the overlap; where each was going tells it."""
    linked = labels(*(
        found((200 + 5.0 * frame, 100, 0.9), (500 - 5.0 * frame, 110, 0.9))
        for frame in range(60)
    ))
    first, last = linked[0], linked[-1]
    start = dict(zip(first.ids.tolist(), first.boxes[:, 0].tolist(), strict=True))
    end = dict(zip(last.ids.tolist(), last.boxes[:, 0].tolist(), strict=True))
    assert {start[number] < end[number] for number in start.keys() & end.keys()} == {True, False}
    assert start.keys() == end.keys()


def test_what_is_short_unsure_or_small_need_not_be_followed() -> None:
    frames = [
        found((100, 100, 0.9), (400, 100, 0.35), *([(700.0, 100.0, 0.9)] if 20 < i < 25 else []))
        for i in range(50)
    ]
    linked = labels(*frames)
    for item in linked:
        clear = item.boxes[item.is_clear, 0]
        assert clear.tolist() == [100]
    assert len(linked[22].ids) == 3
    assert not link(frames, RATE_HZ, 0.5, least_height_px=61)[0].is_clear.any()


def test_an_empty_clip_has_no_labels() -> None:
    assert labels() == []
    assert [len(item.ids) for item in labels(found(), found())] == [0, 0]
